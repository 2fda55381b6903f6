"""`verify`: a hand-written network as it stands, in a file, an object, or arrays."""

import inspect
import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from torchmlp._runtime.random_state import random_state, set_random_state
from torchmlp.foreign.attempts import Attempt
from torchmlp.foreign.probe import probe as probe_names
from torchmlp.foreign.process import SECONDS, SOURCE, Asking, Findings, begun
from torchmlp.gradcheck.external.gradients import infer_network
from torchmlp.gradcheck.external.judge import Line, judge
from torchmlp.gradcheck.external.npz import read_npz
from torchmlp.gradcheck.external.report import VerifyReport, reported
from torchmlp.kernels.threads import threads_for

VERIFIABLE = (".py", ".ipynb", ".npz")


class NotCallableError(ValueError):
    """Nothing in a file could be called as a network, or too much; the message is one screen."""


def verify(
    source: Any,
    *,
    activation: str | None = None,
    output_activation: str | None = None,
    loss: str | None = None,
    hidden: Sequence[int] | None = None,
    weight_decay: float = 0.0,
    seconds: float = SECONDS,
) -> VerifyReport:
    """Verify a hand-written backward pass as it stands, in whatever style it is written.

    It is called on random batches of several shapes; how it takes its parameters and batches, and
    which network it computes, is found out; its gradients are compared with the right ones, and the
    mistakes in them named.

    Args:
        source: a path "FILE.py", "FILE.py:NAME", "FILE.ipynb" or "FILE.npz", or a function or
            class. A file is read and called in a process of its own.
        activation: of the hidden layers, where it is in doubt.
        output_activation: of the last layer, or "softmax".
        loss: "cross_entropy", "mse" or "bce".
        hidden: widths of the hidden layers that it expects; None to choose them.
        weight_decay: λ of a ½ λ ‖W‖² in a loss that is not reported.
        seconds: for the file's own code, in all.

    Returns:
        A report: `.ok`, `.mistakes`, `.to_json()`, and as text what the command prints.

    Raises:
        NotCallableError: a ValueError: what was tried, and what is missing.
        FileNotFoundError: there is no such file.

    Example:
        >>> import numpy as np
        >>> def gradients(x, y, W, b):
        ...     delta = (x @ W + b - y) / len(x)
        ...     return 0.5 * ((x @ W + b - y) ** 2).sum() / len(x), x.T @ delta, delta.sum(0)
        >>> verify(gradients).ok
        True
    """
    pairs = (("activation", activation), ("output", output_activation), ("loss", loss))
    known = {name: value for name, value in pairs if value is not None}
    with threads_for(0.0):  # networks of a few units: waking a thread takes longer than the work
        return _verify(source, known, hidden, weight_decay, seconds)


def _verify(
    source: Any,
    known: Mapping[str, str],
    hidden: Sequence[int] | None,
    weight_decay: float,
    seconds: float,
) -> VerifyReport:
    if not isinstance(source, (str, Path)):
        return _judged(_name_of(source), _asked(source, hidden), known, weight_decay, _text(source))
    path, name = split_source(str(source))
    if path.suffix == ".npz":
        return _verify_arrays(path, known, weight_decay)
    if not path.is_file():
        raise FileNotFoundError(2, "no such file", str(path))
    asking = begun(str(source), hidden, seconds) or Asking(path, name, hidden, seconds)
    try:
        _warm_up()
        found = asking.findings()
    finally:
        asking.close()
    text = path.read_text(encoding="utf-8", errors="replace")
    return _judged(str(source), found, known, weight_decay, text)


def split_source(source: str) -> tuple[Path, str | None]:
    """FILE and NAME of FILE.py:NAME."""
    match = SOURCE.fullmatch(source)
    if match is None:
        raise NotCallableError(
            f"expected FILE.py, FILE.py:NAME, FILE.ipynb or FILE.npz, got {source!r}"
        )
    return Path(match[1]), match[2] or None


def _warm_up() -> None:
    """Load torch's parts while the other process calls the file."""
    torch.linalg.lstsq(torch.eye(2), torch.eye(2))


def _name_of(source: Any) -> str:
    if not callable(source):
        raise TypeError(
            f"verify: expected a path, a function or a class, got {type(source).__name__}"
        )
    return getattr(source, "__qualname__", type(source).__name__)


def _text(source: Any) -> str:
    try:
        return inspect.getsource(sys.modules[source.__module__])
    except (OSError, TypeError, KeyError):
        try:
            return inspect.getsource(source)
        except (OSError, TypeError):
            return ""


def _asked(source: Any, hidden: Sequence[int] | None) -> Findings:
    """The findings of an object that is here: asked in this process, among its own globals."""
    space = dict(
        getattr(source, "__globals__", None) or vars(sys.modules.get(source.__module__, types))
    )
    name = source.__name__
    space |= {name: source, "__name__": source.__module__}
    code = getattr(source, "__code__", None)
    file = str(space.get("__file__", "") if code is None else code.co_filename)
    state = random_state()  # each call begins with the same numbers; the caller's go on after it
    try:
        probes, attempts = probe_names(lambda: space, name, hidden=hidden, files=[file])
    finally:
        set_random_state(state)
    return Findings(probes, attempts, [name])


def _judged(
    source: str, found: Findings, known: Mapping[str, str], weight_decay: float, text: str
) -> VerifyReport:
    if found.error:
        where = f" ({found.where})" if found.where else ""
        raise NotCallableError(f"{source}: {found.error}{where}")
    if not found.probes:
        raise NotCallableError(_nothing_called(source, found))
    names = list(dict.fromkeys(probe.name for probe in found.probes))
    if len(names) > 1:
        file = source.partition(":")[0]
        raise NotCallableError(
            f"{source}: several networks are in it; name one:\n"
            + "\n".join(f"  verify {file}:{name}" for name in names)
        )
    verdicts = []
    for part in dict.fromkeys(probe.part for probe in found.probes):
        verdict = judge([p for p in found.probes if p.part == part], known, weight_decay, text)
        if verdict is not None:
            verdicts.append(verdict)
    if not verdicts:
        raise NotCallableError(
            f"{source}: its gradients were read, and no network known here has them; expected "
            f"--activation, --output_activation and --loss, or a function that returns the loss too"
        )
    shown = source if ":" in source or names[0] == source else f"{source}:{names[0]}"
    return reported(shown, verdicts)


def _nothing_called(source: str, found: Findings) -> str:
    """One screen: what was found, what was tried, what it said, and the way out."""
    file, _, name = source.partition(":")
    if name and name.partition(".")[0] not in found.names:
        known = ", ".join(found.names) or "none"
        return f"{file} has no function or class {name!r}; it has {known}"
    lines = [f"{source}: nothing in it could be called as a network"]
    for attempt in _worth_showing(found.attempts):
        lines.append(f"  {attempt.signature or attempt.name}")
        lines.append(f"    {attempt.tried} ways tried; the furthest: {attempt.error}")
        if attempt.where:
            lines.append(f"    at {attempt.where}")
    if not found.attempts:
        names = ", ".join(found.names) or "none"
        lines.append(f"  its functions and classes: {names}")
        lines.append("  a network is recognised by parameters such as x, y, W1, b1, params, lr")
    for name, line in list(found.skipped.items())[:3]:
        if any(f"'{name}'" in attempt.error for attempt in found.attempts):
            lines.append(f"  {name} is set in line {line}, which calls something and was not run")
    lines.append(f"An adapter of a few lines takes it: verify --template {file} > adapter.py")
    return "\n".join(lines)


def _worth_showing(attempts: Sequence[Attempt]) -> list[Attempt]:
    """At most five: those that came into the user's code first."""
    return sorted(attempts, key=lambda a: not a.where)[:5]


def _verify_arrays(path: Path, known: Mapping[str, str], weight_decay: float) -> VerifyReport:
    given = read_npz(path)
    kind = infer_network(given, known, weight_decay)
    found = given.mistakes(kind, weight_decay)
    wrong = {name for m in found if not m.alternative for name in m.parameters}
    line = Line(len(given.x), given.widths, {name: name not in wrong for name in given.names()})
    layout = "(fan_in, fan_out)" if given.is_in_out else "(fan_out, fan_in)"
    return VerifyReport(
        str(path),
        "wrong" if found else "right",
        str(kind),
        f"arrays; weights {layout}",
        [line],
        found,
    )
