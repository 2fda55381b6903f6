"""A loop as people write it, in steps that a test can leave out, repeat or change."""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from torchmlp import Finding, watch

STEPS = 30


def data(classes: int = 3, rows: int = 240) -> tuple[Tensor, Tensor]:
    """Inputs, and the largest of the first few as their class."""
    x = torch.randn(rows, 8, generator=torch.Generator().manual_seed(1))
    return x, x[:, :classes].argmax(1)


def network(*extra: nn.Module) -> nn.Sequential:
    """Two layers, with others between them."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), *extra, nn.ReLU(), nn.Linear(16, 3))


def batches(steps: int = STEPS, size: int = 16) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows in an order of their own, again and again."""
    x, y = data()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(2))
    for k in range(steps):
        rows = order[(k * size) % len(x) : (k * size) % len(x) + size]
        yield x[rows], y[rows]


def found(train: Callable[[], object]) -> list[Finding]:
    """What watch finds where something trains."""
    with watch() as watched:
        train()
    assert watched.report.notes == []  # no rule gave up
    return watched.report.findings


def causes(train: Callable[[], object]) -> list[str]:
    """The causes of what it finds."""
    return [finding.cause for finding in found(train)]


def accused(finding: Finding) -> str:
    """The text of the line that a finding names."""
    assert finding.file is not None
    assert finding.line is not None
    return Path(finding.file).read_text(encoding="utf-8").splitlines()[finding.line - 1].strip()
