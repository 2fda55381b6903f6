"""Results of maps that nobody trained."""

from typing import Any

from torchmlp.stability.map.cell import Cell, CellResult

RATES = (0.01, 0.1, 1.0, 10.0)


def cell(width: int = 512, lr: float = 0.1, **changed: Any) -> Cell:
    """One hidden layer, batch 64, init auto, seed 0."""
    values: dict[str, Any] = {"depth": 1, "batch_size": 64, "init": "auto", "seed": 0}
    return Cell(width=width, lr=lr, **{**values, **changed})


def result(of: Cell, outcome: str, **changed: Any) -> CellResult:
    """With numbers that suit the outcome."""
    values: dict[str, Any] = {
        "step": 12 if outcome == "nan" else None,
        "first_loss": 2.3,
        "loss": {"nan": None, "learns": 0.4}.get(outcome, 2.0),
        "accuracy": {"nan": None, "learns": 0.93, "slow": 0.41}.get(outcome, 0.1),
        "cause": None if outcome == "learns" else "learning-rate-too-high",
        "largest_rate": 0.2,
        "seconds": 1.0,
    }
    return CellResult(of, outcome, **{**values, **changed})


def column(outcomes: str, width: int = 512, **changed: Any) -> list[CellResult]:
    """A result for each word, at the rates 0.01, 0.1, 1 and 10."""
    return [
        result(cell(width, lr, **changed), outcome)
        for lr, outcome in zip(RATES, outcomes.split(), strict=False)
    ]
