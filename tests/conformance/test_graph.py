"""What autograd's engine and its users expect of a node."""

# mypy: allow-untyped-calls

import gc
import threading
import weakref
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import graph

from tests.conformance.layers import (
    Layer,
    answers,
    assert_alike,
    dense,
    every_activation,
    gradients,
    inputs,
    linear_then,
    outcome,
)
from tests.problems import ACTIVATION_NAMES

# One of each kind: what a graph is used for does not depend on the formula.
kinds = pytest.mark.parametrize("activation", ["identity", "relu", "tanh", "gelu", "logsigmoid"])
SUBSETS = ("x", "w", "b", "xw", "xb", "wb", "xwb")


@pytest.mark.parametrize("changed", ["x", "w", "b"])
@every_activation
def test_versions_of_the_inputs(activation: str, changed: str) -> None:
    """Writing into an input before backward is refused where, and only where, torch refuses it."""

    def overwritten(layer: Layer, wanted: str) -> None:
        tensors = inputs(activation, wanted=wanted)
        output = layer(*tensors, activation).sum()
        with torch.no_grad():
            tensors["xwb".index(changed)].add_(1)
        torch.autograd.backward(output)

    for wanted in SUBSETS:
        check = partial(overwritten, wanted=wanted)
        ours, theirs = (outcome(check, layer)[0] for layer in (dense, linear_then))
        assert ours == theirs, f"gradients of {wanted}"


@every_activation
def test_versions_of_the_output(activation: str) -> None:
    """Writing into the output is refused where torch refuses it, else its gradients are torch's."""
    for operation in ("add_", "mul_", "zero_", "relu_", "copy_", "detach_"):

        def check(layer: Layer, operation: str = operation) -> Any:
            tensors = inputs(activation, wanted="xwb")
            output = layer(*tensors, activation)
            operands: dict[str, Any] = {
                "add_": 2.0,
                "mul_": 2.0,
                "copy_": torch.ones(3, 2).double(),
            }
            given = [operands[operation]] if operation in operands else []
            getattr(output, operation)(*given)
            assert output.requires_grad == (operation != "detach_")
            return output, None if operation == "detach_" else gradients(output, tensors)

        if outcome(check, linear_then)[0] == "answer":
            assert_alike(check)
        else:
            assert outcome(check, dense)[0] == outcome(check, linear_then)[0]


@every_activation
def test_what_an_output_is(activation: str) -> None:
    """Neither leaf nor view where torch's is none; it requires a gradient when torch's does."""
    for batch in [(3,), (), (2, 3), (0,)]:

        def check(layer: Layer, batch: tuple[int, ...] = batch) -> Any:
            facts = []
            for wanted in ("", *SUBSETS):
                output = layer(*inputs(activation, batch, wanted=wanted), activation)
                facts.append((output.requires_grad, output.is_leaf, output._is_view()))
                assert (output.grad_fn is None) == (not wanted)
            return facts

        ours, theirs = answers(check)
        for (wants, leaf, view), (they_want, their_leaf, their_view) in zip(
            ours, theirs, strict=True
        ):
            assert (wants, leaf) == (they_want, their_leaf)
            assert not view or their_view


@every_activation
def test_backward_twice(activation: str) -> None:
    """With retain_graph again and again; without, torch's error at the second time."""

    def check(layer: Layer) -> Any:
        tensors = inputs(activation, wanted="xwb")
        output = layer(*tensors, activation).sum()
        for _ in range(3):
            torch.autograd.backward(output, retain_graph=True)
        return [t.grad for t in tensors]

    assert_alike(check)
    tensors = inputs(activation, wanted="xw")
    output = dense(*tensors, activation).sum()
    torch.autograd.backward(output)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.backward(output)


@every_activation
def test_hooks(activation: str) -> None:
    """Hooks on the output, the node, the leaves and after accumulation run as torch's do."""

    def check(layer: Layer) -> Any:
        seen: dict[str, Any] = {}
        tensors = inputs(activation, wanted="xwb")
        output = layer(*tensors, activation)
        output.register_hook(lambda grad: 2 * grad)
        output.retain_grad()
        assert output.grad_fn is not None
        output.grad_fn.register_prehook(lambda grads: (3 * grads[0], *grads[1:]))
        output.grad_fn.register_hook(lambda grads, _: seen.update(called=len(grads) > 0))
        for name, tensor in zip("xwb", tensors, strict=True):
            tensor.register_hook(lambda grad: grad + 1)
            tensor.register_post_accumulate_grad_hook(
                lambda t, name=name: seen.update({name: t.grad.clone()})
            )
        graph.register_multi_grad_hook(tensors, lambda grads: seen.update(count=len(grads)))
        torch.autograd.backward(output.sum())
        return [seen[key] for key in sorted(seen)], output.grad, [t.grad for t in tensors]

    assert_alike(check)


@pytest.mark.parametrize("inference", ["x", "w", "b"])
@kinds
def test_inference_tensors(activation: str, inference: str) -> None:
    """A tensor of inference mode is refused where, and only where, torch refuses to save it."""

    def with_wanted(layer: Layer, wanted: str) -> Any:
        tensors = inputs(activation, wanted=wanted)
        place = "xwb".index(inference)
        with torch.inference_mode():
            tensors[place] = tensors[place].detach().clone()
        torch.autograd.backward(layer(*tensors, activation).sum())
        return [t.grad for t in tensors]

    for wanted in SUBSETS:
        if inference not in wanted:
            check = partial(with_wanted, wanted=wanted)
            if outcome(check, linear_then)[0] == "answer":
                assert_alike(check)
            else:
                assert outcome(check, dense)[0] == outcome(check, linear_then)[0]


@every_activation
def test_several_threads(activation: str) -> None:
    """Four threads through one set of parameters: the sum of their gradients."""

    def check(layer: Layer) -> Any:
        x, weight, bias = inputs(activation, wanted="wb")
        batches = [torch.randn(3, 4).double() for _ in range(4)]

        def work(batch: Tensor) -> None:
            torch.autograd.backward(layer(batch, weight, bias, activation).square().sum())

        threads = [threading.Thread(target=work, args=(batch,)) for batch in batches]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        del x
        return weight.grad, bias.grad

    assert_alike(check)


@every_activation
def test_grads_of_leaves_and_others(activation: str) -> None:
    """retain_grad on what is between, accumulation on the leaves and inputs= are torch's."""

    def check(layer: Layer) -> Any:
        x, weight, bias = inputs(activation, wanted="xwb")
        between = (x * 2).requires_grad_()
        between.retain_grad()
        for _ in range(2):
            output = layer(between, weight, bias, activation)
            torch.autograd.backward(output.sum(), inputs=[between, weight], retain_graph=True)
        assert bias.grad is None
        torch.autograd.backward(output.sum())
        return between.grad, weight.grad, bias.grad, x.grad

    assert_alike(check)


@pytest.mark.parametrize("graph_kept", [False, True])
@every_activation
def test_freed_at_once(activation: str, graph_kept: bool) -> None:
    """No cycle keeps an output, or what was saved for it, alive; not after a backward pass."""
    gc.disable()
    try:
        tensors = inputs(activation, wanted="xwb")
        output = dense(*tensors, activation)
        if graph_kept:
            first = gradients(output, tensors, create_graph=True)
            torch.autograd.grad(sum(g.sum() for g in first), tensors, allow_unused=True)
            del first
        kept = weakref.ref(output)
        grad_fn = weakref.ref(output.grad_fn)
        del output
        assert kept() is None
        assert grad_fn() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("activation", ACTIVATION_NAMES)
def test_gradients_are_nobodys_memory(activation: str) -> None:
    """Writing into a gradient changes no other, no input, no output and no grad_output."""
    tensors = inputs(activation, wanted="xwb")
    output = dense(*tensors, activation)
    arriving = torch.randn(3, 2, dtype=torch.float64)
    grads = gradients(output, tensors, arriving)
    bystanders = [t.detach() for t in (*tensors, output, arriving)]
    copies = [t.clone() for t in bystanders]
    for grad in grads:
        grad.fill_(77)
    for bystander, copy in zip(bystanders, copies, strict=True):
        assert torch.equal(bystander, copy)
