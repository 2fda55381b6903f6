"""Lightning's private names: each means what we think, and a run goes on without it."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import ROOT
from tests.lightning.lightning_runs import ignore_lightnings_own, quiet_trainer
from torchmlp import Classifier, ImageDataModule
from torchmlp._compat import lightning_internals as internals
from torchmlp._compat.lightning import pl

SOURCE = (ROOT / "torchmlp" / "_compat" / "lightning_internals.py").read_text(encoding="utf-8")


class Look(pl.Callback):
    """Asks every function in the middle of a run."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {}

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """At the third batch."""
        if trainer.global_step != 3:
            return
        loop = trainer.fit_loop.epoch_loop
        (checkpoint,) = trainer.checkpoint_callbacks
        self.seen = {
            "no_fast_loop": internals.no_fast_loop(trainer),
            "no_exact_resume": internals.no_exact_resume(trainer),
            "no_signals": internals.no_signals(trainer),
            "batches_that_stepped": internals.batches_that_stepped(loop),
            "owner_of_data_hook": internals.owner_of_data_hook(trainer, "on_after_batch_transfer"),
            "steps_between_saves": internals.steps_between_saves(checkpoint),
            "goes_by_the_clock": internals.goes_by_the_clock(trainer),
            "detects_anomalies": internals.detects_anomalies(trainer),
            "logged_result": internals.logged_result(pl_module, "training_step.train_loss").value,
            "results_of_epoch": list(internals.results_of_epoch(trainer)),
            "last_metrics": [set(metrics) for metrics in internals.last_metrics(trainer)],
            "validates_after_this_batch": internals.validates_after_this_batch(trainer),
            "has_taken_all_batches": internals.has_taken_all_batches(trainer),
            "saves_at_epoch_end": internals.saves_at_epoch_end(checkpoint, trainer),
            "step_of_last_save": internals.step_of_last_save(checkpoint),
            "can_stop_early": internals.can_stop_early(trainer.fit_loop),
            "signal_connector_of": type(internals.signal_connector_of(trainer)).__name__,
        }


@ignore_lightnings_own
def test_each_means_what_we_think(tmp_path: Path) -> None:
    """Asked in the third of nine batches of a run that saves at every fifth step."""
    look = Look()
    saving = pl.callbacks.ModelCheckpoint(tmp_path, every_n_train_steps=5)
    trainer = quiet_trainer(
        tmp_path,
        max_epochs=1,
        callbacks=[look, saving],
        enable_checkpointing=True,
        log_every_n_steps=1,
    )
    data = ImageDataModule(source="embedded", batch_size=500)
    module = Classifier(hidden=8, engine="autograd")
    torch.manual_seed(0)
    trainer.fit(module, data)
    total = look.seen.pop("logged_result")
    assert 3 * 500 < float(total) < 3 * 500 * 4, "a sum of three batches' losses, in nats"
    assert look.seen == {
        "no_fast_loop": "",
        "no_exact_resume": "",
        "no_signals": "",
        "batches_that_stepped": 2,  # it is counted after the hooks
        "owner_of_data_hook": data,
        "steps_between_saves": 5,
        "goes_by_the_clock": False,
        "detects_anomalies": False,
        "results_of_epoch": [
            "training_step.train_loss_step",
            "training_step.train_loss",
            "training_step.train_accuracy",
        ],
        "last_metrics": [{"train_loss_step"}, {"train_loss_step"}, set()],
        "validates_after_this_batch": False,
        "has_taken_all_batches": False,
        "saves_at_epoch_end": True,
        "step_of_last_save": 0,
        "can_stop_early": True,
        "signal_connector_of": "_SignalConnector",
    }
    assert internals.no_launcher() == ""


def test_no_other_file_names_lightnings_own() -> None:
    """Every private name of a trainer, a loop or a connector stands in this one file."""
    names = set(re.findall(r"(?<=\.)_[a-z]\w+(?=[\"\n().,\s])", SOURCE)) - {"_compat"}
    assert len(names) > 25
    pattern = re.compile(rf"\.({'|'.join(sorted(names))})\b")
    others = [
        f"{path.relative_to(ROOT)}: {found[1]}"
        for path in (ROOT / "torchmlp").rglob("*.py")
        if path.name != "lightning_internals.py"
        for found in pattern.finditer(path.read_text(encoding="utf-8"))
    ]
    assert others == []


PROGRAM = """
import signal, sys, warnings
from torchmlp.cli import main
sys.argv = ["train.py"]
code = main(
    "fit --data.source embedded --batch_size 500 --hidden 8 --max_epochs 2 "
    "--trainer.enable_model_summary false --health false".split()
)
import json, pathlib
print(json.loads(pathlib.Path("lightning_logs/version_0/summary.json").read_text())["trained_by"])
code = code or main(
    "fit --data.source embedded --batch_size 500 --hidden 8 --max_epochs 3 --ckpt_path last "
    "--trainer.enable_model_summary false --health false".split()
)
sys.exit(code)
"""
LIBRARIES = "pytorch_lightning,lightning_fabric"
LOST = {
    "the loop over batches": ("_batches_that_stepped,_datahook_selector", "one batch at a time"),
    "resuming": ("_restart_stage,_first_loop_iter,_results", "may differ from the uninterrupted"),
    "signals": ("_SignalConnector,_can_stop_early", "Ctrl-C ends this run without a checkpoint"),
    "checkpoints": ("_last_global_step_saved,_monitor_candidates,_save_last_checkpoint", ""),
    "the command line": (
        "_add_configure_optimizers_method_to_model,_prepare_subcommand_parser,_set_seed,_parser",
        "",
    ),
    "processes": ("_SubprocessScriptLauncher,_set_num_threads_if_needed", ""),
}


def trained(names: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """A fit and its continuation, with a Lightning that has other names for these."""
    folder.mkdir()
    return subprocess.run(
        [sys.executable, "-m", "tests._compat.renamed", LIBRARIES, names, PROGRAM],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def scores(done: "subprocess.CompletedProcess[str]") -> list[str]:
    """What was measured after each of the two."""
    return [line for line in done.stdout.splitlines() if line.startswith("test ")]


@pytest.fixture(scope="module")
def as_it_is(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The scores with the Lightning that is installed."""
    return scores(trained("none_of_them", tmp_path_factory.mktemp("lightning") / "run"))


@pytest.mark.slow
@pytest.mark.parametrize("what", LOST)
def test_a_release_without_the_names_trains_all_the_same(
    tmp_path: Path, what: str, as_it_is: list[str]
) -> None:
    """The default fit, and going on from its checkpoint, end with 0 and one sentence. The weights
    are the same, but where resuming says that they may not be."""
    names, sentence = LOST[what]
    done = trained(names, tmp_path / "run")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "the engine: " in done.stdout
    assert len(scores(done)) == len(as_it_is) == 4
    first = 2 if what == "resuming" else 4
    assert scores(done)[:first] == as_it_is[:first]
    assert sentence in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    if sentence:
        assert "which torchmlp knows from 2.6.6" in done.stdout + done.stderr
