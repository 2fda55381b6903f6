"""Modules whose parameters are computed, pruned, frozen, hooked or optimized."""

# mypy: allow-untyped-calls

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune, stateless
from torch.optim.swa_utils import AveragedModel, update_bn

from tests.conformance.steps import Reference, assert_same_step, pair
from tests.problems import ACTIVATION_NAMES
from torchmlp import MLP, Dense

KINDS = ("identity", "relu", "gelu", "logsigmoid")
kinds = pytest.mark.parametrize("activation", KINDS)
every_activation = pytest.mark.parametrize("activation", ACTIVATION_NAMES)


CHANGES: dict[str, Callable[[Any], Any]] = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": lambda module: _seeded(parametrizations.spectral_norm, module),
    "orthogonal": parametrizations.orthogonal,
    "symmetric": lambda module: parametrize.register_parametrization(module, "weight", _Doubled()),
    "l1_unstructured": lambda module: prune.l1_unstructured(module, "weight", amount=0.4),
    "random_structured": lambda module: _seeded(
        lambda m: prune.random_structured(m, "weight", amount=1, dim=0), module
    ),
    "ln_structured": lambda module: prune.ln_structured(module, "weight", amount=1, n=2, dim=0),
    "pruned bias": lambda module: prune.l1_unstructured(module, "bias", amount=1),
    "pruned for good": lambda module: prune.remove(
        prune.l1_unstructured(module, "weight", amount=0.4), "weight"
    ),
    "frozen weight": lambda module: module.weight.requires_grad_(False),
    "frozen bias": lambda module: module.bias.requires_grad_(False),
    "frozen": lambda module: module.requires_grad_(False),
}


class _Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


def _seeded(change: Callable[[Any], Any], module: Any) -> Any:
    torch.manual_seed(0)
    return change(module)


@pytest.mark.parametrize("change", CHANGES)
@kinds
def test_changed_parameters(activation: str, change: str) -> None:
    """Parametrized, pruned and frozen, a Dense steps as the nn.Linear that was changed alike."""
    ours, theirs = pair(activation)
    for module in (ours, theirs):
        CHANGES[change](module)
    for _ in range(2):
        assert_same_step(ours, theirs)
    if change in {"weight_norm", "orthogonal", "symmetric"}:
        for module in (ours, theirs):
            parametrize.remove_parametrizations(module, "weight")
        assert type(ours) is Dense
        assert_same_step(ours, theirs)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated")
@kinds
def test_hooks_that_compute_the_weight(activation: str) -> None:
    """The older weight_norm and spectral_norm, which hook the module, work and go away again."""
    for name in ("weight_norm", "spectral_norm"):
        ours, theirs = pair(activation)
        changed = [_seeded(getattr(nn.utils, name), module) for module in (ours, theirs)]
        assert_same_step(*changed)
        remove = getattr(nn.utils, f"remove_{name}")
        assert_same_step(*[remove(module) for module in changed])


@kinds
def test_module_hooks(activation: str) -> None:
    """Forward, backward and state_dict hooks see what they see on nn.Linear."""
    seen: list[list[Any]] = []
    modules = pair(activation)
    x = torch.randn(5, 4, requires_grad=True)
    for module in modules:
        notes: list[Any] = []
        module.register_forward_pre_hook(lambda _, args: (args[0] * 2,))
        module.register_forward_hook(lambda _, args, output: output + args[0].sum())

        def tripled(_: nn.Module, grads: Any) -> Any:
            return (grads[0] * 3,)

        def noted(_: nn.Module, grad_in: Any, grad_out: Any, notes: list[Any] = notes) -> None:
            notes.extend([grad_in[0], grad_out[0]])

        module.register_full_backward_pre_hook(tripled)
        module.register_full_backward_hook(noted)
        torch.autograd.backward(module(x).square().sum())
        notes.extend(parameter.grad for parameter in module.parameters())
        seen.append(notes)
    for mine, other in zip(*seen, strict=True):
        torch.testing.assert_close(mine, other)


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    "sgd foreach": lambda p: torch.optim.SGD(p, 0.1, foreach=True),
    "sgd fused": lambda p: torch.optim.SGD(p, 0.1, fused=True),
    "adam fused": lambda p: torch.optim.Adam(p, 0.1, fused=True),
    "adamw foreach": lambda p: torch.optim.AdamW(p, 0.1, foreach=True),
    "adam differentiable": lambda p: torch.optim.Adam(p, 0.1, capturable=False, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.01),
    "adagrad fused": lambda p: torch.optim.Adagrad(p, 0.1, fused=True),
    "lbfgs": lambda p: torch.optim.LBFGS(p, 0.1, max_iter=3),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers(optimizer: str) -> None:
    """Three steps of every kind of optimizer, with clipped gradients, end at torch's weights."""
    ends = []
    mlp = MLP(4, [6], 3, "tanh", dtype=torch.float64)
    x = torch.randn(8, 4).double()
    for network in (mlp, mlp.to_sequential()):
        optim = OPTIMIZERS[optimizer](network.parameters())

        def closure(network: nn.Module = network, optim: Any = optim) -> Tensor:
            optim.zero_grad()
            value: Tensor = network(x).square().mean()
            torch.autograd.backward(value)
            nn.utils.clip_grad_norm_(network.parameters(), 0.5)
            nn.utils.clip_grad_value_(network.parameters(), 0.3)
            return value

        averaged = AveragedModel(network)
        for _ in range(3):
            optim.step(closure)  # type: ignore[arg-type]
            averaged.update_parameters(network)
        update_bn([x], averaged)
        flat = nn.utils.parameters_to_vector(network.parameters())
        nn.utils.vector_to_parameters(flat * 1, network.parameters())
        ends += [flat, nn.utils.parameters_to_vector(averaged.parameters())]
    torch.testing.assert_close(ends[0], ends[2])
    torch.testing.assert_close(ends[1], ends[3])


@every_activation
def test_other_parameters_for_a_call(activation: str) -> None:
    """functional_call, with tied weights too, computes with what it is given."""
    ours, theirs = pair(activation)
    given = {"weight": torch.randn(3, 4), "bias": torch.randn(3)}
    x = torch.randn(5, 4)
    expected = torch.func.functional_call(theirs, given, (x,))
    torch.testing.assert_close(torch.func.functional_call(ours, given, (x,)), expected)
    with stateless._reparametrize_module(ours, given):
        torch.testing.assert_close(ours(x), expected)
    tied = nn.Sequential(Dense(4, 4, activation=activation), Dense(4, 4, activation=activation))
    tied[1].weight = tied[0].weight
    plain = nn.Sequential(*(Reference(4, 4, activation=activation) for _ in range(2)))
    plain.load_state_dict(tied.state_dict())
    plain[1].weight = plain[0].weight
    assert len(list(tied.parameters())) == 3
    assert_same_step(tied, plain)
