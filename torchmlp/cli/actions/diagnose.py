"""Diagnosing what a configuration would train."""

from pathlib import Path
from typing import Any

import torch
import yaml

from torchmlp._runtime.atomic_file import write_atomically
from torchmlp._runtime.sealed_file import DamagedFileError, load_sealed
from torchmlp.cli.actions import adapters
from torchmlp.cli.actions.diagnosis_files import PAGE, RECORD, REMEDY, write
from torchmlp.cli.terminal.errors import UsageError, reason
from torchmlp.cli.terminal.exit_codes import DONE, SICK
from torchmlp.cli.terminal.program import program
from torchmlp.cli.terminal.streams import say
from torchmlp.diagnosis import Report
from torchmlp.diagnosis.diagnose import diagnose_run
from torchmlp.diagnosis.measure.nonfinite import locate
from torchmlp.diagnosis.record.record import NonFinite
from torchmlp.diagnosis.run.run import TrainingRun
from torchmlp.lightning.classifier import Classifier

DENSE = {"linear", "addmm", "mm", "matmul", "__matmul__"}  # a dense layer, however it is written


def diagnose(cli: Any, steps: int, *, budget: float, fix: bool, replay: Path | None) -> int:
    """Diagnose the model, data and optimizer of a command line, or replay a saved step of it.

    Returns:
        0 healthy, 3 sick.
    """
    run = adapters.run_of_steps(cli, steps)
    if replay:
        return _replay(cli.model, run, replay)
    found = diagnose_run(run, steps, budget=budget)
    folder: Path | None = cli.folder
    if folder is not None:
        write(found, folder)  # first: a reader that goes away loses nothing
    fixed = _fix(cli, found, folder or Path()) if fix and not found.healthy else ""
    say(str(found))
    if folder is not None:
        say(f"{'' if found.healthy else chr(10)}diagnosis {folder} ({PAGE}, {RECORD})")
    if fixed:
        say(fixed)
    return DONE if found.healthy else SICK


def _replay(module: Any, run: TrainingRun, path: Path) -> int:
    try:
        state = load_sealed(path)
    except (DamagedFileError, OSError) as error:
        raise UsageError(f"--replay: {reason(error)}") from error
    try:
        module.load_state_dict(state["state_dict"])
        x, target = state["batch"]
        batch, step = (x.clone(), target.clone()), int(state["step"])
        for given, own in zip(batch, run.batches[0], strict=True):
            if len(x) != len(given) or given[0].numel() != own[0].numel():
                raise ValueError(f"a batch of shape {tuple(given.shape)}")  # noqa: TRY301
        torch.set_rng_state(state["rng"])
        run.model.train()
        found = locate(run, batch, step)
    except (LookupError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"--replay: {path} is of another model, or no broken.pt that a fit left "
            f"({type(error).__name__})"
        ) from error
    if found is None:
        say(f"step {step} again: everything is finite")
        return DONE
    say(f"step {step} again: {told(found)}")
    return SICK


def told(found: NonFinite) -> str:
    """The first value that is not finite, in words."""
    where = "" if found.layer is None else f" of layer {found.layer}"
    by = f", made by {found.function}" if found.function else ""
    at = "" if found.at is None else f" of {found.at:.4g}"
    limit = "" if found.limit is None else f" (limit {found.limit:.4g})"
    return f"the first {found.value} is in {found.quantity}{where}{by}{at}{limit}"


def _fix(cli: Any, found: Report, folder: Path) -> str:
    """Write the best remedy as a configuration; what to say of it."""
    best = found.remedy
    if best is None:
        return "no remedy written: none of the changes tried has helped"
    patch = best.patch
    if patch is not None and not isinstance(cli.model, Classifier):
        patch = _as_classifier(found, patch)
    if patch is None:
        return f"no remedy written: no setting of the command line does this ({best.name})"
    path = folder / REMEDY
    write_atomically(path, f"# {best.name}\n{yaml.safe_dump(patch, sort_keys=False)}")
    config = " ".join(f"--config {name}" for name in cli.configurations)
    return f"remedy {path}\ntry it: {program()} fit {config} --config {path}".replace("  ", " ")


def _as_classifier(found: Report, patch: dict[str, Any]) -> dict[str, Any] | None:
    """The remedy as this package's classifier of the same sizes; None for no plain network."""
    record = found.record
    if not record.layers or any(layer.kind not in DENSE for layer in record.layers):
        return None
    design = record.design
    hidden = [layer.activation for layer in record.layers[:-1]]
    settings = {
        "hidden": [layer.fan_out for layer in record.layers[:-1]],
        "activation": hidden[0] if hidden and hidden[0] != "own" else "relu",
        "init": "auto",
        "loss": "cross_entropy",
    } | patch.get("model", {}).get("init_args", {})
    optimizer = {
        "class_path": "torch.optim.SGD",
        "init_args": {"lr": design.lr, "momentum": design.momentum, "nesterov": False},
    }
    own = patch.get("optimizer", {})
    if "class_path" in own:
        optimizer = own
    else:
        optimizer["init_args"] |= own.get("init_args", {})
    return {
        **patch,
        "model": {"class_path": "torchmlp.Classifier", "init_args": settings},
        "optimizer": optimizer,
    }
