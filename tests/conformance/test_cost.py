"""Products taken and memory kept: never more than nn.Linear and an activation."""

# mypy: allow-untyped-calls

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from tests.conformance.layers import Layer, answers, assert_alike, dense, every_activation, inputs
from tests.oracles import losses, sequential
from tests.problems import LOSS_CASES, network_problem
from torchmlp import network_loss

SUBSETS = ("x", "w", "b", "xw", "xb", "wb", "xwb")


class Kept:
    """Counts the bytes of the storages that a forward pass keeps for the backward pass."""

    def __init__(self) -> None:
        self._alive: list[Tensor] = []
        self._bytes: dict[int, int] = {}
        self.hooks = saved_tensors_hooks(self._pack, lambda tensor: tensor)

    def _pack(self, tensor: Tensor) -> Tensor:
        self._alive.append(tensor)  # so that no address is used twice
        storage = tensor.untyped_storage()
        self._bytes[storage.data_ptr()] = storage.nbytes()
        return tensor

    @property
    def bytes(self) -> int:
        return sum(self._bytes.values())


def cost(function: Any) -> tuple[int, int, int]:
    """Operations forward, operations backward and bytes kept between them."""
    kept = Kept()
    with kept.hooks, FlopCounterMode(display=False) as forward:
        output = function()
    with FlopCounterMode(display=False) as backward:
        torch.autograd.backward(output.sum())
    return forward.get_total_flops(), backward.get_total_flops(), kept.bytes


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@every_activation
def test_of_a_layer(activation: str, bias: bool) -> None:
    """The same operations both ways, and no more bytes, for any subset that wants gradients."""
    for subset in SUBSETS if bias else ("x", "w", "xw"):

        def check(layer: Layer, subset: str = subset) -> Any:
            costs = []
            for batch in [(64,), (4, 16), ()]:
                tensors = inputs(
                    "identity", batch, 32, 16, bias=bias, dtype=torch.float32, wanted=subset
                )
                given = (*tensors, None)[:3]
                costs.append(cost(lambda given=given: layer(*given, activation)))
            return costs

        for (forward, backward, kept), theirs in zip(*answers(check), strict=True):
            assert (forward, backward) == theirs[:2]
            assert kept <= theirs[2]


@pytest.mark.parametrize("layout", ["expanded", "strided"])
@every_activation
def test_bytes_of_inputs_that_lie_oddly(activation: str, layout: str) -> None:
    """No copy of an input is kept beside the input."""

    def check(layer: Layer) -> Any:
        kept = Kept()
        x = (
            torch.randn(1, 32).expand(64, 32)
            if layout == "expanded"
            else torch.randn(64, 64)[:, ::2]
        )
        weight = torch.randn(16, 32, requires_grad=True)
        with kept.hooks:
            assert layer(x, weight, None, activation).requires_grad
        return kept.bytes

    ours, theirs = answers(check)
    assert ours <= theirs


@every_activation
def test_what_the_profiler_counts(activation: str) -> None:
    """torch.profiler counts the same products with the same operations."""

    def check(layer: Layer) -> Any:
        tensors = inputs("identity", (64,), 32, 16, dtype=torch.float32, wanted="xwb")
        with profile(
            activities=[ProfilerActivity.CPU], with_flops=True, record_shapes=True
        ) as profiler:
            torch.autograd.backward(layer(*tensors, activation).sum())
        products = {"aten::addmm", "aten::mm"}
        return sum(event.flops or 0 for event in profiler.events() if event.name in products)

    assert_alike(check)


WANTED = ("everything", "x", "last layer", "first layer", "biases", "weights", "target")


@pytest.mark.parametrize("wanted", WANTED)
@pytest.mark.parametrize("loss_case", LOSS_CASES)
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_of_a_network(activation: str, loss_case: str, wanted: str) -> None:
    """network_loss: no more operations and no more bytes than the plain network and its loss."""
    # At a kink or not: the costs are the same, so any network will do.
    problem = network_problem("tanh", loss_case, batch=(64,), widths=(32, 24, 16, 8))
    problem = replace(problem, activations=[activation] * 3).wanting_gradients()
    names = ["x", *(f"{kind}{k}" for k in range(3) for kind in "wb")]
    leaves = dict(zip(names, problem.leaves, strict=False))
    chosen = {
        "everything": names,
        "x": ["x"],
        "last layer": ["w2", "b2"],
        "first layer": ["w0", "b0"],
        "biases": ["b0", "b1", "b2"],
        "weights": ["w0", "w1", "w2"],
        "target": [],
    }[wanted]
    if wanted == "target" and not problem.target.requires_grad:
        pytest.skip("class indices have no gradient")
    for name, leaf in leaves.items():
        leaf.requires_grad_(name in chosen)
    if problem.target.requires_grad:
        problem.target.requires_grad_(wanted in {"target", "everything"})
    network = sequential(problem)
    for name, parameter in zip(names[1:], network.parameters(), strict=True):
        parameter.requires_grad_(name in chosen)
    theirs = cost(lambda: losses(network(problem.x), problem.target, problem.loss).mean())
    ours = cost(
        lambda: network_loss(
            problem.x,
            problem.target,
            problem.weights,
            problem.biases,
            problem.activations,
            problem.loss,
        )
    )
    assert ours[0] == theirs[0]
    assert ours[1] == theirs[1]
    assert ours[2] <= theirs[2]


class Operations(TorchDispatchMode):
    """Counts the operators that reach a backend."""

    count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        del types
        self.count += 1
        return func(*args, **(kwargs or {}))


W = torch.zeros(3, 4)
Z = torch.zeros(3, 4, dtype=torch.complex64)
MISTAKES: dict[str, tuple[type[Exception], tuple[Any, ...], list[str]]] = {
    "columns": (ValueError, (torch.zeros(2, 5), W), ["(2, 5)", "(3, 4)"]),
    "scalar": (ValueError, (torch.tensor(1.0), W), ["()", "(3, 4)"]),
    "weight rank": (ValueError, (torch.zeros(2, 4), torch.zeros(4)), ["(4,)"]),
    "weight stack": (ValueError, (torch.zeros(2, 4), torch.zeros(2, 3, 4)), ["(2, 3, 4)"]),
    "bias": (ValueError, (torch.zeros(2, 4), W, torch.zeros(4)), ["(4,)", "(3, 4)"]),
    "bias of one": (ValueError, (torch.zeros(2, 4), W, torch.zeros(1)), ["(1,)", "(3, 4)"]),
    "bias rank": (ValueError, (torch.zeros(2, 4), W, torch.zeros(1, 3)), ["(1, 3)", "(3, 4)"]),
    "device": (ValueError, (torch.zeros(2, 4), W.to("meta")), ["cpu", "meta", "(2, 4)", "(3, 4)"]),
    "activation": (ValueError, (torch.zeros(2, 4), W, None, "Relu"), ["Relu", "'relu'"]),
    "double": (TypeError, (torch.zeros(2, 4).double(), W), ["torch.float64", "torch.float32"]),
    "complex": (TypeError, (Z, Z, None, "relu"), ["complex64"]),
} | {
    str(dtype): (TypeError, (torch.zeros(2, 4).to(dtype), W), [str(dtype)])
    for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_cost_nothing(mistake: str) -> None:
    """What does not fit is refused before any operator runs; the message names what was given."""
    kind, given, words = MISTAKES[mistake]
    with Operations() as operations, pytest.raises(kind) as error:
        dense(*given)
    assert operations.count == 0
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("mistake", [name for name in MISTAKES if name != "scalar"])
def test_mistakes_in_a_network_cost_nothing(mistake: str) -> None:
    """Also in the last layer of network_loss: nothing has been computed, and the layer is named."""
    kind, (x, weight, *rest), words = MISTAKES[mistake]
    bias = rest[0] if rest else None
    activation = rest[1] if len(rest) > 1 else "identity"
    first = torch.zeros(4, 6, dtype=x.dtype)
    if mistake == "columns":
        first = torch.zeros(5, 6)
    with Operations() as operations, pytest.raises(kind) as error:
        network_loss(
            torch.zeros(2, 6, dtype=x.dtype),
            torch.zeros(2, dtype=torch.long),
            [first, weight],
            [None, bias],
            ["identity", activation],
        )
    assert operations.count <= 2  # the arguments above, made inside the region
    assert words[0] in str(error.value) or mistake.startswith("torch.")
