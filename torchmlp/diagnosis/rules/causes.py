"""What a diagnosis finds: causes, with what they explain."""

from collections.abc import Iterable
from dataclasses import dataclass, field

# In the order in which a run goes through them: what stands earlier can explain what stands later.
CAUSES = (
    *("input-non-finite", "target-out-of-range", "labels-constant", "labels-unrelated"),
    *("class-imbalance", "frozen-parameters", "parameters-not-optimized", "no-gradient"),
    *("wrong-mode", "loss-ascended", "wrong-gradient"),
    *("softmax-over-one-unit", "shape-broadcast", "output-loss-mismatch"),
    "missing-output-activation",
    *("missing-nonlinearity", "symmetric-init", "init-not-centred", "init-too-large"),
    *("init-too-small", "unstable-softmax", "unstable-activation", "log-of-zero"),
    *("input-not-normalized", "half-underflow", "reported-loss-differs"),
    *("saturation", "dead-units", "exploding-gradient", "vanishing-gradient"),
    *("learning-rate-too-high", "late-divergence", "oscillation", "learning-rate-too-low"),
    "too-few-steps",
)


@dataclass(frozen=True)
class Finding:
    """A cause of a run's failure.

    Attributes:
        cause: one of `CAUSES`.
        layer: from 1, among the layers with weights in the order they are computed; None where it
            is no layer's.
        quantity: what shows it: "x", "target", "z", "a", "loss", "delta", "gradient", "weight",
            "output", "lr".
        step: at which it shows, from 0; 0 is before the first update.
        evidence: the numbers, by name.
        explanation: one to three sentences, with the numbers.
        remedy: what to do, in words.
        symptoms: causes that would be named were it not for this one.
        certain: whether it is a mistake however the run ends; else it is named because the run
            fails.
        is_final: stands without a confirming trial (none exists).
        file: of the user's code where the mistake stands; None where it is not known.
        line: in that file, from 1; None where it is not known.
        code: the remedy in lines of Python, where it is known without a trial; else "".
    """

    cause: str
    layer: int | None
    quantity: str
    step: int
    evidence: dict[str, float]
    explanation: str
    remedy: str
    symptoms: tuple[str, ...] = ()
    certain: bool = field(default=False, compare=False)
    is_final: bool = field(default=False, compare=False)
    file: str | None = None
    line: int | None = None
    code: str = ""

    def __str__(self) -> str:
        """One line: cause, place, explanation."""
        where = "" if self.layer is None else f", layer {self.layer}"
        return f"{self.cause}{where}: {self.explanation}"


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Root causes first."""
    return sorted(findings, key=lambda finding: CAUSES.index(finding.cause))
