"""network_loss beside the plain network and torch's loss, wherever those can be used."""

# mypy: allow-untyped-calls

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad, gradcheck, gradgradcheck, graph
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap
from torch.utils.checkpoint import checkpoint

from tests.conformance.layers import STRICT
from tests.conformance.networks import Energy, both, differentiable, given, ours, plain
from tests.problems import ACTIVATION_NAMES, LOSS_CASES, network_problem

every_activation = pytest.mark.parametrize("activation", ACTIVATION_NAMES)
every_loss = pytest.mark.parametrize("loss_case", LOSS_CASES)
KINDS = ("relu", "tanh", "gelu")


@every_loss
@every_activation
def test_checks_of_autograd(activation: str, loss_case: str) -> None:
    """First and second derivatives, in every mode and batched, are the finite differences."""
    problem = network_problem(activation, loss_case, batch=(2,), widths=(2, 3, 2))
    problem = problem.wanting_gradients()
    assert gradcheck(
        ours(problem), given(problem), check_forward_ad=True, check_batched_grad=True, **STRICT
    )
    assert gradgradcheck(ours(problem), given(problem), check_fwd_over_rev=True, rtol=0, atol=1e-6)


@every_loss
@every_activation
def test_values_and_gradients(activation: str, loss_case: str) -> None:
    """For several batch axes and none: value and all gradients, first and second, are torch's."""

    def check(energy: Energy, tensors: tuple[Tensor, ...]) -> Any:
        value = energy(*tensors)
        leaves = differentiable(tensors)
        first = torch.autograd.grad(value, leaves, create_graph=True)
        second = torch.autograd.grad(
            torch.stack([g.square().sum() for g in first]).sum(), leaves, materialize_grads=True
        )
        return value, first, second

    for batch in [(5,), (1,), (2, 3)]:
        problem = network_problem(activation, loss_case, batch=batch, output_activation="identity")
        both(check, problem)


@every_loss
@pytest.mark.parametrize("activation", KINDS)
def test_each_subset(activation: str, loss_case: str) -> None:
    """Whichever leaves want gradients, these get torch's and the others get none."""
    for wanted in range(1, 2**4):

        def check(energy: Energy, tensors: tuple[Tensor, ...], wanted: int = wanted) -> Any:
            x, target, *parameters = tensors
            leaves = [x, target, parameters[0], parameters[3]]
            for t in tensors:
                t.requires_grad_(False)
            chosen = [
                t.requires_grad_()
                for k, t in enumerate(leaves)
                if wanted >> k & 1 and t.is_floating_point()
            ]
            value = energy(*tensors)
            assert value.requires_grad == bool(chosen)
            if chosen:
                torch.autograd.backward(value)
            return value, [t.grad for t in tensors]

        both(check, network_problem(activation, loss_case))


@every_loss
@pytest.mark.parametrize("activation", ["relu", "tanh", "silu", "logsigmoid"])
def test_transforms(activation: str, loss_case: str) -> None:
    """Per-sample gradients, tangents and Hessians in any order of modes are torch's."""

    def check(energy: Energy, tensors: tuple[Tensor, ...]) -> Any:
        tensors = tuple(t.detach() for t in tensors)
        x, target, weight, *rest = tensors

        def at(weight: Tensor) -> Tensor:
            return energy(x, target, weight, *rest)

        def of_sample(weight: Tensor, x: Tensor, target: Tensor) -> Tensor:
            return energy(x, target, weight, *rest)

        return (
            vmap(grad(of_sample), (None, 0, 0))(weight, x, target),
            vmap(at)(torch.stack([weight, weight.cos()])),
            jvp(at, (weight,), (weight,)),
            hessian(at)(weight),
            jacfwd(jacfwd(at))(weight),
            jacrev(jacrev(at))(weight),
            jacrev(jacfwd(at))(weight),
        )

    problem = network_problem(activation, loss_case, batch=(3,), widths=(2, 3, 2))
    both(check, problem, rtol=1e-8)


@every_loss
@pytest.mark.parametrize("activation", KINDS)
def test_forward_mode_without_functorch(activation: str, loss_case: str) -> None:
    """Under dual_level with each argument dual alone, value and tangent are torch's."""

    def check(energy: Energy, tensors: tuple[Tensor, ...]) -> Any:
        found = []
        for k, tensor in enumerate(tensors):
            if tensor.is_floating_point():
                with forward_ad.dual_level():
                    dual = forward_ad.make_dual(tensor, tensor.cos())
                    value = energy(*tensors[:k], dual, *tensors[k + 1 :])
                    found.append(tuple(forward_ad.unpack_dual(value)))
        return found

    both(check, network_problem(activation, loss_case))


@every_loss
@pytest.mark.parametrize("activation", KINDS)
def test_uses_of_the_graph(activation: str, loss_case: str) -> None:
    """Checkpointing, hooks on what is saved, retain_graph and anomaly mode: torch's gradients."""

    def check(energy: Energy, tensors: tuple[Tensor, ...]) -> Any:
        leaves = differentiable(tensors)
        again: Tensor = checkpoint(energy, *tensors, use_reentrant=False)
        found = [torch.autograd.grad(again, leaves)]
        with graph.save_on_cpu(), graph.saved_tensors_hooks(torch.clone, torch.clone):
            value = energy(*tensors)
        found += [torch.autograd.grad(value, leaves, retain_graph=True) for _ in range(2)]
        with torch.no_grad():
            assert not energy(*tensors).requires_grad
        with torch.inference_mode():
            assert energy(*tensors).is_inference()
        return found

    both(check, network_problem(activation, loss_case))


@pytest.mark.parametrize("twice", [False, True], ids=["first", "second"])
@every_loss
@pytest.mark.parametrize("activation", KINDS)
def test_versions(activation: str, loss_case: str, twice: bool) -> None:
    """A change of any argument in place is refused where a derivative needs it, as in torch.

    One that torch would have let pass may be refused only if it is the value of a gradient that
    would change.
    """
    problem = network_problem(activation, loss_case)
    for k in range(len(given(problem))):
        refused = []
        for make in (ours, plain):
            tensors = given(problem.wanting_gradients())
            value = make(problem)(*tensors)
            with torch.no_grad():
                tensors[k].copy_(tensors[k].roll(1, 0))
            try:
                grads = torch.autograd.grad(value, differentiable(tensors), create_graph=twice)
                if twice:
                    torch.autograd.grad(
                        torch.stack([g.square().sum() for g in grads]).sum(),
                        differentiable(tensors),
                        materialize_grads=True,
                    )
                refused.append(False)
            except RuntimeError as error:
                assert "modified by an inplace operation" in str(error)  # noqa: PT017
                refused.append(True)
        # A saved argument must be guarded; the plain chain's first bias is saved by nobody.
        assert refused[0] >= refused[1], f"argument {k}"
        if not twice:
            assert refused[0] == refused[1], f"argument {k}"


@pytest.mark.parametrize("kind", ["subclass", "fake", "meta"])
@every_loss
def test_other_tensors(loss_case: str, kind: str) -> None:
    """Subclasses, fake and meta tensors go through to a scalar of their kind."""

    class Other(Tensor):
        pass

    def check(energy: Energy, tensors: tuple[Tensor, ...]) -> Any:
        if kind == "fake":
            with torch._subclasses.FakeTensorMode() as mode:
                tensors = tuple(mode.from_tensor(t) for t in tensors)
                value = energy(*tensors)
                made = [value, *torch.autograd.grad(value, differentiable(tensors))]
            return [(type(t).__name__, t.shape, t.dtype) for t in made]
        if kind == "meta":
            tensors = tuple(t.detach().to("meta").requires_grad_(t.requires_grad) for t in tensors)
            value = energy(*tensors)
            made = [value, *torch.autograd.grad(value, differentiable(tensors))]
            return [(t.device.type, t.shape, t.dtype) for t in made]
        tensors = tuple(
            t.detach().as_subclass(Other).requires_grad_(t.requires_grad) for t in tensors
        )
        value = energy(*tensors)
        assert type(value) is Other
        torch.autograd.backward(value)
        return value.detach(), [t.grad for t in tensors]

    both(check, network_problem("gelu", loss_case))
