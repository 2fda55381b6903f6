"""Is a run that was killed and resumed the run that was left alone?

python benchmarks/reliability/soak.py --cycles 200 --seed 0

A cycle draws a recipe (optimizer, engine, dropout, shifts, schedule, checkpoints and validations in
the middle of epochs), kills its run at a random moment by Ctrl-C, SIGTERM or SIGKILL, resumes it
from its newest checkpoint, perhaps kills that one too, and compares what it ends with with the
uninterrupted run's, bit by bit: weights, optimizer, schedule, counters, and every row of
metrics.csv. Rewrites results/soak.csv; exits with 1 where anything differed.

Runs are forked from a process that has imported everything, with one thread: after a fork the
threads of a process are gone. One in `--every` is `python train.py` as it is.
"""

import argparse
import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]
from runs import ROOT, machine, rewrite  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "soak.csv"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
HANDLED = (signal.SIGINT, signal.SIGTERM)
HANGS_S = 60.0  # a run takes seconds
USAGE = 2
SHARED = 4  # cycles of one recipe


@dataclass(frozen=True)
class FitSettings:
    """What is trained."""

    optimizer: str
    engine: str
    scheduler: str
    dropout: float
    input_dropout: float
    max_shift: int
    log_every: int
    validation: str
    checkpoint_every: int
    end: str

    def words(self) -> list[str]:
        """The command line."""
        scheduled = {
            "StepLR": ["--lr_scheduler.step_size", "1", "--lr_scheduler.gamma", "0.5"],
            "ReduceLROnPlateau": [
                *("--lr_scheduler.monitor", "train_loss"),
                *("--lr_scheduler.patience", "0", "--lr_scheduler.threshold", "0.2"),
            ],
        }
        words = ["fit", "--data.source", "embedded", "--batch_size", "150", "--hidden", "16"]
        words += ["--trainer.enable_model_summary", "false", "--seed", "5"]
        words += ["--optimizer", self.optimizer, "--lr", "0.01", "--model.engine", self.engine]
        words += ["--model.dropout", str(self.dropout), "--data.max_shift", str(self.max_shift)]
        words += ["--model.input_dropout", str(self.input_dropout)]
        words += ["--lr_scheduler", self.scheduler, *scheduled.get(self.scheduler, [])]
        words += ["--trainer.log_every_n_steps", str(self.log_every)]
        words += self.validation.split() + self.end.split()
        if self.checkpoint_every:
            words += ["--trainer.callbacks+=ModelCheckpoint"]
            words += [f"--trainer.callbacks.every_n_train_steps={self.checkpoint_every}"]
        return words


def draw(generator: random.Random) -> FitSettings:
    """A recipe at random."""
    pick = generator.choice
    return FitSettings(
        optimizer=pick(["SGD", "Adam"]),
        engine=pick(["fused", "autograd"]),
        scheduler=pick(["torchmlp.lightning.schedules.OneCycle", "StepLR", "ReduceLROnPlateau"]),
        dropout=pick([0.0, 0.3]),
        input_dropout=pick([0.0, 0.2]),
        max_shift=pick([0, 1]),
        log_every=pick([1, 4, 50]),
        validation=pick(
            [
                "",
                "",
                "--trainer.val_check_interval 0.25",
                "--trainer.check_val_every_n_epoch 2",
            ]
        ),
        checkpoint_every=pick([0, 7, 30]),  # 30: the batches of an epoch
        end=pick(["--max_epochs 2", "--max_epochs 2", "--trainer.max_steps 50"]),
    )


@dataclass
class Ended:
    """How a process ended."""

    code: int  # what a shell would see; 137 for SIGKILL
    seconds: float
    signalled: bool


def run(
    folder: Path, words: list[str], number: int = 0, after: float = 0.0, *, fork: bool = True
) -> Ended:
    """Run a command line in a process of its own; kill it after so many seconds, if by a signal.

    Raises:
        TimeoutError: it does not end.
    """
    start = time.monotonic()
    if fork:
        # Until the child has its own handlers: this process's are not for it.
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        child = os.fork()
        if child == 0:
            _run_here(folder, words)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
    else:
        out = (folder / "out.txt").open("a")
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        child = subprocess.Popen(
            [sys.executable, str(ROOT / "train.py"), *words],
            cwd=folder, env=environment, stdout=out, stderr=out, preexec_fn=_unignored,  # noqa: PLW1509
        ).pid  # fmt: skip
    signalled = False
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        spent = time.monotonic() - start
        if found:
            code = os.waitstatus_to_exitcode(status)
            return Ended(128 - code if code < 0 else code, spent, signalled)
        if number and not signalled and spent >= after:
            os.kill(child, number)
            signalled = True
        if spent > HANGS_S:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise TimeoutError
        time.sleep(0.001)


def _run_here(folder: Path, words: list[str]) -> None:
    """In a forked process: what train.py does."""
    code = 1
    try:
        for number in HANDLED:
            signal.signal(number, lambda number, _frame: os._exit(128 + number))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        os.chdir(folder)
        file = os.open(folder / "out.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.argv = [str(ROOT / "train.py"), *words]
        from torchmlp.cli import main  # noqa: PLC0415  torch's thread count comes first

        code = main(words)
    finally:
        os._exit(code)


def _unignored() -> None:
    """Ctrl-C is for this process, whoever has started the benchmark in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def runs_in(folder: Path) -> list[Path]:
    """The folders of the runs, in their order."""
    found = (folder / "lightning_logs").glob("version_*")
    return sorted(found, key=lambda path: int(path.name.removeprefix("version_")))


def newest_checkpoint(folder: Path) -> Path | None:
    """The one that was written last."""
    found = list((folder / "lightning_logs").glob("*/checkpoints/*.ckpt"))
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)


def rows_of(run: Path) -> list[dict[str, str]]:
    """The rows of a run's metrics.csv, without what is not there."""
    path = run / "metrics.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [
            {k: v for k, v in row.items() if v not in ("", None)} for row in csv.DictReader(file)
        ]


def joined(folder: Path, cuts: dict[str, int]) -> list[dict[str, str]]:
    """The rows of all parts: of each up to the step that the next one goes on from."""
    rows: list[dict[str, str]] = []
    for run_folder in runs_in(folder):
        new = rows_of(run_folder)
        if (step := cuts.get(run_folder.name)) is not None:
            rows = [row for row in rows if int(row["step"]) < step and row not in new]
        rows += new
    return rows


def difference(one: Any, other: Any, where: str = "") -> str:
    """Where two states differ; "" where they are the same to the last bit."""
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return f"{where}: keys"
        found = (difference(one[key], other[key], f"{where}.{key}") for key in one)
        return next((text for text in found if text), "")
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        if len(one) != len(other):
            return f"{where}: length"
        pairs = enumerate(zip(one, other, strict=True))
        found = (difference(a, b, f"{where}[{k}]") for k, (a, b) in pairs)
        return next((text for text in found if text), "")
    if isinstance(one, torch.Tensor):
        same = isinstance(other, torch.Tensor) and one.dtype == other.dtype and one.equal(other)
        return "" if same else where
    return "" if one == other else f"{where}: {one} {other}"


@dataclass
class Cycle:
    """What came of one recipe, killed and resumed."""

    recipe: FitSettings
    kills: list[str] = field(default_factory=list)
    different: str = ""
    wrong_codes: list[str] = field(default_factory=list)
    hangs: int = 0


def cycle(
    folder: Path,
    recipe: FitSettings,
    reference: Path,
    seconds: float,
    draws: random.Random,
    *,
    fork: bool,
) -> Cycle:
    """Kill a recipe's run up to twice, resume it each time, and compare its end."""
    result = Cycle(recipe)
    folder.mkdir()
    cuts: dict[str, int] = {}
    kills = draws.randint(1, 2)
    while True:
        number = draws.choice(SIGNALS) if kills else 0
        after = draws.uniform(0, seconds)
        kills -= 1
        words = recipe.words()
        before = set(runs_in(folder))
        if checkpoint := newest_checkpoint(folder):
            words += ["--ckpt_path", str(checkpoint)]
            step = torch.load(checkpoint, weights_only=True)["global_step"]
        try:
            ended = run(folder, words, number, after, fork=fork)
        except TimeoutError:
            result.hangs += 1
            return result
        for new in set(runs_in(folder)) - before:
            cuts[new.name] = step if checkpoint else 0
        if number and ended.signalled:
            name = signal.Signals(number).name
            result.kills.append(f"{name} after {after:.2f} s")
            if ended.code == 128 + number:
                continue
            if ended.code:
                result.wrong_codes.append(f"{name}: {ended.code}")
                continue
        elif ended.code == USAGE and checkpoint and _is_finished(folder):
            pass  # killed after its last step: nothing is left to do
        elif ended.code:
            result.wrong_codes.append(f"none: {ended.code}")
            return result
        break
    result.different = compare(folder, reference, cuts)
    return result


def _is_finished(folder: Path) -> bool:
    return "checkpoint of a finished run" in (folder / "out.txt").read_text()


def compare(folder: Path, reference: Path, cuts: dict[str, int]) -> str:
    """How a run's end differs from the uninterrupted one's; "" where it does not."""
    finished = [path for path in runs_in(folder) if (path / "checkpoints" / "last.ckpt").exists()]
    if not finished:
        return "no last.ckpt"
    mine, theirs = joined(folder, cuts), joined(reference, {})
    trained = [[row for row in rows if "test_loss" not in row] for rows in (mine, theirs)]
    states = [_last_state(folder), _last_state(reference)]
    return difference(states[0], states[1], "checkpoint") or difference(
        trained[0], trained[1], "metrics.csv"
    )


def _last_state(folder: Path) -> dict[str, Any]:
    """Of the last run that has trained to its end."""
    for path in reversed(runs_in(folder)):
        if (path / "checkpoints" / "last.ckpt").exists():
            break
    state: dict[str, Any] = torch.load(path / "checkpoints" / "last.ckpt", weights_only=True)
    loops = state["loops"]["fit_loop"]
    return {
        **{key: state[key] for key in ("state_dict", "optimizer_states", "lr_schedulers")},
        **{key: state[key] for key in ("global_step", "epoch")},
        "epochs": loops["epoch_progress"]["total"]["processed"],
        "stepped": loops["epoch_loop.state_dict"]["_batches_that_stepped"],
        "random": state["torchmlp"]["processes"][0]["random"],
    }


@dataclass(frozen=True)
class Row:
    """One cycle of the last soak."""

    cycle: int
    seed: int
    optimizer: str
    engine: str
    scheduler: str
    dropout: float
    input_dropout: float
    max_shift: int
    log_every: int
    validation: str
    checkpoint_every: int
    end: str
    process: str
    kills: str
    identical: bool
    difference: str
    wrong_exit_codes: str
    hangs: int
    cpu: str
    cores: int
    torch: str
    commit: str
    date: str


def soak(cycles: int, seed: int, every: int, keep: Path | None = None) -> list[Row]:
    """So many cycles; each recipe's uninterrupted run is made once for `SHARED` of them."""
    rows: list[Row] = []
    here = machine()  # of the code that is loaded, whatever is committed meanwhile
    with tempfile.TemporaryDirectory() as temporary:
        root = keep or Path(temporary)
        for number in range(cycles):
            draws = random.Random(f"{seed} {number}")  # noqa: S311  so that each can be had again
            if number % SHARED == 0:
                recipe = draw(draws)
                reference = root / f"reference_{number}"
                reference.mkdir(parents=True)
                alone = run(reference, recipe.words())
                if alone.code:
                    raise RuntimeError((reference / "out.txt").read_text())
            fork = every == 0 or number % every != every - 1
            folder = root / f"cycle_{number}"
            seconds = alone.seconds + (0 if fork else 8)  # its imports
            found = cycle(folder, recipe, reference, seconds, draws, fork=fork)
            ok = not (found.different or found.wrong_codes or found.hangs)
            rows.append(
                Row(
                    cycle=number, seed=seed, **asdict(recipe),
                    process="forked" if fork else "train.py", kills="; ".join(found.kills),
                    identical=not (found.different or found.hangs), difference=found.different,
                    wrong_exit_codes="; ".join(found.wrong_codes), hangs=found.hangs, **here,
                )
            )  # fmt: skip
            if not ok:
                print(f"cycle {number}: {found}", file=sys.stderr, flush=True)
            elif keep is None:
                shutil.rmtree(folder)
    return rows


def closing_line(rows: Sequence[Row]) -> str:
    """The counts of a soak."""
    kills = sum(len(row.kills.split("; ")) for row in rows if row.kills)
    same = sum(row.identical for row in rows)
    codes = sum(bool(row.wrong_exit_codes) for row in rows)
    hangs = sum(row.hangs for row in rows)
    return (
        f"{len(rows)} cycles, {kills} kills: {same} identical, {len(rows) - same} different, "
        f"{codes} with a wrong exit code, {hangs} hangs"
    )


def main() -> int:
    """Soak, print the counts and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=20, help="which is a whole train.py; 0 none")
    parser.add_argument("--keep", type=Path, help="a folder for all the runs")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    import torchmlp.cli.running.run  # noqa: F401, PLC0415  for all the forks; after the thread count

    rows = soak(options.cycles, options.seed, options.every, options.keep)
    rewrite(options.results, rows)
    print(closing_line(rows))
    good = all(row.identical and not row.wrong_exit_codes for row in rows)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
