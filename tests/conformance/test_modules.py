"""Dense and MLP as modules: whatever one does with an nn.Linear can be done with them."""

# mypy: allow-untyped-calls

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init
from torch.testing._internal.common_modules import module_db

from tests.conformance.steps import Reference, assert_same_step, pair
from tests.problems import ACTIVATION_NAMES, dtype_id
from torchmlp import MLP, Dense

KINDS = ("identity", "relu", "gelu", "logsigmoid")
kinds = pytest.mark.parametrize("activation", KINDS)
every_activation = pytest.mark.parametrize("activation", ACTIVATION_NAMES)


LINEAR_INFO: Any = next(info for info in module_db if info.module_cls is nn.Linear)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=dtype_id)
@every_activation
def test_torchs_cases_of_a_linear_module(activation: str, dtype: torch.dtype) -> None:
    """On each ModuleInfo case of nn.Linear: output, gradients and torch's own reference."""
    cases = LINEAR_INFO.module_inputs_func(LINEAR_INFO, "cpu", dtype, True, True)
    assert len(cases) >= 3
    for case in cases:
        made, given = case.constructor_input, case.forward_input
        ours, theirs = pair(activation, *made.args, **made.kwargs, dtype=dtype)
        x: Tensor = [*given.args, *given.kwargs.values()][0]
        assert_same_step(ours, theirs, x)
        if activation == "identity":
            expected = case.reference_fn(ours, x)
            torch.testing.assert_close(ours(x), expected)


def test_called_by_keyword() -> None:
    """What calls nn.Linear or nn.Sequential by the name of its argument can call these."""
    mlp = MLP(4, [5], 3)
    x = torch.randn(5, 4)
    torch.testing.assert_close(Dense(4, 3)(input=x).shape, nn.Linear(4, 3)(input=x).shape)
    torch.testing.assert_close(mlp(input=x), mlp.to_sequential()(input=x))


def _saved(module: nn.Module) -> nn.Module:
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    loaded: nn.Module = torch.load(buffer, weights_only=False)
    return loaded


def _copied_step(module: nn.Module) -> nn.Module:
    torch.autograd.backward(module(torch.randn(2, 4)).sum())
    return copy.deepcopy(module)


COPIES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "deepcopy": copy.deepcopy,
    "deepcopy after backward": _copied_step,
    "copy": copy.copy,
    "pickle": lambda module: pickle.loads(pickle.dumps(module)),
    "torch.save": _saved,
    "share_memory": lambda module: module.share_memory(),
    "eval and train": lambda module: module.eval().train(),
    "double and float": lambda module: module.double().float(),
    "to meta and empty": lambda module: _refilled(module, copy.deepcopy(module)),
}


def _refilled(module: nn.Module, source: nn.Module) -> nn.Module:
    moved = module.to("meta").to_empty(device="cpu")
    moved.load_state_dict(source.state_dict())
    return moved


@pytest.mark.parametrize("way", COPIES)
@kinds
def test_copies(activation: str, way: str) -> None:
    """A copied, pickled, saved, shared or moved module computes and learns what the first did."""
    for ours, theirs in [
        pair(activation),
        (mlp := MLP(4, [5], 3, activation), mlp.to_sequential()),
    ]:
        moved = COPIES[way](ours)
        assert type(moved) is type(ours)
        x = torch.randn(5, 4)
        torch.testing.assert_close(moved(x), theirs(x))
        torch.autograd.backward([moved(x).sum(), theirs(x).sum()])


@pytest.mark.parametrize("assign", [True, False])
@every_activation
def test_state_dicts_load_both_ways(activation: str, assign: bool) -> None:
    """state_dict and load_state_dict go from nn.Linear to Dense and back, strictly."""
    ours = Dense(4, 3, activation=activation)
    linear = nn.Linear(4, 3)
    assert ours.load_state_dict(linear.state_dict(), assign=assign).missing_keys == []
    assert torch.equal(ours.weight, linear.weight)
    back = nn.Linear(4, 3)
    assert back.load_state_dict(ours.state_dict(), assign=assign).unexpected_keys == []
    assert torch.equal(back.weight, ours.weight)
    assert list(ours.state_dict()) == list(linear.state_dict()) == ["weight", "bias"]
    with pytest.raises(RuntimeError, match=r"(?s)Missing key.*bias"):
        ours.load_state_dict(Dense(4, 3, bias=False).state_dict())
    with pytest.raises(RuntimeError, match="size mismatch"):
        ours.load_state_dict(nn.Linear(5, 3).state_dict())


def test_state_dict_of_the_sequential() -> None:
    """The MLP's parameters, in order, are those of its sequential, bit for bit, as are outputs."""
    for activation in ACTIVATION_NAMES:
        mlp = MLP(4, [6, 5], 3, activation)
        sequential = mlp.to_sequential()
        for ours, theirs in zip(mlp.parameters(), sequential.parameters(), strict=True):
            assert torch.equal(ours, theirs)
            assert ours.data_ptr() != theirs.data_ptr()
        x = torch.randn(32, 4)
        assert torch.equal(mlp(x), sequential(x))
        assert torch.equal(MLP.from_sequential(sequential)(x), sequential(x))


@every_activation
def test_other_dtypes(activation: str) -> None:
    """half(), double(), bfloat16(), to(dtype) and dtype= make modules that step as torch's."""
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        ours, theirs = pair(activation)
        x = torch.randn(5, 4).to(dtype)
        assert_same_step(ours.to(dtype), theirs.to(dtype), x)
        assert_same_step(*pair(activation, dtype=dtype), x)
        mlp = MLP(4, [5], 3, activation, dtype=dtype)
        assert_same_step(nn.Sequential(*mlp.layers), _matched(mlp), x)


def _matched(mlp: MLP) -> nn.Module:
    layers = []
    for weight, activation in zip(mlp.weights, mlp.activations, strict=True):
        layers.append(Reference(*reversed(weight.shape), activation=activation))
    network = nn.Sequential(*layers).to(mlp.weights[0].dtype)
    network.load_state_dict(nn.Sequential(*mlp.layers).state_dict())
    return network


def test_complex_modules() -> None:
    """A complex Dense starts and steps as a complex nn.Linear."""
    for activation in ("identity", "tanh", "sigmoid"):
        ours, theirs = pair(activation, dtype=torch.complex64)
        x = torch.randn(5, 4, dtype=torch.complex64)
        outputs = [network(x) for network in (ours, theirs)]
        torch.testing.assert_close(*outputs)
        torch.autograd.backward([output.abs().sum() for output in outputs])
        torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)
        torch.testing.assert_close(ours.bias.grad, theirs.bias.grad)


def test_meta_and_skip_init() -> None:
    """skip_init, device="meta" and to_empty draw nothing and leave the right shapes."""
    make: Any = skip_init
    state = torch.get_rng_state()
    empty = make(Dense, 4, 3, activation="gelu")
    meta = Dense(4, 3, activation="gelu", device="meta")
    assert meta(torch.empty(5, 4, device="meta")).shape == (5, 3)
    moved = meta.to_empty(device="cpu")
    assert empty.weight.shape == moved.weight.shape == (3, 4)
    assert torch.equal(torch.get_rng_state(), state)
    with torch.device("meta"):
        assert MLP(4, [5], 3)(torch.empty(2, 4)).device.type == "meta"


def test_what_print_shows() -> None:
    """The printed form has nn.Linear's, and the activation."""
    for bias in (True, False):
        inner = repr(nn.Linear(4, 3, bias))[len("Linear(") : -1]
        text = repr(Dense(4, 3, bias, "gelu"))
        assert text == f"Dense({inner}, activation='gelu')"
        assert isinstance(Dense(4, 3, bias), nn.Linear)


def test_kept_in_containers() -> None:
    """In Sequential, ModuleList and ModuleDict, under apply, named_modules and buffers."""
    network = nn.Sequential(nn.ModuleDict({"a": Dense(4, 3)})["a"], nn.ModuleList([Dense(3, 2)])[0])
    initialised: list[str] = []
    network.apply(lambda module: initialised.append(type(module).__name__))
    assert initialised == ["Dense", "Dense", "Sequential"]
    assert [name for name, _ in network.named_parameters()] == [
        "0.weight",
        "0.bias",
        "1.weight",
        "1.bias",
    ]
    assert list(network.buffers()) == []
    first: Any = network[0]
    first.reset_parameters()
    assert network(torch.ones(1, 4)).shape == (1, 2)
