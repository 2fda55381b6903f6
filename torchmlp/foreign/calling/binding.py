"""A function called by what its parameters' names say, its result read by the names it returns."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from torchmlp.foreign.calling import words


class UnboundError(Exception):
    """A parameter that nothing is known for."""


@dataclass(frozen=True)
class Signature:
    """What a function asks for.

    Attributes:
        required: names of the parameters without a default.
        optional: names of those with one.
        kinds: by name, whether it is handed over by position or by keyword only.
    """

    required: tuple[str, ...]
    optional: tuple[str, ...]
    by_keyword: frozenset[str]

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.required, *self.optional)


def signature(function: Callable[..., Any]) -> Signature | None:
    """The signature of a function, a bound method or a class; None where Python knows none."""
    inner = getattr(function, "__func__", None)
    if inner is None:
        return _signature(function)
    found = _signature(inner)  # each look takes long, and bound methods are new every time
    return None if found is None else replace(
        found, required=found.required[1:] if found.required else (),
        optional=found.optional if found.required else found.optional[1:],
    )  # fmt: skip


@lru_cache(maxsize=4096)
def _signature(function: Callable[..., Any]) -> Signature | None:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None
    plain = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return Signature(
        tuple(p.name for p in plain if p.default is p.empty),
        tuple(p.name for p in plain if p.default is not p.empty),
        frozenset(p.name for p in plain if p.kind is p.KEYWORD_ONLY),
    )


def shown(function: Callable[..., Any], name: str) -> str:
    """A function with its parameters, as an error shows it."""
    try:
        return f"{name}{inspect.signature(function)}"
    except (TypeError, ValueError):
        return name


def role_in(function: Callable[..., Any], name: str) -> str | None:
    """What a parameter is, by its name and by what the function takes out of it: p["W1"]."""
    role = words.role(name)
    if role in ("cache", "params", "grad", "x", "y"):
        return role
    whole, begun = keys_of(function, name)
    kinds = [words.numbered(key) for key in (*whole, *(f"{start}1" for start in begun))]
    return "params" if any(kind and kind[0] == "weight" for kind in kinds) else role


def bind(
    function: Callable[..., Any],
    values: Mapping[str, Any],
    *,
    roles: Callable[[str], str | None] | None = None,
    also: Sequence[str] = (),
) -> Callable[[], Any]:
    """The call of a function with what is known: by a parameter's own name, or by its role.

    A parameter with a default keeps it, but where a value is there by its own name or its role is
    one of those that have to be set: rate, epochs, regularisation, batch size; and those in `also`.

    Raises:
        UnboundError: a parameter that is needed and not known.
    """
    found = signature(function)
    if found is None:
        raise UnboundError("its parameters cannot be read")
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    positional = True
    for name in found.names:
        role = roles(name) if roles else role_in(function, name)
        if name in values:
            value = values[name]
        elif name in found.required:
            if role is None or role not in values:
                raise UnboundError(name)
            value = values[role]
        elif role in (*SET, *WANTED, *also) and role in values:
            value = values[role]
        else:
            positional = False
            continue
        if positional and name not in found.by_keyword:
            args.append(value)
        else:
            kwargs[name] = value
    return lambda: function(*args, **kwargs)


SET = ("lr", "epochs", "reg", "batch_size", "quiet")  # even where a default is there
WANTED = ("x", "y", "params", "weights", "biases")  # a default of None stands for "not given"


def returned_names(function: Callable[..., Any]) -> list[str | None]:
    """The names in the last `return a, b, {...}` of a function; None for what is no name."""
    return _returned_names(getattr(function, "__func__", function))


@lru_cache(maxsize=4096)
def _returned_names(function: Callable[..., Any]) -> list[str | None]:
    tree = body(function)
    if tree is None:
        return []
    returns = [n for n in ast.walk(tree) if isinstance(n, ast.Return) and n.value is not None]
    if not returns:
        return []
    value = max(returns, key=lambda node: node.lineno).value
    parts = value.elts if isinstance(value, (ast.Tuple, ast.List)) else [value]
    return [_name(part) for part in parts]


def _name(node: ast.expr | None) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return str(node.slice.value) if isinstance(node.slice.value, str) else None
    return None


@lru_cache(maxsize=4096)
def body(function: Callable[..., Any]) -> ast.AST | None:
    """The function's syntax tree; None where there is no source."""
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError, IndentationError):
        return None


@lru_cache(maxsize=4096)
def keys_of(function: Callable[..., Any], argument: str) -> tuple[list[str], list[str]]:
    """The keys that a function takes out of an argument: whole, and begun ("W" + str(l))."""
    tree = body(function)
    whole: list[str] = []
    begun: list[str] = []
    if tree is None:
        return [], []
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and _is_name(node.value, argument):
            _key(node.slice, whole, begun)
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == argument
            and node.args
        ):
            _key(node.args[0], whole, begun)
        if isinstance(node, (ast.GeneratorExp, ast.ListComp)) and any(
            isinstance(n, ast.Name) and n.id == argument for n in ast.walk(node)
        ):
            whole += [  # W1, b1 = (params[k] for k in ("W1", "b1"))
                n.value
                for n in ast.walk(node)
                if isinstance(n, ast.Constant)
                and isinstance(n.value, str)
                and n.value.isidentifier()
            ]
    return list(dict.fromkeys(whole)), list(dict.fromkeys(begun))


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _key(node: ast.expr, whole: list[str], begun: list[str]) -> None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        whole.append(node.value)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Mod)):
        if isinstance(node.left, ast.Constant) and isinstance(node.left.value, str):
            begun.append(node.left.value.partition("%")[0])
    elif isinstance(node, ast.JoinedStr) and node.values:
        first = node.values[0]
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            begun.append(first.value)
    elif (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "format"
        and isinstance(node.func.value, ast.Constant)
    ):
        begun.append(str(node.func.value.value).partition("{")[0])
