"""Torch's private names: each means what we think, and the package works without them."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode

from tests import ROOT
from torchmlp._compat import torch_internals as internals


def test_nothing_is_missing() -> None:
    """With the torch that is installed."""
    assert internals.no_dispatch == ""
    assert internals.no_engine() == ""
    assert internals.run_backward is not None


def test_modes_are_seen() -> None:
    """A function mode, a transform, functionalize and forward mode, each while it is on."""
    seen = {}

    def look(x: torch.Tensor) -> torch.Tensor:
        seen["functorch"] = internals.functorch_is_active()
        seen["functionalized"] = internals.is_functionalized()
        seen["tracing"] = internals.is_tracing()
        seen["forward"] = internals.forward_mode_is_on()
        return x * 2

    x = torch.ones(2)
    off = {"functorch": False, "functionalized": False, "tracing": False, "forward": False}
    look(x)
    assert seen == off
    torch.func.vmap(look)(x)
    assert seen == {**off, "functorch": True}
    torch.func.functionalize(look)(x)
    assert seen == {**off, "functorch": True, "functionalized": True}
    with forward_ad.dual_level():
        look(x)
    assert seen == {**off, "forward": True}
    assert internals.function_modes() == 0
    with TorchFunctionMode():
        assert internals.function_modes() == 1


def test_tensors_are_told_apart() -> None:
    """Versions, zeros that are not stored, overlapping elements, transforms, and the handle."""
    x = torch.ones(3)
    before = internals.version_of(x)
    x.add_(1)
    assert internals.version_of(x) == before + 1
    zero = torch._efficientzerotensor((2,))
    assert internals.is_zero_tensor(zero)
    assert internals.has_no_memory(zero)
    assert not internals.has_no_memory(x)
    assert internals.overlaps_itself(torch.ones(1, 2).expand(3, 2))
    assert not internals.overlaps_itself(x)
    assert not internals.is_of_a_transform(x)
    assert internals.handle_of(x) != internals.handle_of(torch.ones(3))
    assert torch.equal(internals.unsafe_view(x, (3, 1)), x.view(3, 1))


def test_hooks_and_members_are_found() -> None:
    """Of a module, of a tensor, of an optimizer and of all modules; and the dictionaries."""
    layer = nn.Linear(2, 3)
    children, parameters = internals.module_dicts(layer)
    assert (list(children), list(parameters)) == ([], ["weight", "bias"])
    assert next(iter(internals.buffers_of(nn.BatchNorm1d(2)))) == "running_mean"
    assert not any(internals.module_hooks(layer))
    layer.register_forward_hook(lambda *_: None)
    assert [bool(hooks) for hooks in internals.module_hooks(layer)] == [True, False, False, False]
    assert not internals.backward_hooks(layer)
    layer.register_full_backward_hook(lambda *_: None)
    assert internals.backward_hooks(layer)
    assert not any(internals.gradient_hooks(layer.weight))
    layer.weight.register_hook(lambda g: g)  # type: ignore[no-untyped-call]
    assert any(internals.gradient_hooks(layer.weight))
    sgd = torch.optim.SGD(layer.parameters(), lr=0.1)
    assert not any(internals.optimizer_hooks(sgd))
    sgd.register_step_post_hook(lambda *_: None)
    assert [bool(hooks) for hooks in internals.optimizer_hooks(sgd)] == [False, True, False, False]
    assert len(internals.hooks_of_all_modules) == 4


def test_a_step_that_was_marked_is_no_warning() -> None:
    """Schedulers warn when the optimizer has not stepped; warnings are errors here."""
    sgd = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(sgd, 1)
    internals.mark_stepped(sgd)
    scheduler.step()


@pytest.mark.parametrize("name", ["elu", "gelu", "leaky_relu", "silu", "hardtanh", "softplus"])
def test_functions_write_into_buffers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the private function and without it, as torch.nn.functional says."""
    z, settings = torch.linspace(-3, 3, 7), {"leaky_relu": (0.01,)}.get(name, ())
    expected = getattr(nn.functional, name)(z, *settings)
    for hidden in (False, True):
        if hidden:
            monkeypatch.setattr(internals, "_find", lambda *_: None)
        out = torch.empty(7)
        internals.into_buffer(name)(z, *settings, out=out)
        torch.testing.assert_close(out, expected, rtol=1e-6, atol=1e-7)


class OwnContext(torch.autograd.Function):
    """In the older form."""

    @staticmethod
    def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
        """x."""
        del ctx
        return x.clone()

    @staticmethod
    def backward(ctx: object, *grads: torch.Tensor) -> torch.Tensor:
        """The gradient."""
        del ctx
        return grads[0]


def test_functions_of_the_graph_are_known() -> None:
    """By their class, and by whether forward is handed the context."""
    y = OwnContext.apply(torch.ones(1, requires_grad=True))  # type: ignore[no-untyped-call]
    assert internals.forward_class(y.grad_fn) is OwnContext
    assert internals.forward_class((y * 2).grad_fn) is None
    assert internals.takes_context(OwnContext)


LOST = """
import torch, sys
import torch._dynamo
for path in {names!r}:
    *owner, name = path.split(".")
    place = torch
    for part in owner:
        place = getattr(place, part)
    delattr(place, name)
import torchmlp
from torch import nn
torch.manual_seed(0)
mlp = torchmlp.MLP(5, [8], 3)
plain = mlp.to_sequential()
x, t = torch.randn(6, 5), torch.arange(6) % 3
for model in (mlp, plain):
    nn.functional.cross_entropy(model(x), t).backward()
mine = [p.grad for p in mlp.parameters()]
theirs = [p.grad for p in plain.parameters()]
assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(mine, theirs, strict=True))
sgd = torch.optim.SGD(mlp.parameters(), lr=0.1)
states = torchmlp.training_states(mlp, "cross_entropy", sgd, [(x, t)] * 3)
print([round(float(s.loss), 3) for s in states][0] > 0)
try:
    torchmlp.Engine(mlp, "cross_entropy", sgd)
except ValueError as error:
    print(error)
else:
    print("the engine takes it")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            ("_C._len_torch_function_stack", "_C._is_tracing", "_C._functorch.TransformType"),
            "the engine takes it",
        ),
        (
            ("_debug_has_internal_overlap",),
            "_debug_has_internal_overlap, which torchmlp knows from 2.14; train with autograd",
        ),
    ],
    ids=["dispatch", "engine"],
)
def test_without_the_names_everything_works_more_slowly(names: tuple[str, ...], said: str) -> None:
    """Gradients are right, a stream trains, and the engine says why it does not."""
    done = subprocess.run(
        [sys.executable, "-c", LOST.format(names=names)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[0] == "True"
    assert said in done.stdout
