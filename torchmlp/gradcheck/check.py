"""Is a gradient right? Finite differences in float64, tensor by tensor."""

import math
from collections.abc import Callable, Iterator, Mapping, MutableMapping, MutableSequence, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from torchmlp._compat.torch_internals import run_backward
from torchmlp.gradcheck.finite_differences import Measurement, measure
from torchmlp.gradcheck.float64 import WIDE, InFloat64
from torchmlp.gradcheck.inputs import Gradients, as_float, by_name, wrong_shape

WHO = "check_gradients"
_SHIFT = 1e-3


@dataclass(frozen=True)
class GradientReport:
    """What `check_gradients` measured.

    Attributes:
        measurements: by parameter name.
        tolerance: the relative error that passes for right.
    """

    measurements: dict[str, Measurement]
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether every gradient is right."""
        return all(m.is_right for m in self.measurements.values())

    @property
    def errors(self) -> dict[str, float]:
        """Each gradient's relative error, ‖given − true‖ / max(‖given‖, ‖true‖), estimated."""
        return {name: m.error for name, m in self.measurements.items()}

    def __str__(self) -> str:
        """A line for each tensor, and the verdict."""
        width = max(9, *(len(name) for name in self.measurements))
        lines = [f"{'parameter':{width}}  relative error"]
        for name, m in self.measurements.items():
            verdict = "right" if m.is_right else "WRONG"
            kinks = f"  ({m.kinks} directions at a kink)" if m.kinks else ""
            lines.append(f"{name:{width}}  {m.error:<14.1e}  {verdict}{kinks}")
        wrong = sum(not m.is_right for m in self.measurements.values())
        count = len(self.measurements)
        lines.append(
            f"{count} gradients right to {self.tolerance:g}"
            if self.ok
            else f"{wrong} of {count} gradients wrong by more than {self.tolerance:g}"
        )
        return "\n".join(lines)


def check_gradients(
    loss_fn: Callable[[], Any],
    parameters: nn.Module | Mapping[str, Any] | Sequence[Any],
    gradients: Gradients | Callable[[], Gradients] | None = None,
    *,
    tolerance: float = 1e-5,
) -> GradientReport:
    """Compare gradients with central differences of the loss, in float64.

    Args:
        loss_fn: computes the loss, a scalar, from the parameters; whatever model it is. Called
            twice for each direction, a handful of directions for each tensor. torch's random
            numbers (dropout) are the same at every call. Code written for float32 is run in
            float64: every function of torch it calls has its arguments widened.
        parameters: a module, or a dict or list of tensors or of numpy arrays that `loss_fn` reads;
            those of a module that require no gradient are left out. They are changed while the
            check runs, and are then what they were. Arrays are moved in place; in the place of
            one of float32 the dict or list holds one of float64 meanwhile, so that `loss_fn` has to
            read it there.
        gradients: what is to be checked: a dict by parameter name, or a list, or a function without
            arguments that gives either, called once at the present parameters; autograd's where
            None. At a kink, where a unit's input is exactly the 0 of a ReLU, several gradients are
            right: autograd's are then checked a thousandth aside, and one handed over passes within
            the kink's own width.
        tolerance: relative error, of the norm of each tensor, that passes for right. Errors down to
            1e-8 can be told from the measurement's own.

    Returns:
        A report: `.ok`, `.errors`, and as text a line for each tensor.

    Raises:
        ValueError: gradients that are missing, of another shape or not finite; a loss that is no
            finite scalar, or differs from call to call.
        TypeError: numbers that are not floating point, or not float64 where they have to be, as
            float32 arrays that `loss_fn` does not read from the dict or list.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> model, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)), torch.randn(5, 3)
        >>> check_gradients(lambda: model(x).square().mean(), model).ok
        True
        >>> wrong = [p.detach() + 1 for p in model.parameters()]
        >>> check_gradients(lambda: model(x).square().mean(), model, wrong).ok
        False
    """
    if not 0 < tolerance < 1:
        raise ValueError(f"{WHO}: expected a tolerance between 0 and 1, got {tolerance}")
    variables = _variables(parameters, only_trained=gradients is None)
    given = None if gradients is None or callable(gradients) else _read(gradients, variables)
    with ExitStack() as stack:
        for variable in variables.values():
            stack.enter_context(variable.widened())
        stack.enter_context(InFloat64())
        loss = _Loss(loss_fn)
        for variable in variables.values():
            variable.check_read(loss)
        if callable(gradients):
            given = _read(loss.still(gradients), variables)
        at, right = loss.with_gradients(None if given else variables)
        if loss() != at:
            raise ValueError(
                f"{WHO}: loss_fn gave {at!r} and then {loss()!r} for the same parameters; expected "
                f"a function of the parameters alone (random numbers of torch's are held still)"
            )
        generator = torch.Generator().manual_seed(0)

        def measured(gradients: Mapping[str, Tensor], at: float) -> dict[str, Measurement]:
            return {
                name: measure(loss, variable.move, gradients[name], at, tolerance, generator)
                for name, variable in variables.items()
            }

        measurements = measured(given or right, at)
        if given is None and any(m.kinks for m in measurements.values()):
            # The parameters lie on a kink, where no gradient is the only right one: beside it.
            for variable in variables.values():
                variable.shift(generator)
            at, right = loss.with_gradients(variables)
            measurements = measured(right, at)
    return GradientReport(measurements, tolerance)


class _TensorVariable:
    """A tensor that is moved about, in float64, without its owner's noticing."""

    def __init__(self, name: str, tensor: Tensor) -> None:
        if not tensor.is_floating_point():
            raise TypeError(
                f"{WHO}: expected floating-point numbers for {name}, got {tensor.dtype} of shape "
                f"{tuple(tensor.shape)}"
            )
        self.name, self.tensor, self.device = name, tensor, tensor.device
        self.shape = tuple(tensor.shape)

    @contextmanager
    def widened(self) -> Iterator[None]:
        """In float64 within, and as it was afterwards."""
        before, grad = self.tensor.data, self.tensor.grad if self.tensor.is_leaf else None
        if grad is not None:
            self.tensor.grad = None  # of another dtype than the widened tensor
        self.base = before.to(WIDE.get(before.dtype, before.dtype), copy=True)
        self.tensor.data = self.base.clone()
        try:
            yield
        finally:
            self.tensor.data = before
            if self.tensor.is_leaf:
                self.tensor.grad = grad

    def check_read(self, loss: Callable[[], float]) -> None:
        """Nothing to check: the tensor itself is what the loss reads."""

    def move(self, offset: Tensor) -> Tensor:
        """Displace the tensor; the displacement that float64 makes of it."""
        moved = self.base + offset
        self.tensor.data.copy_(moved)
        return moved - self.base

    def shift(self, generator: torch.Generator) -> None:
        """Go on from a place a thousandth aside."""
        self.base += _SHIFT * torch.randn(self.shape, generator=generator).to(self.base)
        self.move(torch.zeros_like(self.base))


class _ArrayVariable:
    """A numpy array that is moved about in place, or a float64 one that stands in its place.

    Args:
        name: the parameter's.
        array: its numbers.
        put: puts another array where the user keeps this one; None where that cannot be done.
    """

    def __init__(
        self, name: str, array: np.ndarray, put: Callable[[np.ndarray], None] | None
    ) -> None:
        if array.dtype not in (np.float64, np.float32, np.float16):
            raise TypeError(
                f"{WHO}: expected floating-point numbers for {name}, got {array.dtype} of shape "
                f"{array.shape}"
            )
        self.put = None if array.dtype == np.float64 else put
        if array.dtype != np.float64 and put is None:
            raise self._is_narrow(name, array)
        self.name, self.array, self.device = name, array, torch.device("cpu")
        self.shape = tuple(array.shape)

    @contextmanager
    def widened(self) -> Iterator[None]:
        """The array as it was afterwards."""
        own, before = self.array, self.array.copy()
        self.base = torch.from_numpy(before.astype(np.float64))
        if self.put is not None:
            self.array = before.astype(np.float64)
            self.put(self.array)
        self.own = own
        try:
            yield
        finally:
            own[...] = before
            self.array = own
            if self.put is not None:
                self.put(own)

    def check_read(self, loss: Callable[[], float]) -> None:
        """Refuse an array that was replaced where the loss reads the one it was.

        Raises:
            TypeError: so it is.
        """
        if self.put is None:
            return
        at = loss()
        self.move(torch.ones_like(self.base))
        is_read = loss() != at
        self.move(torch.zeros_like(self.base))
        if not is_read:
            before = self.own.copy()
            self.own += 1
            is_stale = loss() != at
            self.own[...] = before
            if is_stale:
                raise self._is_narrow(self.name, self.own)

    def _is_narrow(self, name: str, array: np.ndarray) -> TypeError:
        return TypeError(
            f"{WHO}: expected a float64 array for {name}, got {array.dtype} of shape "
            f"{array.shape}: finite differences need all its digits; let loss_fn read it from the "
            f"dict handed over, or make it {name} = {name}.astype(np.float64)"
        )

    def move(self, offset: Tensor) -> Tensor:
        """Displace the array; the displacement that float64 makes of it."""
        moved = self.base + offset
        self.array[...] = moved.numpy()
        return moved - self.base

    def shift(self, generator: torch.Generator) -> None:
        """Go on from a place a thousandth aside."""
        self.base += _SHIFT * torch.randn(self.shape, generator=generator).to(self.base)
        self.move(torch.zeros_like(self.base))


_Variable = _TensorVariable | _ArrayVariable


def _variables(
    parameters: nn.Module | Mapping[str, Any] | Sequence[Any], *, only_trained: bool
) -> dict[str, _Variable]:
    if isinstance(parameters, nn.Module):
        items = {name: p for name, p in parameters.named_parameters() if p.requires_grad}
    elif isinstance(parameters, Mapping):
        items = dict(parameters)
    elif isinstance(parameters, Sequence) and not isinstance(parameters, str):
        items = {str(k): p for k, p in enumerate(parameters)}
    else:
        raise TypeError(
            f"{WHO}: expected parameters as a module, a dict or a list, got "
            f"{type(parameters).__name__}"
        )
    if not items:
        raise ValueError(
            f"{WHO}: expected at least one parameter that requires a gradient, got none"
        )
    variables: dict[str, _Variable] = {}
    for name, value in items.items():
        if isinstance(value, Tensor):
            if only_trained and not value.requires_grad:
                raise ValueError(
                    f"{WHO}: {name}, shape {tuple(value.shape)}, requires no gradient; expected "
                    f"requires_grad=True, or its gradient in gradients="
                )
            variables[name] = _TensorVariable(name, value)
        elif isinstance(value, np.ndarray):
            if only_trained:
                raise ValueError(f"{WHO}: {name} is an array; expected its gradient in gradients=")
            variables[name] = _ArrayVariable(name, value, _put(parameters, name))
        else:
            raise TypeError(f"{WHO}: expected a tensor for {name}, got {type(value).__name__}")
    return variables


def _put(container: Any, name: str) -> Callable[[np.ndarray], None] | None:
    """What puts another array where a dict or list holds this one; None where it is neither."""
    if not isinstance(container, MutableMapping | MutableSequence):
        return None
    key: Any = name if isinstance(container, MutableMapping) else int(name)
    return partial(container.__setitem__, key)


def _read(gradients: Gradients, variables: Mapping[str, _Variable]) -> dict[str, Tensor]:
    read = {}
    for name, value in by_name(gradients, list(variables), WHO).items():
        shape = variables[name].shape
        if value is None:
            raise ValueError(f"{WHO}: the gradient of {name} is None; expected shape {shape}")
        tensor = as_float(value, f"the gradient of {name}", shape, WHO)
        if tuple(tensor.shape) != shape:
            raise wrong_shape(name, tensor.shape, shape, WHO)
        read[name] = tensor.to(variables[name].device, torch.float64)
    return read


class _Loss:
    """The loss as a number, with the same random numbers at every call."""

    def __init__(self, loss_fn: Callable[[], Any]) -> None:
        self.loss_fn = loss_fn
        initialized: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # asked of those that have one
        self.devices = range(torch.cuda.device_count()) if initialized else ()

    def __call__(self) -> float:
        return _scalar(self.still(self.loss_fn))

    def still(self, function: Callable[[], Any]) -> Any:
        """What a function gives while torch's random numbers are held still."""
        with torch.random.fork_rng(self.devices):
            torch.manual_seed(0)
            return function()

    def with_gradients(
        self, variables: Mapping[str, _Variable] | None
    ) -> tuple[float, dict[str, Tensor]]:
        """The loss, and autograd's gradients of it where they are asked for."""
        with torch.random.fork_rng(self.devices), torch.enable_grad():
            torch.manual_seed(0)
            loss = self.loss_fn()
            at = _scalar(loss)
            if variables is None:
                return at, {}
            if not isinstance(loss, Tensor) or not loss.requires_grad:
                raise ValueError(
                    f"{WHO}: the loss does not depend on a parameter that requires a gradient; "
                    f"expected a differentiable tensor, or the gradients in gradients="
                )
            tensors = [v.tensor for v in variables.values() if isinstance(v, _TensorVariable)]
            found = _derivatives(loss.reshape(()), tensors)
        gradients = {
            name: torch.zeros_like(tensor) if gradient is None else gradient
            for name, tensor, gradient in zip(variables, tensors, found, strict=True)
        }
        return at, {
            name: as_float(gradient, f"autograd's gradient of {name}", gradient.shape, WHO)
            for name, gradient in gradients.items()
        }


def _derivatives(loss: Tensor, tensors: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    """torch.autograd.grad, but that an active torch function mode stays active within.

    A hand-written autograd.Function keeps its arguments as they come, and multiplies them with
    gradients in its backward: there too float32 has to be widened.
    """
    if run_backward is None:
        return torch.autograd.grad(loss, tensors, allow_unused=True)
    found: tuple[Tensor | None, ...] = run_backward(
        (loss,), (torch.ones_like(loss),), False, False, tuple(tensors),
        allow_unreachable=True, accumulate_grad=False,
    )  # fmt: skip
    return found


def _scalar(loss: Any) -> float:
    if isinstance(loss, Tensor) and loss.dtype != torch.float64:
        raise TypeError(
            f"{WHO}: loss_fn returned {loss.dtype}; expected float64, to which everything in it "
            f"was widened: autocast, or a library outside torch, narrows it"
        )
    shape = tuple(loss.shape) if isinstance(loss, Tensor) else np.shape(loss)
    if math.prod(shape) != 1:
        raise ValueError(f"{WHO}: expected a scalar from loss_fn, got shape {shape}; take its mean")
    value = float(loss.detach() if isinstance(loss, Tensor) else np.reshape(loss, ()))
    if not math.isfinite(value):
        raise ValueError(f"{WHO}: loss_fn returned {value}; expected a finite loss")
    return value
