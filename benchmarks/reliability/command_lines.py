"""Does any command line or configuration show a traceback, hang, or lose a word?

    python benchmarks/reliability/command_lines.py --inputs 500 --seed 0

Lines that are right are made wrong: values replaced, words dropped, doubled or added, options
misspelt, configurations mangled, files of the wrong kind named. Each is run in a process of its
own, forked from this one, which has imported everything; it has to end in time, with a documented
exit code, a word to the user where that is not 0, and no traceback. A word that no command can know
may not end with code 0 or 3. Exit code 1 where one does otherwise.
"""

import argparse
import gc
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from runs import ROOT, machine
from timing import write

from torchmlp import MLP
from torchmlp.cli import main as command

RESULTS = Path(__file__).resolve().parents[1] / "results" / "command_lines.csv"
KEY = ("benchmark", "command")
LIMIT_S = 60
IMPORTED = (
    "cli.running.run",
    "cli.actions.diagnose",
    "cli.actions.map",
    "cli.actions.verify",
    "html_report",
    "diagnosis",
)
CODES = {0: "done", 1: "failed", 2: "usage", 3: "sick"}
FAULTS = ("traceback", "hang", "crash", "other code", "silent", "word ignored")
STRAY = "zz_stray"  # a word that no command knows

SMALL = (
    *("--data.source", "embedded", "--batch_size", "500", "--hidden", "8"),
    *("--trainer.max_steps", "2", "--trainer.enable_model_summary", "false"),
)
RUN = "lightning_logs/version_0"
LINES: tuple[tuple[str, ...], ...] = (
    ("fit", *SMALL, "--lr", "0.1", "--seed", "3"),
    ("--activation", "tanh", "--init", "he", *SMALL),
    ("fit", *SMALL, "--config", "right.yaml"),
    ("fit", *SMALL, "--stop.patience", "2", "--lr_scheduler", "OneCycle"),
    ("fit", *SMALL, "--optimizer", "Adam", "--optimizer.lr", "0.01", "--model.dropout", "0.1"),
    ("fit", *SMALL, "--ckpt_path", "last"),
    ("test", "--ckpt_path", "best", "--data.source", "embedded"),
    ("validate", "--ckpt_path", f"{RUN}/checkpoints/last.ckpt", "--batch_size", "100"),
    ("predict", "--ckpt_path", "best", "--trainer.default_root_dir", "."),
    ("test", "--ckpt_path", "weights.pt", "--data.source", "embedded"),
    ("diagnose", *SMALL, "--steps", "3"),
    ("diagnose", "--replay", "broken.pt"),
    ("map", *SMALL, "--widths", "0", "--steps", "3", "--lrs", "0.1"),
    ("report", RUN),
    ("report", "--schema"),
    ("verify", "gradients.npz", "--activation", "tanh", "--loss", "mse"),
    ("verify", "mine.py:gradients", "--hidden", "4", "--labels"),
)
VALUES = (
    *("3", "2", "0.01", "0.5", "tanh", "embedded", "mnist", "best", "last", "false", "Adam", RUN),
    *("-1", "0", "-5", "1e400", "nan", "inf", "~", "null", "true", "x", "''", " ", "[]", "[1]"),
    *("{}", "{a: 1}", "[1, x]", "99999999999999999999", "-0.5", "3.7", "é", "a b", "-", "--", "="),
    *("&a [*a]", "!!python/object:os.system x", "%", "\t", "0x10", "1_000", "None", "../..", "."),
    *("/dev/null", "/dev/zero", "/dev/full", "pipe", "pictures", "right.yaml", "weights.pt"),
    *("gradients.npz", "cut.ckpt", "list.pt", "gone", "a" * 5000, "http://127.0.0.1:9/x"),
)
OPTIONS = (
    *("--max_epoch", "--modell.hidden", "--trainer.callbacks", "--data", "--model", "--optimizer"),
    *("--lr_scheduler", "--stop.monitor", "--trainer.logger", "--health", "--precision", "--fix"),
    *("--accelerator", "--trainer.val_check_interval", "--trainer.limit_train_batches", "--config"),
    *("--data.dataset", "--data.root", "--data_root", "--data.val_size", "--data.max_shift"),
    *("--trainer.default_root_dir", "--model.output_activation", "--model.loss", "--model.engine"),
    *("--model.parametrization", "--model.base_width", "--trainer.gradient_clip_val", "--steps"),
    *("--lr_scheduler.warmup", "--optimizer.momentum", "--seed_everything", "--trainer", "--stop"),
)
# Options with values that they take, for lines that go further than the parser.
PLAUSIBLE = (
    *(("--model.dropout", "0.1"), ("--trainer.gradient_clip_val", "1"), ("--data.max_shift", "0")),
    *(("--model.loss", "mse"), ("--model.loss", "bce"), ("--model.engine", "autograd")),
    *(("--optimizer", "Adam"), ("--optimizer", "Rprop"), ("--optimizer", "LBFGS")),
    *(("--lr", "1e30"), ("--lr", "0"), ("--activation", "silu"), ("--init", "constant(0)")),
    *(("--precision", "bf16-mixed"), ("--precision", "64-true"), ("--health", "false")),
    *(("--trainer.accumulate_grad_batches", "2"), ("--trainer.val_check_interval", "0.5")),
    *(("--trainer.logger", "false"), ("--trainer.fast_dev_run", "1"), ("--seed", "7")),
    *(("--trainer.limit_train_batches", "1"), ("--trainer.enable_checkpointing", "false")),
    *(
        ("--stop.target_accuracy", "0.5"),
        ("--stop.monitor", "train_loss"),
        ("--data.val_size", "0"),
    ),
    *(
        ("--model.output_activation", "tanh"),
        ("--model.parametrization", "mup"),
        ("--hidden", "[]"),
    ),
    *(("--lr_scheduler", "StepLR"), ("--lr_scheduler.warmup", "0"), ("--model.bias", "false")),
    *(("--data.dataset", "kmnist"), ("--data.source", "full"), ("--data_root", "pictures")),
    *(("--trainer.overfit_batches", "1"), ("--trainer.limit_test_batches", "0")),
    *(("--trainer.max_time", "00:00:00:01"), ("--config", "right.yaml"), ("--batch_size", "1000")),
)
SECTIONS = ("model", "data", "optimizer", "lr_scheduler", "trainer", "stop", "seed_everything")
SETTINGS = ("class_path", "init_args", "hidden", "lr", "max_epochs", "root")
CONFIGURATIONS = (
    *("a: &a [*a]", "model: [1]", "stop: 3", "trainer: x", "[]", "3", "null", "", "\0", "- model"),
    *("model: {class_path: 3}", "model: {class_path: os.system}", "data: {init_args: []}", "? {}"),
    *("optimizer: {class_path: torch.optim.SGD, init_args: {lr: x}}", "{{", "a: b: c"),
    *("trainer: {max_epochs: 2021-13-45}", "model: {init_args: {hidden: {}}}", "'", "%YAML 9"),
    *('trainer: {default_root_dir: "a\\0b"}', "seed_everything: -3", 'data: {root: "\\0"}'),
    "a: &a [x, x, x, x, x, x, x, x]\n"
    + "\n".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 8)}]" for a, b in pairwise("abcdefghi")),
    "[" * 500 + "]" * 500,
)  # fmt: skip
MINE = """
import numpy as np


def gradients(x, target, weights, biases):
    return None, [np.zeros_like(w) for w in weights], [np.zeros_like(b) for b in biases]
"""


class Line(NamedTuple):
    """A command line, and what is to be known of it; configuration is that of fuzzed.yaml."""

    words: list[str]
    configuration: str | None
    has_stray: bool


@dataclass(frozen=True)
class Row:
    """How often each outcome came; `trains` had not ended in time, but had begun to train."""

    command: str
    inputs: int
    done: int
    failed: int
    usage: int
    sick: int
    trains: int
    faults: int
    longest_s: float
    seed: int
    cpu: str
    cores: int
    torch: str
    commit: str
    date: str
    benchmark: str = "command_lines"


class Answer(NamedTuple):
    """How a process ended: its exit code, None where it was killed; output, error, seconds."""

    code: int | None
    out: str
    err: str
    seconds: float


def ask(words: Sequence[str], folder: Path) -> Answer:
    """Run a command line in a forked process, in a folder."""
    out, err = folder.parent / "out", folder.parent / "err"
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _run(words, folder, out, err)
    code = None
    while time.monotonic() - began < LIMIT_S:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            break
        time.sleep(0.01)
    else:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in (out, err)]
    return Answer(code, texts[0], texts[1], time.monotonic() - began)


def _run(words: Sequence[str], folder: Path, out: Path, err: Path) -> None:
    """The child: it does not return."""
    code = 99
    try:
        os.setsid()
        os.chdir(folder)
        for number, path in ((1, out), (2, err)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.argv = [str(ROOT / "train.py"), *words]
        code = command(list(words))
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001  what Python itself would print
        sys.excepthook(*sys.exc_info())
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def outcome(line: Line, answer: Answer) -> str:
    """What a process's end is called."""
    asks_help = {"-h", "--help", "--print_config", "--schema"} & {*line.words}
    if line.has_stray and answer.code in (0, 3) and not asks_help:
        return "word ignored"
    return fault_of(answer) or CODES[answer.code or 0]


def fault_of(answer: Answer) -> str:
    """What no process may do, whatever it is asked; "" for nothing of it."""
    if "Traceback (most recent call last)" in answer.err + answer.out:
        return "traceback"
    if answer.code is None:
        begun = "epoch " in answer.out or "cells" in answer.out
        return "trains" if begun else "hang"
    if answer.code < 0:
        return "crash"
    if answer.code not in CODES:
        return "other code"
    if answer.code and not answer.err.strip() and not answer.out.strip():
        return "silent"
    return ""


def draw_line(draw: random.Random) -> Line:  # noqa: C901  a case for each change
    """A line that is right, but for one to three changes."""
    words, configuration, has_stray = list(draw.choice(LINES)), None, False
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        at = draw.randrange(len(words)) if words else 0
        match draw.choice("vvkkkkkkoosdwcmt"):
            case "v":  # another value
                values = [k for k, word in enumerate(words) if k and not word.startswith("-")]
                at = draw.choice(values or [at])
                words[at : at + 1] = [draw.choice(VALUES)]
            case "o":  # another option
                words += [draw.choice(OPTIONS), draw.choice(VALUES)]
            case "k":  # an option that may do
                words += draw.choice(PLAUSIBLE)
            case "s":  # a word too many
                words.append(STRAY)
                has_stray = True
            case "w":  # an option nobody knows
                words += [f"--{STRAY}", draw.choice(VALUES)]
                has_stray = True
            case "d":  # a word too few
                del words[at : at + 1]
            case "t":  # a word twice
                words[at:at] = words[at : at + 1]
            case "c":  # a configuration
                configuration = draw.choice(CONFIGURATIONS)
                words += ["--config", "fuzzed.yaml"]
            case "m":  # settings in a configuration, of any kind
                section, value = draw.choice(SECTIONS), draw.choice(VALUES)
                name = draw.choice(
                    ("class_path", "init_args", "hidden", "lr", "max_epochs", "root")
                )
                configuration = f"{section}: {{{name}: {value}}}"
                words += ["--config", "fuzzed.yaml"]
    words = [word for word in words if "\0" not in word]
    return Line(words, configuration, has_stray and STRAY in " ".join(words))


def furnish(folder: Path) -> None:
    """Files that lines name: a run, weights, pictures, gradients, damaged ones, a pipe."""
    words = [word for word in SMALL if word not in ("--trainer.max_steps", "2")]
    trained = ask(("fit", *words, "--max_epochs", "1"), folder)
    assert trained.code == 0, trained.err
    torch.save({"state_dict": MLP(784, [8], 10).state_dict()}, folder / "weights.pt")
    torch.save([1, 2], folder / "list.pt")
    last = folder / RUN / "checkpoints" / "last.ckpt"
    (folder / "cut.ckpt").write_bytes(last.read_bytes()[:5000])
    (folder / "broken.pt").write_bytes(last.read_bytes())
    (folder / "config.yaml").write_bytes((folder / RUN / "config.yaml").read_bytes())
    (folder / "right.yaml").write_text("trainer:\n  log_every_n_steps: 1\n", encoding="utf-8")
    (folder / "mine.py").write_text(MINE, encoding="utf-8")
    w, b = np.ones((3, 4)), np.zeros(3)
    np.savez(folder / "gradients.npz", x=np.ones((5, 4)), target=np.eye(3)[[0, 1, 2, 0, 1]],
             W1=w, b1=b, dW1=w, db1=b)  # fmt: skip
    (folder / "pictures").mkdir()
    (folder / "pictures" / "cat.png").touch()
    os.mkfifo(folder / "pipe")


def main(words: list[str] | None = None) -> int:
    """Run command lines; print and keep the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args(words)
    # A forked child has no threads but its own, and the network answers nobody.
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ |= dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    for module in IMPORTED:
        import_module(f"torchmlp.{module}")
    gc.collect()
    gc.freeze()  # a child that looked through it all would copy it
    draw = random.Random(options.seed)  # noqa: S311  it is to be repeated
    counts: dict[str, Counter[str]] = {}
    longest: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "here"
        folder.mkdir()
        furnish(folder)
        for number in range(options.inputs):
            line = draw_line(draw)
            (folder / "fuzzed.yaml").write_text(line.configuration or "", encoding="utf-8")
            answer = ask(line.words, folder)
            found = outcome(line, answer)
            known = {name for name, *_ in LINES if not name.startswith("-")}
            name = line.words[0] if line.words and line.words[0] in known else "fit"
            counts.setdefault(name, Counter())[found] += 1
            longest[name] = max(longest.get(name, 0.0), answer.seconds)
            if found in FAULTS:
                said = answer.err.strip().splitlines()[-1:] or [""]
                shown = json.dumps([word[:80] for word in line.words])
                print(f"{number} {found}: {shown} {line.configuration!r:.100} {said[0][:200]}",
                      file=sys.stderr, flush=True)  # fmt: skip
    total = sum(counts.values(), Counter[str]())
    rows = [
        Row(
            command=name,
            inputs=c.total(),
            faults=sum(c[fault] for fault in FAULTS),
            longest_s=round(longest[name], 1),
            seed=options.seed,
            **{code: c[code] for code in (*CODES.values(), "trains")},  # type: ignore[arg-type]
            **machine(),
        )
        for name, c in sorted(counts.items())
    ]
    write(options.output, rows, KEY)
    told = ", ".join(f"{total[name]} {name}" for name in (*CODES.values(), "trains", *FAULTS))
    print(f"{total.total()} command lines: {told}")
    return 1 if any(total[name] for name in FAULTS) else 0


if __name__ == "__main__":
    sys.exit(main())
