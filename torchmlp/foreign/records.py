"""Probes as plain data in one .npz: they come from a process that runs other people's code."""

import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from torchmlp.foreign.attempts import Attempt
from torchmlp.foreign.calling.layouts import Sample
from torchmlp.foreign.calling.sessions import Answer
from torchmlp.foreign.probe import Probe
from torchmlp.foreign.sheets import Sheet

_CLASSES = {kind.__name__: kind for kind in (Sample, Answer, Sheet, Probe, Attempt)}


def save(path: Path, value: Any) -> None:
    """Write probes, attempts and whatever lists, dicts and texts hold them."""
    arrays: dict[str, Any] = {}
    text = json.dumps(_encoded(value, arrays))
    with path.open("wb") as file:
        np.savez(file, **arrays, text=np.frombuffer(text.encode(), dtype=np.uint8))


def load(path: Path) -> Any:
    """What `save` wrote; nothing in the file is executed.

    Raises:
        ValueError: it is no such file.
        OSError: it cannot be read.
    """
    with np.load(path, allow_pickle=False) as file:
        value = json.loads(bytes(file["text"]).decode())
        return _decoded(value, {name: file[name] for name in file.files})


def _encoded(value: Any, arrays: dict[str, Any]) -> Any:
    if isinstance(value, np.ndarray):
        name = f"array{len(arrays)}"
        arrays[name] = value
        return {"array": name}
    if is_dataclass(value):
        inner = {f.name: _encoded(getattr(value, f.name), arrays) for f in fields(value)}
        return {"class": type(value).__name__, "fields": inner}
    if isinstance(value, dict):
        return {"dict": {str(key): _encoded(part, arrays) for key, part in value.items()}}
    if isinstance(value, (list, tuple)):
        return [_encoded(part, arrays) for part in value]
    return value.item() if isinstance(value, np.generic) else value


def _decoded(value: Any, arrays: dict[str, Any]) -> Any:
    if isinstance(value, list):
        return [_decoded(part, arrays) for part in value]
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return arrays[value["array"]]
    if "class" in value:
        inner = {name: _decoded(part, arrays) for name, part in value["fields"].items()}
        return _CLASSES[value["class"]](**inner)
    return {key: _decoded(part, arrays) for key, part in value["dict"].items()}
