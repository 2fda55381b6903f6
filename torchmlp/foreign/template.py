"""An adapter for a file that cannot be called as it is: a few lines, to be filled in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torchmlp.foreign.calling import words
from torchmlp.foreign.calling.binding import shown, signature
from torchmlp.foreign.source.definitions import load_definitions
from torchmlp.foreign.styles.classes import methods_of
from torchmlp.foreign.styles.defined import classes_of, functions_of

_ARGUMENTS = {
    "x": "x",
    "y": "target",
    "weights": "weights",
    "biases": "biases",
    "params": '{"W1": W1, "b1": b1, "W2": W2, "b2": b2}',
    "lr": "0.1",
    "reg": "0.0",
    "epochs": "1",
    "batch_size": "len(x)",
    "pairs": "list(zip(x, target))",
}


def template(path: Path, name: str | None, program: str) -> str:
    """The source of an adapter, with what the file defines in its comments.

    Raises:
        SourceError: the file cannot be read.
    """
    space = vars(load_definitions(path, "submission"))
    functions, classes = functions_of(space), classes_of(space)
    offered = [shown(f, n) for n, f in functions.items()]
    for class_name, kind in classes.items():
        offered.append(shown(kind, class_name))
        methods = [shown(m, n) for n, m in methods_of(kind).items()]
        offered += [
            f"    .{method.replace('(self, ', '(').replace('(self)', '()')}" for method in methods
        ]
    lines = [f"    #   {line}" for line in offered] or ["    #   nothing that can be called"]
    return _TEXT.format(
        program=program,
        path=path.name,
        module=path.stem,
        offered="\n".join(lines),
        call="\n".join(f"    {line}" for line in _call(path.stem, name, functions, classes)),
    )


_TEXT = '''"""Lets verify call {path}: put your code's own call where `result` is made, then

    {program} verify adapter.py:gradients

This file stands in the same folder as {path}.
"""

import {module}


def gradients(x, target, weights, biases):
    """The mean loss of the batch (or None), and two lists of gradients, first layer first.

    x is (B, n), target (B, K) one-hot; weights[l] is (fan_out, fan_in) or (fan_in, fan_out),
    whichever fits your code; biases[l] is (fan_out,).
    """
    W1, W2 = weights
    b1, b2 = biases
    # What {path} defines:
{offered}
{call}
    loss, dW1, db1, dW2, db2 = result
    return loss, [dW1, dW2], [db1, db2]
'''


def _call(
    module: str, name: str | None, functions: dict[str, Any], classes: dict[str, type]
) -> list[str]:
    """The lines that call what is likeliest to give gradients."""
    if name in functions or (functions and name not in classes and not classes):
        chosen = name if name in functions else _likeliest(functions)
        return [f"result = {module}.{chosen}({_arguments(functions[chosen])})"]
    if not classes:
        return ["result = ..."]
    chosen = name if name in classes else next(iter(classes))
    kind = classes[chosen]
    methods = methods_of(kind)
    method = _likeliest(methods) if methods else "backward"
    arguments = _arguments(methods[method]) if methods else "x, target"
    return [
        f"net = {module}.{chosen}({_arguments(kind, sizes=True)})",
        "net.W1, net.b1, net.W2, net.b2 = W1, b1, W2, b2",
        f"result = net.{method}({arguments})",
    ]


def _likeliest(functions: dict[str, Callable[..., Any]]) -> str:
    names = list(functions)
    return next((n for n in names if words.BACKWARD.search(n.lower())), names[-1])


def _arguments(function: Any, *, sizes: bool = False) -> str:
    found = signature(function)
    written = []
    by_size = {"inputs": "x.shape[1]", "hidden": "len(b1)", "outputs": "len(b2)",
               "sizes": "[x.shape[1], len(b1), len(b2)]"}  # fmt: skip
    optional = [n for n in found.optional if words.role(n) in ("x", "y")] if found else []
    for name in [*found.required, *optional] if found else ():
        if name in ("self", "cls"):
            continue
        role = words.size_role(name) if sizes else words.role(name)
        known = by_size.get(role or "") if sizes else _ARGUMENTS.get(role or "")
        if known is None and words.numbered(name):
            known = name
        written.append(known or "...")
    return ", ".join(written)
