"""Verify a backward pass written elsewhere, from a function or from arrays."""

import argparse
import importlib.util
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torchmlp.cli.parsing.option_parser import OptionParser
from torchmlp.cli.terminal.errors import UsageError
from torchmlp.cli.terminal.exit_codes import DONE, FAILED
from torchmlp.cli.terminal.program import program
from torchmlp.gradcheck.explain.mistakes import Mistake
from torchmlp.gradcheck.external.gradients import (
    OUTPUTS,
    ExternalGradients,
    NetworkSpec,
    infer_network,
)
from torchmlp.gradcheck.external.npz import read_npz
from torchmlp.gradcheck.external.probe import Function, FunctionError, ask
from torchmlp.kernels.activations import ACTIVATIONS
from torchmlp.kernels.losses import LOSSES

INPUTS, CLASSES = 5, 3


def verify(words: Sequence[str]) -> int:
    """Run `verify` with the words after it.

    Returns:
        0 where the gradients are right, 1 where they are wrong.

    Raises:
        UsageError: a file, function, array or option that is not what it should be.
    """
    parser = OptionParser("verify")
    parser.add_argument("source", nargs="?")
    parser.add_argument("--activation", choices=list(ACTIVATIONS))
    parser.add_argument("--output_activation", choices=OUTPUTS)
    parser.add_argument("--loss", choices=list(LOSSES))
    parser.add_argument("--hidden", nargs="*", type=int)
    parser.add_argument("--labels", action="store_true")
    parser.add_argument("--weight_decay", type=float, default=0.0)
    options, _ = parser.parse_words(list(words), beside_fit=False)
    if not options.source:
        raise UsageError(
            f"verify: expected FILE.py:function or FILE.npz; see {program()} verify --help"
        )
    known = {
        name: value
        for name, value in (
            ("activation", options.activation),
            ("output", options.output_activation),
            ("loss", options.loss),
        )
        if value is not None
    }
    try:
        if options.source.endswith(".npz"):
            return _verify_file(Path(options.source), known, options.weight_decay)
        return _verify_function(options, known)
    except FileNotFoundError as error:
        raise UsageError(f"verify: no file at {error.filename or options.source}") from error
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from error


def _verify_file(path: Path, known: dict[str, str], weight_decay: float) -> int:
    given = read_npz(path)
    kind = infer_network(given, known)
    mistakes = given.mistakes(kind, weight_decay)
    _say(f"{path}: {_sizes(given)}, {kind}")
    _say(_line(given, mistakes))
    return _verdict(str(path), mistakes)


def _verify_function(options: argparse.Namespace, known: dict[str, str]) -> int:
    function, name = _load(options.source)
    hidden = [6] if options.hidden is None else list(options.hidden)
    if any(width < 1 for width in hidden):
        raise UsageError(f"verify: expected --hidden widths of at least 1, got {hidden}")
    # Unequal sizes tell transposes by their shape, equal ones by their values, and one sample alone
    # hides whatever goes wrong between samples.
    square = hidden[0] if hidden else 4
    shapes = [
        (7, [INPUTS, *hidden, CLASSES]),
        (square, [square] * (len(hidden) + 2)),
        (1, [INPUTS, *hidden, CLASSES]),
    ]
    sheets: list[ExternalGradients] = []
    layout: tuple[bool, bool] | None = None
    for rows, widths in shapes:
        try:
            given, layout = _asked(function, name, rows, widths, layout, labels=options.labels)
        except FunctionError as error:
            return _say_wrong(f"{name}: {error}")
        sheets.append(given)
    kind = infer_network(sheets[0], known)
    layout_name = "(fan_in, fan_out)" if sheets[0].is_in_out else "(fan_out, fan_in)"
    _say(f"{name}: weights {layout_name}, {kind}")
    answers: list[list[Mistake]] = []
    for given in sheets:
        scale = kind.scale
        if scale not in (1.0, 2.0):  # it is made of B or K, which differ from probe to probe
            scale = _scale_of(given, kind)
        found = given.mistakes(
            NetworkSpec(kind.activation, kind.output, kind.loss, scale), options.weight_decay
        )
        answers.append(found)
        _say(_line(given, found))
    return _verdict(name, next((found for found in answers if found), []))


def _scale_of(given: ExternalGradients, kind: NetworkSpec) -> float:
    known = {"activation": kind.activation, "output": kind.output, "loss": kind.loss}
    return infer_network(given, known).scale


def _asked(
    function: Function,
    name: str,
    rows: int,
    widths: list[int],
    layout: tuple[bool, bool] | None,
    *,
    labels: bool,
) -> tuple[ExternalGradients, tuple[bool, bool]]:
    """The function's answer, and the layout (weights in-out, targets as labels) it understood."""
    layouts = [layout] if layout else [(False, labels), (True, labels), (False, True), (True, True)]
    first: Exception | None = None
    for is_in_out, as_labels in layouts:
        try:
            given = ask(function, rows, widths, is_in_out=is_in_out, labels=as_labels)
        except FunctionError:
            raise
        except Exception as error:  # noqa: BLE001  whatever somebody's code raises
            first = first or error
            continue
        return given, (is_in_out, as_labels)
    assert first is not None
    where = traceback.extract_tb(first.__traceback__)[-1]
    raise UsageError(
        f"verify: {name} raised {type(first).__name__}: {first} ({Path(where.filename).name}, line "
        f"{where.lineno})\nIt was called with x ({rows}, {widths[0]}), weights of widths "
        f"{'-'.join(map(str, widths))}, in either layout; --hidden names other widths"
    )


def _load(source: str) -> tuple[Function, str]:
    """The function that FILE.py:function names."""
    file, colon, name = source.rpartition(":")
    if not colon or not file.endswith(".py"):
        raise UsageError(f"verify: expected FILE.py:function or FILE.npz, got {source!r}")
    path = Path(file)
    if not path.is_file():
        raise UsageError(f"verify: no file at {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(
            f"verify: {path} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    function: Any = getattr(module, name, None)
    if not callable(function):
        names = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise UsageError(
            f"verify: {path} has no function {name!r}; it has {', '.join(names) or 'none'}"
        )
    return function, source


def _sizes(given: ExternalGradients) -> str:
    samples = f"{len(given.x)} samples" if len(given.x) > 1 else "1 sample"
    return f"{samples}, {'-'.join(map(str, given.widths))}"


def _line(given: ExternalGradients, mistakes: list[Mistake]) -> str:
    wrong = {name for m in mistakes if not m.alternative for name in m.parameters}
    verdicts = [f"d{name} {'WRONG' if name in wrong else 'right'}" for name in given.names()]
    return f"  {_sizes(given)}: {', '.join(verdicts)}"


def _verdict(name: str, mistakes: list[Mistake]) -> int:
    if not mistakes:
        _say(f"{name} is right: every gradient, to rounding")
        return DONE
    for mistake in mistakes:
        _say(f"\n{mistake}")
    return FAILED


def _say_wrong(text: str) -> int:
    _say(text)
    return FAILED


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  the program's output
