"""The processes of a run on several devices, and what is said when one of them dies."""

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import torch

from torchmlp._compat.lightning import pl
from torchmlp._compat.lightning_internals import (
    SubprocessLauncher,
    no_launcher,
    set_threads,
    start_other_processes,
)
from torchmlp._runtime.interruption import BREAKING_OFF_S, Interruption
from torchmlp.cli.terminal.exit_codes import FAILED

SEEN_S = 2.0  # until the system tells of a process that has died
# What torch's backends call it; gloo's errors are plain RuntimeErrors.
OF_A_PEER = ("gloo", "NCCL", "Connection closed", "Connection reset", "Broken pipe", "TCPStore")


class LostProcessError(RuntimeError):
    """Another process of the run has died; empty where that one's end is told elsewhere."""


class Launcher(SubprocessLauncher):  # type: ignore[misc]  # object, where there is none
    """Lightning's, without its observer: that one kills this process where another has ended."""

    words: list[str]

    def launch(
        self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kw: Any
    ) -> Any:
        """Start the other processes, then call `function`."""
        del trainer
        self.cluster_environment.validate_settings(self.num_processes, self.num_nodes)
        if not self.cluster_environment.creates_processes_externally:
            start_other_processes(self, self.words)
        set_threads(self.num_processes)
        return function(*args, **kw)


class Processes:
    """Watches the other processes of a trainer: none outlives another.

    Args:
        trainer: about to start them.
        interruption: where a signal ends this process at once, it ends them too.
        words: of the command line that each of them is started with.
    """

    def __init__(self, trainer: pl.Trainer, interruption: Interruption, words: list[str]) -> None:
        self.parent, self.size = os.getppid(), trainer.world_size
        self.rank = int(os.environ.get("LOCAL_RANK", "0"))
        self.interruption = interruption
        self.launcher: Any = trainer.strategy.launcher
        if no_launcher() or not isinstance(self.launcher, SubprocessLauncher):
            return
        self.launcher.__class__, self.launcher.words = Launcher, words
        interruption.before_leaving = self.end
        threading.Thread(target=self._watch, daemon=True).start()

    def lost(self, error: BaseException) -> LostProcessError | None:
        """What to raise in place of an error; None where no other process is behind it."""
        if self.size == 1 or not _is_of_a_peer(error):
            return None
        end = time.monotonic() + SEEN_S
        while not (dead := self._dead()) and time.monotonic() < end:
            time.sleep(0.05)
        if self.rank and not dead:
            return LostProcessError()  # the first process tells
        return LostProcessError(dead or "another process of the run has ended")

    def end(self) -> None:
        """Kill the others."""
        for process in getattr(self.launcher, "procs", []):
            process.kill()

    def _dead(self) -> str:
        """Of a process that has died, in words; "" of none."""
        if self.rank:
            return self._words(0, "has ended") if os.getppid() != self.parent else ""
        for rank, process in enumerate(getattr(self.launcher, "procs", []), 1):
            if (code := process.poll()) is not None and code != 0:
                by = f"was ended by {signal.Signals(-code).name}" if code < 0 else ""
                return self._words(rank, by or f"has ended with exit code {code}")
        return ""

    def _words(self, rank: int, how: str) -> str:
        return f"process {rank} of {self.size} (from 0) {how}, and the others with it"

    def _watch(self) -> None:
        """End this process where it waits for one that has died, and would for half an hour."""
        while not self._dead():
            time.sleep(1)
        time.sleep(BREAKING_OFF_S)  # most often an error comes first
        if self.interruption.number is None:
            os.write(2, f"error: {self._dead()}\n".encode())
            self.end()
            os._exit(FAILED)


def _is_of_a_peer(error: BaseException) -> bool:
    kinds = getattr(torch.distributed, "DistError", ())
    return isinstance(error, kinds) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in OF_A_PEER)
    )
