"""Which network somebody's code computes: told by its losses, its output, or its gradients."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from torchmlp.foreign.calling.layouts import Array
from torchmlp.foreign.sheets import Sheet
from torchmlp.gradcheck.external.gradients import OUTPUTS, NetworkSpec
from torchmlp.kernels.activations import ACTIVATIONS, activate
from torchmlp.kernels.losses import LOSSES, sample_losses

FITS = 1e-7  # of the losses' size: what is left where a network is recognised
ROUNDS = 1e-5  # the same for code that computes in float32
# Cross-entropy whose softmax was taken over the batch, or over batch and classes together: a
# mistake, and all the same the loss that is reported. Of z of shape (draws, B, K).
OVER_OTHERS = {
    "over the batch": lambda z: torch.log_softmax(z, 1),
    "over the batch, each row less its maximum": lambda z: torch.log_softmax(
        z - z.amax(-1, keepdim=True), 1
    ),
    "over everything": lambda z: torch.log_softmax(z.flatten(1), 1).reshape(z.shape),
}
NOTHING = 1e-6  # a share of the losses that is no decay


@dataclass(frozen=True)
class Recognised:
    """A network and its loss, as many times as it is reported, with the decay in it.

    Attributes:
        kind: activations, output, loss; `kind.scale` the times.
        weight_decay: λ of ½ λ ‖W‖² in the loss as it is reported.
        bias_decay: likewise of the biases.
    """

    kind: NetworkSpec
    weight_decay: float = 0.0
    bias_decay: float = 0.0

    def __str__(self) -> str:
        """In a few words."""
        parts = [str(self.kind)]
        for value, name in ((self.weight_decay, "W"), (self.bias_decay, "b")):
            if value:
                parts.append(f"and ½·{value:.6g}·‖{name}‖²")
        return ", ".join(parts)


def by_losses(sheet: Sheet, target: Array, known: Mapping[str, str]) -> Recognised | None:
    """The network whose losses, at several parameters, are the ones that were reported.

    E = c·E_kind + ½ λ_W ‖W‖² + ½ λ_b ‖b‖² is solved for c, λ_W and λ_b: more losses than unknowns
    leave nothing over for the right kind alone.
    """
    losses = np.array(sheet.losses)
    if len(losses) < 5 or not np.isfinite(losses).all() or not losses.any():  # noqa: PLR2004  three unknowns
        return None
    squares = np.array(
        [[0.5 * sum((p**2).sum() for p in part) for part in draw] for draw in sheet.draws]
    )
    kinds, values = _losses_of_kinds(sheet, target, known)
    rows, outputs = len(sheet.sample.x), sheet.sample.widths[-1]
    # Without a decay first: fewer unknowns need no excuse.
    for columns in ([], [0], [0, 1]):
        # What the decays explain is projected out; one factor is then left to be fitted.
        q = np.linalg.qr(squares[:, columns])[0]
        mine, its = losses - q @ (q.T @ losses), values - (values @ q) @ q.T
        factors = its @ mine / np.maximum((its**2).sum(1), 1e-300)
        left = np.linalg.norm(mine - factors[:, None] * its, axis=1) / np.linalg.norm(losses)
        share = np.linalg.norm(factors[:, None] * its, axis=1) / np.linalg.norm(losses)
        # A loss that is all decay is no network's.
        no = (factors <= 0) | (np.ptp(values, axis=1) == 0) | (share < ROUNDS) | ~np.isfinite(left)
        left[no] = np.inf
        if not len(left) or left.min() > ROUNDS:
            continue
        best = int(
            np.flatnonzero(left <= max(100 * left.min(), FITS))[0]
        )  # the commonest of equals
        rest = losses - factors[best] * values[best]
        solution = np.linalg.lstsq(squares[:, columns], rest, rcond=None)[0] if columns else []
        decays = [0.0, 0.0]
        for column, value in zip(columns, solution, strict=True):
            share = abs(value) * float(squares[:, column].mean())
            decays[column] = (
                _plain(float(value), rows) if share > NOTHING * abs(losses).mean() else 0.0
            )
        kind = replace(kinds[best], scale=_rounded(float(factors[best]), rows, outputs))
        return Recognised(kind, *decays)
    return None


def _plain(value: float, rows: int) -> float:
    """The number that somebody wrote, by itself or over B, without the noise of the fit."""
    for digits in range(1, 7):
        for times in (1, rows):
            number = float(f"{value * times:.{digits}g}")
            if number and abs(number / (value * times) - 1) < 1e-6:  # noqa: PLR2004  a fit's noise
                return number / times
    return value


def _rounded(scale: float, rows: int, outputs: int) -> float:
    """The factor that people write, where it is one."""
    for number in (
        1.0,
        2.0,
        0.5,
        1 / outputs,
        2 / outputs,
        *(rows * s for s in (1.0, 2.0, 0.5, 1 / outputs, 2 / outputs)),
    ):
        if abs(scale / number - 1) < 1e-5:  # noqa: PLR2004  a fit's noise
            return number
    return scale


def _losses_of_kinds(
    sheet: Sheet, target: Array, known: Mapping[str, str]
) -> tuple[list[NetworkSpec], Array]:
    """Every kind of network, and in a row for each its losses at each draw of parameters."""
    draws = sheet.draws
    kinds, values = [], []
    with torch.no_grad():
        for kind, losses in _each_kind(
            torch.as_tensor(np.array(sheet.sample.x)), draws, target, known
        ):
            kinds.append(kind)
            values.append(losses)
    return kinds, np.nan_to_num(
        np.array(values).reshape(len(kinds), len(draws)), posinf=0, neginf=0
    )


def _each_kind(
    x: Tensor,
    draws: Sequence[Sequence[Sequence[Array]]],
    target: Array,
    known: Mapping[str, str],
) -> Iterator[tuple[NetworkSpec, Array]]:
    for activation, z in _last_z(x, draws, known):
        for output in [known["output"]] if "output" in known else (*OUTPUTS, *OVER_OTHERS):
            if output in OVER_OTHERS:
                t = target_for(target, "cross_entropy", z.shape[-1])
                if t is not None and known.get("loss") in (None, "cross_entropy"):
                    log_p = OVER_OTHERS[output](z)
                    values = -log_p[:, torch.arange(len(t)), t].mean(1)
                    yield NetworkSpec(activation, "identity", "cross_entropy"), values.numpy()
                continue
            a = torch.softmax(z, -1) if output == "softmax" else activate(z, output)
            for loss in [known["loss"]] if "loss" in known else list(LOSSES):
                t = target_for(target, loss, a.shape[-1])
                if t is None:
                    continue
                many = t.repeat(len(draws), *(1,) * (t.ndim - 1))
                values = sample_losses(a.flatten(0, 1), many, loss).reshape(len(draws), -1)
                yield NetworkSpec(activation, output, loss), values.mean(1).numpy()


def _last_z(
    x: Tensor,
    draws: Sequence[Sequence[Sequence[Array]]],
    known: Mapping[str, str],
) -> Iterator[tuple[str, Tensor]]:
    """(activation of the hidden layers, z of the last layer at each draw: (draws, B, K))."""
    depth = len(draws[0][0])
    hidden = [known["activation"]] if "activation" in known else list(ACTIVATIONS)
    for activation in hidden if depth > 1 else hidden[:1]:
        z = []
        for weights, biases in draws:
            a = x
            for k in range(depth):
                w, b = torch.as_tensor(weights[k]), torch.as_tensor(biases[k])
                a = a @ w.t() + b
                if k < depth - 1:
                    a = activate(a, activation)
            z.append(a)
        yield activation, torch.stack(z)


def target_for(target: Array, loss: str, outputs: int) -> Tensor | None:
    """Labels (B,) in the form that a loss reads; None where it has no meaning for it."""
    labels = torch.as_tensor(np.array(target)).long()
    if outputs == 1:
        return None if loss == "cross_entropy" else labels[:, None].double()
    if loss == "cross_entropy":
        return labels
    return torch.nn.functional.one_hot(labels, outputs).double()


def by_output(sheet: Sheet, known: Mapping[str, str]) -> list[NetworkSpec]:
    """The networks whose output is the one that was seen, each with the losses that may follow it.

    Softmax with cross-entropy on its probabilities is cross-entropy of the logits, and the logistic
    function likewise: so the package's losses read them.
    """
    output = sheet.answer.output
    if output is None:
        return []
    x = torch.as_tensor(np.array(sheet.sample.x))
    found = []
    for activation, z in _last_z(x, [(sheet.sample.weights, sheet.sample.biases)], known):
        for name in OUTPUTS:
            a = torch.softmax(z[0], -1) if name == "softmax" else activate(z[0], name)
            size = float(np.linalg.norm(output)) or 1.0
            if float((a - torch.as_tensor(output)).norm()) <= ROUNDS * size:
                found += _with_losses(activation, name, known)
                break
        if found:
            break
    return found


def all_kinds(text: str, known: Mapping[str, str]) -> list[NetworkSpec]:
    """Every network that code may compute of which only the gradients are seen.

    Args:
        text: the code: activations that it names come first.
        known: what the user has said.
    """
    word = text.lower()
    hidden = [known["activation"]] if "activation" in known else _named(word)
    outputs = (
        [known["output"]]
        if "output" in known
        else ["softmax", "sigmoid", "identity", "tanh", "relu"]
    )
    found = [kind for act in hidden for out in outputs for kind in _with_losses(act, out, known)]
    return list(dict.fromkeys(found))


def _named(word: str) -> list[str]:
    names = [name for name in ACTIVATIONS if name.replace("_", "") in word.replace("_", "")]
    if "maximum(" in word or "> 0" in word:
        names.append("relu")
    return list(dict.fromkeys([*names, "sigmoid", "tanh", "relu"]))


def _with_losses(activation: str, output: str, known: Mapping[str, str]) -> list[NetworkSpec]:
    pairs = {
        "softmax": [("identity", "cross_entropy"), ("softmax", "mse")],
        "sigmoid": [("identity", "bce"), ("sigmoid", "mse")],
        "identity": [("identity", "mse"), ("identity", "cross_entropy"), ("identity", "bce")],
    }.get(output, [(output, "mse")])
    wanted = known.get("loss")
    return [NetworkSpec(activation, out, loss) for out, loss in pairs if wanted in (None, loss)]
