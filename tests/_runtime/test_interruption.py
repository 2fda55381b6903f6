import signal
import subprocess
import sys
import time

import pytest

import torchmlp
from torchmlp._runtime.interruption import Interrupted, Interruption


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_breaks_off(number: signal.Signals, code: int) -> None:
    """What is being done ends between two lines, and the exit code names the signal."""
    interruption = Interruption()
    with interruption.heard(), pytest.raises(Interrupted):
        signal.raise_signal(number)
    assert interruption.exit_code == code


def test_who_waits_is_not_broken_off() -> None:
    """A run that looks for itself goes on until it does; a second signal changes nothing then."""
    interruption = Interruption()
    with interruption.heard():
        interruption.waits = True
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert interruption.number == signal.SIGTERM
        with pytest.raises(Interrupted):
            interruption.look()


def test_handlers_are_given_back() -> None:
    """Afterwards signals do what they did."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    woken = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(woken)
    with Interruption().heard():
        assert [signal.getsignal(number) for number in numbers] != before
    assert [signal.getsignal(number) for number in numbers] == before
    assert signal.set_wakeup_fd(woken) == woken


def test_what_is_ignored_stays_ignored() -> None:
    """A background job that was started without Ctrl-C gets none."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    interruption = Interruption()
    with interruption.heard():
        signal.raise_signal(signal.SIGINT)
    assert interruption.number is None


BEGIN = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from torchmlp._runtime import interruption
from torchmlp._runtime.interruption import Interruption, Interrupted
interruption.BREAKING_OFF_S = 0.3
it = Interruption()
def after(seconds, number):
    if os.fork() == 0:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        time.sleep(seconds)
        os.kill(os.getppid(), number)
        os._exit(0)
def busy(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            time.sleep(0.05)
        except BaseException:
            pass
"""


def end_of(code: str) -> tuple[int, str, float]:
    """Exit code, standard error and seconds of a program of its own."""
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + code], capture_output=True, text=True, check=False,
        timeout=60, env={"PYTHONPATH": str(torchmlp.__path__[0] + "/..")},
    )  # fmt: skip
    return done.returncode, done.stderr, time.monotonic() - start


@pytest.mark.parametrize("first", ["SIGINT", "SIGTERM"])
def test_a_second_ctrl_c_ends_at_once(first: str) -> None:
    """Whatever is waited for, and though exceptions are swallowed: 130, and one word."""
    code, err, seconds = end_of(f"""
with it.heard():
    it.waits = True
    after(0, signal.{first}); after(0.5, signal.SIGINT)
    busy(40)
""")
    assert (code, err) == (130, "interrupted\n")
    assert seconds < 30


def test_the_same_ctrl_c_twice_is_one() -> None:
    """`timeout` and others tell a process and then its group: no second Ctrl-C."""
    code, err, _ = end_of("""
with it.heard():
    it.waits = True
    signal.raise_signal(signal.SIGINT); signal.raise_signal(signal.SIGINT)
    busy(0.5)
sys.exit(it.exit_code)
""")
    assert (code, err) == (130, "")


def test_what_does_not_break_off_is_ended() -> None:
    """An exception that is swallowed, or a call that does not return: the process ends all the
    same, with what is to be done before."""
    code, err, seconds = end_of("""
it.before_leaving = lambda: os.write(2, b"the others too\\n")
with it.heard():
    after(0, signal.SIGTERM)
    busy(40)
""")
    assert (code, err) == (143, "terminated\nthe others too\n")
    assert seconds < 30


def test_while_modules_are_imported_it_ends_at_once() -> None:
    """No exception reaches a module that is half imported, and one of two threads tells of it."""
    code, err, seconds = end_of("""
it.before_leaving = lambda: time.sleep(0.5)
with it.heard():
    it.at_once = True
    after(0, signal.SIGINT)
    busy(40)
""")
    assert (code, err) == (130, "interrupted\n")
    assert seconds < 30


def test_a_forked_process_is_not_the_program() -> None:
    """A loader's worker ends by a signal as it did, and the program does not hear of it."""
    code, err, _ = end_of("""
with it.heard():
    child = os.fork()
    if child == 0:
        busy(40)
    time.sleep(0.3)
    os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    busy(0.3)
sys.exit(0 if it.number is None and os.waitstatus_to_exitcode(status) == -15 else 1)
""")
    assert (code, err) == (0, "")
