"""Gradients that somebody's code gave, beside the right ones of a network that is recognised."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from torchmlp.foreign.calling.layouts import Array
from torchmlp.foreign.sheets import Sheet
from torchmlp.gradcheck.external.gradients import ExternalGradients
from torchmlp.gradcheck.external.recognition import Recognised
from torchmlp.kernels.losses import mean_of_losses


def external(sheet: Sheet) -> ExternalGradients:
    """A sheet as gradients from elsewhere."""
    sample, answer = sheet.sample, sheet.answer
    if answer.source == "updates":  # before − after has lost digits: no finer than float32 is meant
        answer = replace(
            answer,
            grad_weights=[_coarse(g) for g in answer.grad_weights],
            grad_biases=[_coarse(g) for g in answer.grad_biases],
        )
    has_bias = [
        g is not None or np.any(b) for g, b in zip(answer.grad_biases, sample.biases, strict=True)
    ]
    target: Array = sample.labels
    if sample.widths[-1] == 1:
        target = sample.labels[:, None].astype(float)
    return ExternalGradients(
        sample.x,
        target,
        sample.weights,
        [b if has else None for b, has in zip(sample.biases, has_bias, strict=True)],
        answer.grad_weights,
        answer.grad_biases,
        answer.loss,
    )


def _coarse(gradient: Any) -> Any:
    return None if gradient is None else np.asarray(gradient, dtype=np.float32)


def which_are_right(sheet: Sheet, found: Recognised, *, is_free: bool) -> dict[str, bool]:
    """Which gradients agree with the right ones to 1e-6, but for a factor where that is free."""
    given = external(sheet)
    right = right_gradients(given, found)
    own = given_gradients(given)
    factor = found.kind.scale
    last = own[max(k for k, name in enumerate(given.names()) if name[0] == "W")]
    if is_free and last is not None:
        its = right[len(right) - 1 - (given.biases[-1] is not None)]
        factor = (
            abs(float(np.sum(last * its))) / (float(np.sum(its * its)) or 1.0)
            if last.shape == its.shape
            else factor
        )
    return {
        name: mine is not None
        and mine.shape == its.shape
        and float(np.linalg.norm(mine - factor * its))
        <= 1e-6 * abs(factor) * float(np.linalg.norm(its)) + 1e-12
        for name, mine, its in zip(given.names(), own, right, strict=True)
    }


def right_gradients(given: ExternalGradients, found: Recognised) -> list[Array]:
    """∂E/∂parameter in the order of `names`, E in this package's scale."""
    target = given.target_for(found.kind.loss)
    assert target is not None
    network = given.network(found.kind)
    parameters = list(network.parameters())
    loss = mean_of_losses(network(torch.as_tensor(np.array(given.x))), target, found.kind.loss)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    decays = found.weight_decay / found.kind.scale, found.bias_decay / found.kind.scale
    return [
        ((torch.zeros_like(p) if g is None else g) + decays[p.ndim == 1] * p).detach().numpy()
        for p, g in zip(parameters, gradients, strict=True)
    ]


def given_gradients(given: ExternalGradients) -> list[Any]:
    """The gradients under test in the order of `names`."""
    layers = zip(given.grad_weights, given.grad_biases, given.biases, strict=True)
    return [g for w, b, bias in layers for g in ((w, b) if bias is not None else (w,))]


def cosine(mine: Any, its: Array) -> float:
    """⟨mine, its⟩ / (‖mine‖ ‖its‖); 0 where the shapes differ or one of them is zero."""
    if mine is None or np.shape(mine) != its.shape:
        return 0.0
    product = float(np.sum(mine * its))
    size = float(np.linalg.norm(mine) * np.linalg.norm(its))
    return product / size if size and np.isfinite(product) else 0.0
