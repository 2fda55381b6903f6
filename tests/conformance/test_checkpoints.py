"""Contexts, checkpoints and hooks on what a node saves."""

# mypy: allow-untyped-calls

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import graph
from torch.utils import checkpoint as checkpoints

from tests.conformance.layers import (
    Layer,
    assert_alike,
    dense,
    every_activation,
    gradients,
    inputs,
)

# One of each kind: what a graph is used for does not depend on the formula.
kinds = pytest.mark.parametrize("activation", ["identity", "relu", "tanh", "gelu", "logsigmoid"])


@contextmanager
def _deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(mode=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=False)


CONTEXTS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "enable_grad": torch.enable_grad,
    "set_grad_enabled": lambda: torch.set_grad_enabled(False),
    "anomaly": lambda: torch.autograd.detect_anomaly(check_nan=True),
    "save_on_cpu": graph.save_on_cpu,
    "multithreading off": lambda: torch.autograd.set_multithreading_enabled(False),
    "deterministic": _deterministic,
}


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
@pytest.mark.parametrize("context", CONTEXTS)
@kinds
def test_in_a_context(activation: str, context: str) -> None:
    """Under each of torch's contexts the layer gives, and remembers, what torch's does."""

    def check(layer: Layer) -> Any:
        tensors = inputs(activation, wanted="xwb")
        with CONTEXTS[context]():
            output = layer(*tensors, activation)
            if output.requires_grad:
                return output.is_inference(), output, gradients(output, tensors)
        return output.is_inference(), output.requires_grad, output.clone()

    assert_alike(check)


def _none_kept(*_: Any, **__: Any) -> Any:
    return checkpoints.CheckpointPolicy.PREFER_RECOMPUTE


def _products_kept(_: Any, op: Any, *__: Any, **___: Any) -> Any:
    products = (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)
    policy = checkpoints.CheckpointPolicy
    return policy.MUST_SAVE if op in products else policy.PREFER_RECOMPUTE


CHECKPOINTS: dict[str, dict[str, Any]] = {
    "reentrant": {"use_reentrant": True},
    "plain": {"use_reentrant": False},
    "late stop": {"use_reentrant": False, "early_stop": False},
    "no rng": {"use_reentrant": False, "preserve_rng_state": False},
    "save nothing": {
        "use_reentrant": False,
        "context_fn": lambda: checkpoints.create_selective_checkpoint_contexts(_none_kept),
    },
    "save products": {
        "use_reentrant": False,
        "context_fn": lambda: checkpoints.create_selective_checkpoint_contexts(_products_kept),
    },
}


@pytest.mark.parametrize("how", CHECKPOINTS)
@kinds
def test_checkpoint(activation: str, how: str) -> None:
    """Under activation checkpointing of either kind the gradients are torch's."""
    options = dict(CHECKPOINTS[how])
    stop = checkpoints.set_checkpoint_early_stop(options.pop("early_stop", True))

    def check(layer: Layer) -> Any:
        tensors = inputs(activation, wanted="xwb")

        def two(x: Tensor, weight: Tensor, bias: Tensor) -> Any:
            return layer(layer(x, weight, bias, activation), weight[:, :2], None, activation)

        output: Tensor = checkpoints.checkpoint(two, *tensors, **options)
        torch.autograd.backward(output.square().sum())
        return output, [t.grad for t in tensors]

    with stop:
        assert_alike(check)


@every_activation
def test_saved_tensors_hooks(activation: str) -> None:
    """What is kept for backward goes through pack and unpack, and may come back as a copy."""

    def check(layer: Layer) -> Any:
        tensors = inputs(activation, wanted="xwb")
        with graph.saved_tensors_hooks(lambda t: t.detach().clone(), lambda t: t.clone()):
            output = layer(*tensors, activation)
        return output, gradients(output, tensors)

    assert_alike(check)


@every_activation
def test_saved_tensors_that_may_be_written_to(activation: str) -> None:
    """allow_mutation_on_saved_tensors keeps the values that backward needs."""

    def check(layer: Layer) -> Any:
        tensors = inputs(activation, wanted="xwb")
        with graph.allow_mutation_on_saved_tensors():
            output = layer(*tensors, activation)
            value = (output * 1).sum()
            with torch.no_grad():
                for tensor in (*tensors, output):
                    tensor.zero_()
            return torch.autograd.grad(value, tensors)

    assert_alike(check)


def test_saved_tensors_hooks_can_be_forbidden() -> None:
    """Under disable_saved_tensors_hooks the layer saves as ever."""
    with graph.disable_saved_tensors_hooks("not here"):
        tensors = inputs("gelu", wanted="xwb")
        gradients(dense(*tensors, "gelu"), tensors)


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
@pytest.mark.filterwarnings("ignore:Error detected in")
@kinds
def test_anomaly_mode_finds_nan(activation: str) -> None:
    """detect_anomaly names the backward pass that answered nan, as it does in torch."""
    tensors = inputs(activation, wanted="xwb")
    with torch.autograd.detect_anomaly(check_nan=True):
        output = dense(*tensors, activation)
        with pytest.raises(RuntimeError, match="returned nan values"):
            torch.autograd.backward(output, torch.full_like(output, torch.nan))
