"""Class paths of earlier releases, in configurations and flags, under today's names."""

import re
from functools import cache
from typing import Any

RENAMED = {
    "torchmlp.training.schedules": "torchmlp.lightning.schedules",
    "torchmlp.training.classifier": "torchmlp.lightning.classifier",
    "torchmlp.training.datamodule": "torchmlp.lightning.datamodule",
    "torchmlp.training.stopping": "torchmlp.lightning.callbacks.stopping",
    "torchmlp.training.progress": "torchmlp.lightning.callbacks.progress",
    "torchmlp.training.finite.StopWhenNotFinite": (
        "torchmlp.lightning.callbacks.terminate_on_nonfinite.TerminateOnNonFinite"
    ),
    "torchmlp.training.checkpoints.WholeCheckpointIO": (
        "torchmlp.lightning.checkpoints.files.AtomicCheckpointIO"
    ),
    "torchmlp.training.checkpoints": "torchmlp.lightning.checkpoints.best_and_last",
    "torchmlp.training.run_state": "torchmlp.lightning.checkpoints.run_state",
    "torchmlp.health.monitor": "torchmlp.diagnosis.monitor",
}
_OLD = re.compile("|".join(rf"^{re.escape(path)}(?=\.|$)" for path in RENAMED))


def renamed(value: Any) -> Any:
    """A configuration, with the classes it names under today's names."""
    if isinstance(value, dict):
        return {key: renamed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [renamed(item) for item in value]
    return _OLD.sub(lambda m: RENAMED[m[0]], value) if isinstance(value, str) else value


@cache
def read_old_names() -> None:
    """Have the parser read old names in files as today's."""
    import yaml  # noqa: PLC0415  a help needs neither
    from jsonargparse import get_loader, set_loader  # noqa: PLC0415  takes long to import

    load = get_loader("yaml")

    def load_renamed(text: str) -> Any:
        return renamed(load(text))

    set_loader("yaml", load_renamed, exceptions=(yaml.YAMLError,))
