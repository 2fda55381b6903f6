"""The largest stable learning rate of plain descent: 2 / λmax of the loss' Hessian."""

import torch

from torchmlp.diagnosis.run.run import Batch, TrainingRun

ITERATIONS = 8


def largest_rate(run: TrainingRun, batch: Batch) -> float | None:
    """2 / λmax by power iteration on differences of gradients; None where it is not finite.

    No second derivative is asked for, which a hand-written Function may not have. Model and
    generator are changed and brought back.

    Source: Goodfellow, Bengio & Courville (2016), section 4.3; Cohen et al. (2021) on 2 / λmax as
    the edge of stability.
    """
    parameters = [p for p in run.model.parameters() if p.requires_grad]
    generator = torch.get_rng_state()
    buffers = [(b, b.clone()) for b in run.model.buffers()]
    values = [p.detach().clone() for p in parameters]

    def gradient() -> list[torch.Tensor]:
        torch.set_rng_state(generator)
        _, loss = run.forward(batch)
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        return [
            torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters, strict=True)
        ]

    try:
        at = gradient()
        ways = [
            torch.randn(p.shape, generator=torch.Generator().manual_seed(k)).to(p)
            for k, p in enumerate(parameters)
        ]
        eigenvalue = 0.0
        size = _norm(values)
        for _ in range(ITERATIONS):
            step = 1e-3 * max(size, 1.0) / max(_norm(ways), 1e-30)
            with torch.no_grad():
                for p, value, way in zip(parameters, values, ways, strict=True):
                    p.copy_(value + step * way)
            there = gradient()
            curved = [(b - a) / step for a, b in zip(at, there, strict=True)]
            eigenvalue = _norm(curved) / max(_norm(ways), 1e-30)
            if not 0 < eigenvalue < float("inf"):
                return None
            ways = curved
        return 2 / eigenvalue
    except RuntimeError:
        return None
    finally:
        with torch.no_grad():
            for p, value in zip(parameters, values, strict=True):
                p.copy_(value)
            for buffer, kept in buffers:
                buffer.copy_(kept)
        torch.set_rng_state(generator)


def _norm(tensors: list[torch.Tensor]) -> float:
    return float(torch.stack([t.double().square().sum() for t in tensors]).sum().sqrt())
