"""What users see today, as text."""

import inspect
import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import torchmlp
from tests.cli.command_line import run

FILES = Path(__file__).parent
# Each with a help of its own; fit's is LightningCLI's and torch's, and differs with their versions.
HELPS = ((), ("diagnose",), ("map",), ("verify",))
OURS = ("model.", "data.", "stop.", "optimizer", "lr_scheduler", "health")


def names() -> str:
    """Every public name with its signature, and a class's own methods and properties."""
    return "\n".join(_names()) + "\n"


def _names() -> Iterator[str]:
    for name in sorted(torchmlp.__all__):
        thing = getattr(torchmlp, name)
        yield name + _signature(thing)
        if not inspect.isclass(thing):
            continue
        for member, value in sorted(vars(thing).items()):
            if member.startswith("_"):
                continue
            if isinstance(value, property):
                yield f"    {member}"
            elif callable(getattr(thing, member)):
                yield f"    {member}{_signature(getattr(thing, member))}"


def _signature(thing: Any) -> str:
    try:
        said = str(inspect.signature(thing))
    except ValueError:
        return ""
    # Where a class stands is the package's own affair.
    return re.sub(r"(?:\w+\.)+(\w+)", r"\1", said)


def help_of(words: tuple[str, ...], folder: Path) -> str:
    """What a command's --help prints."""
    code, out, err = run(folder, *words, "--help")
    assert (code, err) == (0, "")
    return out


def options_of_fit(folder: Path) -> str:
    """The options of `fit` that are this package's own."""
    code, out, err = run(folder, "fit", "--help")
    assert (code, err) == (0, "")
    found = dict.fromkeys(re.findall(r"--([a-z_]\w*(?:\.\w+)*)", out))
    return "\n".join(sorted(name for name in found if name.startswith(OURS))) + "\n"


Case = tuple[nn.Module, Callable[[Tensor, Tensor], Tensor], float, Tensor, Tensor]


def _case(name: str) -> Case:
    torch.manual_seed(0)
    labels = torch.arange(240) % 3
    angle = labels * (torch.pi * 2 / 3)
    x = torch.stack([angle.cos(), angle.sin()], 1) + 0.3 * torch.randn(240, 2)
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy
    rate = 0.3
    model: nn.Module = torchmlp.MLP(2, [16], 3)
    if name == "rate-too-high":
        rate = 1e6
    elif name == "zeros":
        model = torchmlp.MLP(2, [16], 3, init="constant(0)")
    elif name == "linear":
        model = nn.Sequential(nn.Linear(2, 16), nn.Linear(16, 16), nn.Linear(16, 3))
        labels = (x[:, 0] * x[:, 1] > 0).long()
    elif name == "softmax-twice":
        model = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 3), nn.Softmax(1))
    elif name == "inputs-not-finite":
        x[7, 1] = float("nan")
    return model, loss, rate, x, labels


DIAGNOSES = ("healthy", "rate-too-high", "zeros", "linear", "softmax-twice", "inputs-not-finite")


def diagnosis(name: str) -> dict[str, Any]:
    """What a diagnosis says of a small run: its findings, and the fields of its JSON."""
    model, loss, rate, x, labels = _case(name)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    report = torchmlp.diagnose(
        model, loss, optimizer, (x, labels), steps=60, batch_size=24, budget=None
    )
    values = json.loads(report.to_json())
    return {
        "verdict": values["verdict"].partition(";")[0],
        "findings": [
            {key: found[key] for key in ("cause", "layer", "quantity", "step", "explanation")}
            for found in values["findings"]
        ],
        "remedy": values["remedy"],
        "fields": sorted(set(_fields(values, ""))),
    }


def _fields(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _fields(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for inner in value:
            yield from _fields(inner, f"{path}[]")
    else:
        yield path


def everything(folder: Path) -> dict[str, Callable[[], str]]:
    """Each file's name, and what makes its text."""
    return {
        "names.txt": names,
        **{
            f"help/{'_'.join(words) or 'torchmlp'}.txt": partial(help_of, words, folder)
            for words in HELPS
        },
        "help/options_of_fit.txt": partial(options_of_fit, folder),
        **{
            f"diagnoses/{name}.json": partial(_json_of, name)
            for name in DIAGNOSES
        },
    }  # fmt: skip


def _json_of(name: str) -> str:
    return json.dumps(diagnosis(name), indent=1, ensure_ascii=False) + "\n"
