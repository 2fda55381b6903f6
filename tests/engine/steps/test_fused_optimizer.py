"""The optimizer's own step by the fused kernels."""

from typing import Any

import pytest
import torch

from torchmlp.engine.steps.fused_optimizer import FUSED, FusedOptimizer


@pytest.mark.parametrize("which", ["parameter", "gradient", "moment"])
def test_what_lies_in_another_order_is_torchs(which: str) -> None:
    """A tensor that is transposed in memory is stepped by its elements, not by its memory."""
    runs = []
    for takes in (lambda o: o, FusedOptimizer):
        torch.manual_seed(0)
        p = torch.nn.Parameter(torch.randn(4, 4))
        optimizer = torch.optim.Adam([p], lr=0.1)
        for step in range(3):
            p.grad = torch.randn(4, 4)
            if which == "parameter" and not step:
                p.data = p.data.t().contiguous().t()
            if which == "gradient":
                p.grad = p.grad.t().contiguous().t()
            if which == "moment" and step:
                state = optimizer.state[p]
                state["exp_avg"] = state["exp_avg"].t().contiguous().t()
            takes(optimizer).step()
        runs.append(p.detach().clone())
    torch.testing.assert_close(*runs)


@pytest.mark.parametrize("kind", FUSED)
@pytest.mark.parametrize("chosen", [{}, {"foreach": True}, {"fused": False}], ids=str)
def test_the_groups_are_left_as_they_were(
    kind: Any, chosen: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for during a step where nobody has chosen, an error included, and not after it."""
    p = torch.nn.Parameter(torch.randn(5))
    optimizer = kind([p], lr=0.1, **chosen)
    own = dict(optimizer.param_groups[0])
    seen = []
    step = optimizer.step

    def watched() -> None:
        seen.append(optimizer.param_groups[0]["fused"])
        step()

    monkeypatch.setattr(optimizer, "step", watched)
    p.grad = torch.ones(5)
    FusedOptimizer(optimizer).step()
    assert seen == [own["fused"] if chosen else True]
    assert optimizer.param_groups[0] == own
    monkeypatch.setattr(optimizer, "step", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        FusedOptimizer(optimizer).step()
    assert optimizer.param_groups[0] == own
