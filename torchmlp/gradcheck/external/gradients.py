"""Gradients computed by external code, as numpy arrays.

Arrays are named W1, b1, ..., WL, bL and, for the gradients, dW1, db1, ..., dWL, dbL; a weight is
(fan_out, fan_in) or (fan_in, fan_out), whichever the rest fits.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from torchmlp.gradcheck.explain.mistakes import Mistake
from torchmlp.gradcheck.explain.search import explain_gradients
from torchmlp.gradcheck.inputs import as_float
from torchmlp.kernels.activations import ACTIVATIONS
from torchmlp.kernels.losses import LOSSES, mean_of_losses
from torchmlp.nn.sequential import MODULES

Array = npt.NDArray[Any]
OUTPUTS = ("identity", "softmax", *(name for name in ACTIVATIONS if name != "identity"))


@dataclass(frozen=True)
class NetworkSpec:
    """What a network computes, beside its sizes.

    Attributes:
        activation: of every hidden layer.
        output: of the last layer: an activation's name, or "softmax".
        loss: "cross_entropy", "mse" or "bce".
        scale: the loss reported is so many times this package's.
    """

    activation: str
    output: str
    loss: str
    scale: float = 1.0

    def __str__(self) -> str:
        """In a few words."""
        times = "" if self.scale == 1.0 else f", {self.scale:.6g} times"
        return f"{self.activation} hidden layers, {self.output} output, loss {self.loss}{times}"


@dataclass(frozen=True)
class ExternalGradients:
    """A batch, the parameters, and the gradients that external code computed.

    Attributes:
        x: (B, fan_in of the first layer).
        target: (B,) labels or (B, K).
        weights: as they were used, in either layout.
        biases: each (fan_out,) or None.
        grad_weights: like `weights`.
        grad_biases: like `biases`.
        loss: the loss that was reported; None where none was.
        is_in_out: weights are (fan_in, fan_out), used as x @ W.
    """

    x: Array
    target: Array
    weights: Sequence[Array]
    biases: Sequence[Array | None]
    grad_weights: Sequence[Any]
    grad_biases: Sequence[Any]
    loss: float | None = None
    is_in_out: bool = False

    @property
    def widths(self) -> list[int]:
        """Sizes of input, hidden layers and output."""
        fan_out = 1 if self.is_in_out else 0
        return [self.x.shape[1], *(int(w.shape[fan_out]) for w in self.weights)]

    def network(self, kind: NetworkSpec) -> nn.Sequential:
        """The network in torch's modules, in float64."""
        modules: list[nn.Module] = []
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True), 1):
            matrix = torch.as_tensor(np.array(weight), dtype=torch.float64)
            matrix = matrix.t() if self.is_in_out else matrix
            linear = nn.Linear(matrix.shape[1], matrix.shape[0], bias is not None).double()
            linear.weight.data = matrix.contiguous()
            if bias is not None:
                linear.bias.data = torch.as_tensor(np.array(bias), dtype=torch.float64).flatten()
            name = kind.output if k == len(self.weights) else kind.activation
            modules += [linear, nn.Softmax(-1) if name == "softmax" else MODULES[name]()]
        return nn.Sequential(*modules)

    def target_for(self, loss: str) -> Tensor | None:
        """The target in the form that a loss reads; None where it has no meaning for that loss."""
        target = torch.as_tensor(np.array(self.target))
        outputs = self.widths[-1]
        if target.ndim == 1 and not target.is_floating_point():
            target = target.long()
            inside = bool(((target >= 0) & (target < outputs)).all())
            if loss != "cross_entropy":
                return nn.functional.one_hot(target, outputs).double() if inside else None
            return target if inside else None
        target = target.double()
        if target.ndim == 1 and outputs == 1:
            target = target[:, None]
        return target if target.shape == (len(self.x), outputs) else None

    def mistakes(
        self, kind: NetworkSpec, weight_decay: float = 0.0, bias_decay: float | None = None
    ) -> list[Mistake]:
        """`explain_gradients`, with parameters named W1, b1, ...; scaled to the loss reported."""
        target = self.target_for(kind.loss)
        if target is None:
            raise ValueError(
                f"verify: expected targets for {kind.loss} and {self.widths[-1]} outputs, got "
                f"{self.target.dtype} of shape {self.target.shape}"
            )
        gradients: list[Any] = []
        for k, (dw, db) in enumerate(zip(self.grad_weights, self.grad_biases, strict=True), 1):
            weight, bias = self.weights[k - 1], self.biases[k - 1]
            matrix = _read(dw, f"dW{k}", f"W{k}", weight.shape, [weight.shape[::-1]])
            if matrix is not None and self.is_in_out:
                matrix = matrix.t()
            gradients.append(None if matrix is None else matrix / kind.scale)
            if bias is not None:
                sums = [(len(self.x),), (), (1,), (len(self.x), bias.size), (1, bias.size)]
                row = _read(db, f"db{k}", f"b{k}", bias.shape, [(bias.size,), *sums])
                gradients.append(None if row is None else row / kind.scale)
        network = self.network(kind)
        names = dict(zip((n for n, _ in network.named_parameters()), self.names(), strict=True))
        found = explain_gradients(
            network,
            kind.loss,
            np.asarray(self.x, dtype=_floating(self.x)),
            target,
            dict(zip(names, gradients, strict=True)),
            weight_decay=weight_decay,
            bias_decay=bias_decay,
        )
        return [replace(m, parameters=tuple(names[p] for p in m.parameters)) for m in found]

    def names(self) -> list[str]:
        """W1, b1, W2, ... of the parameters that there are."""
        pairs = [(f"W{k}", f"b{k}") for k in range(1, len(self.weights) + 1)]
        return [
            name
            for (weight, bias), b in zip(pairs, self.biases, strict=True)
            for name in (weight, bias)
            if name == weight or b is not None
        ]


def _floating(array: Array) -> Any:
    return array.dtype if np.issubdtype(array.dtype, np.floating) else np.float64


def _read(
    gradient: Any,
    name: str,
    parameter: str,
    shape: tuple[int, ...],
    others: Sequence[tuple[int, ...]],
) -> Tensor | None:
    """A gradient of its parameter's shape, or of one that a mistake has."""
    if gradient is None:
        return None
    tensor = as_float(gradient, name, shape, "verify")
    if tuple(tensor.shape) not in (shape, *others):
        raise ValueError(
            f"verify: {name} has shape {tuple(tensor.shape)}, {parameter} has shape {shape}"
        )
    return tensor


def candidate_networks(
    given: ExternalGradients, known: Mapping[str, str]
) -> Iterator[tuple[NetworkSpec, float]]:
    """Every kind of network that the known settings allow, with the loss it would report.

    Args:
        given: the batch and the parameters.
        known: "activation", "output" and "loss", as far as the user has named them.
    """
    hidden = [known["activation"]] if "activation" in known else list(ACTIVATIONS)
    if len(given.weights) == 1:
        hidden = hidden[:1]
    x = torch.as_tensor(np.array(given.x), dtype=torch.float64)
    for activation in hidden:
        for output in [known["output"]] if "output" in known else OUTPUTS:
            with torch.no_grad():
                a = given.network(NetworkSpec(activation, output, "mse"))(x)
            for loss in [known["loss"]] if "loss" in known else list(LOSSES):
                target = given.target_for(loss)
                if target is None:
                    continue
                yield NetworkSpec(activation, output, loss), float(mean_of_losses(a, target, loss))


def infer_network(
    given: ExternalGradients, known: Mapping[str, str], weight_decay: float = 0.0
) -> NetworkSpec:
    """The kind of network that reports the loss that was reported.

    Softmax with cross-entropy on its probabilities is known as cross-entropy of the logits, and the
    logistic function likewise: so the package's losses read them.

    Args:
        given: the batch, the parameters, and the loss.
        known: "activation", "output" and "loss", as far as the user has named them.
        weight_decay: λ of a ½ λ ‖W‖² that the loss may hold, of the weights or of all parameters.

    Raises:
        ValueError: none does; the message gives what the likeliest would report.
    """
    if given.loss is None:
        missing = [name for name in ("activation", "loss") if name not in known]
        if missing:
            raise ValueError(
                f"verify: expected --{' and --'.join(missing)}, or the loss itself, by which the "
                f"network is recognised"
            )
        return NetworkSpec(known["activation"], known.get("output", "identity"), known["loss"])
    kinds = list(candidate_networks(given, known))
    of_weights = sum(float((np.asarray(w) ** 2).sum()) for w in given.weights)
    of_biases = sum(float((np.asarray(b) ** 2).sum()) for b in given.biases if b is not None)
    decays = [0.5 * weight_decay * of_weights, 0.5 * weight_decay * (of_weights + of_biases), 0.0]
    for scale in _scales(len(given.x), given.widths[-1]):
        for kind, value in kinds:
            for decay in dict.fromkeys(decays):
                gap = abs(scale * value + decay - given.loss)
                if gap <= 1e-6 * max(abs(given.loss), 1e-12):
                    return replace(kind, scale=scale)
    if {"activation", "loss"} <= known.keys():
        return NetworkSpec(known["activation"], known.get("output", "identity"), known["loss"])
    shown = ", ".join(f"{value:.6g} ({kind})" for kind, value in kinds[:3])
    raise ValueError(
        f"verify: the loss reported, {given.loss:.6g}, is that of no network known here; expected "
        f"for example {shown}. If the forward pass is what you mean it to be, name --activation, "
        f"--output_activation and --loss, and --weight_decay where it holds one"
    )


def _scales(rows: int, outputs: int) -> list[float]:
    """1, and how else people scale a loss: without ½, averaged over outputs, summed over rows."""
    plain = [1.0, 2.0, 1 / outputs, 2 / outputs]
    return [*plain, *(rows * scale for scale in plain)]
