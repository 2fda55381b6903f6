"""What an explanation is: for each layer, from the last down, how its gradients were come by."""

from dataclasses import dataclass

from torchmlp.gradcheck.explain.delta_hypotheses import DeltaHypothesis
from torchmlp.gradcheck.explain.gradient_hypotheses import Fit, Named
from torchmlp.gradcheck.explain.reference import LayerCase

UNKNOWN = 10.0  # the price of a gradient that nothing explains, in mistakes


@dataclass(frozen=True)
class Step:
    """How one layer is explained: the way to its delta, the fits of its gradients.

    A fit is None where nothing explains the gradient.
    """

    case: LayerCase
    hypothesis: DeltaHypothesis
    weight: Fit | None
    bias: Fit | None


@dataclass(frozen=True)
class Explanation:
    """How the layers from the last one down are explained, and how many mistakes that takes."""

    steps: tuple[Step, ...]
    cost: float
    left: float

    @property
    def is_whole(self) -> bool:
        """Whether every gradient is explained."""
        return self.cost < UNKNOWN


def step_mistakes(step: Step) -> list[Named]:
    """The mistakes of a step that are no factor."""
    found = [*step.hypothesis.mistakes]
    for fit in (step.weight, step.bias):
        if fit is not None:
            found += [m for m in fit.mistakes if m not in found]
    return found
