"""How well a network does, in one number: accuracy for classes, R² for numbers."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from torchmlp.diagnosis.record.record import Design, Record, Targets
from torchmlp.diagnosis.record.thresholds import EXCELLENT, WELL


@dataclass(frozen=True)
class Scoring:
    """What an output has to be to be right.

    Attributes:
        kind: of the targets, as in `Targets`.
        threshold: from which a single unit, or a label's, says yes.
    """

    kind: str
    threshold: float = 0.0

    def __call__(self, output: Tensor, target: Tensor) -> float:
        """Accuracy as the mean over the classes of each one's recall; for numbers R², at most 1.

        nan where an output is not finite.
        """
        output = output.detach().double()
        if not bool(torch.isfinite(output).all()):
            return float("nan")
        if self.kind == "numbers":
            wanted = target.double().reshape(len(target), -1)
            given = output.reshape(len(output), -1)
            if given.shape != wanted.shape:
                return float("nan")
            spread = (wanted - wanted.mean(0)).square().sum()
            return float(1 - (given - wanted).square().sum() / spread.clamp_min(1e-300))
        if self.kind == "labels":
            right = (output >= self.threshold) == (target.reshape(output.shape) > 0.5)  # noqa: PLR2004
            return float(right.double().mean())
        labels = class_labels(target)
        output = classes_last(output, target)
        if output.ndim > 1 and output.shape[-1] > 1:
            guess = output.flatten(0, -2).argmax(-1)
        else:
            guess = (output.reshape(-1) >= self.threshold).long()
        if guess.shape != labels.shape:
            return float("nan")
        right = (guess == labels).double()
        recalls = [right[labels == k].mean() for k in torch.unique(labels)]
        return float(torch.stack(recalls).mean())


def classes_last(output: Tensor, target: Tensor) -> Tensor:
    """The output with its classes on the last axis; for targets (B, *) it may be (B, K, *)."""
    is_second = output.ndim > 2 and target.ndim == output.ndim - 1  # noqa: PLR2004  (B, K, *)
    is_second = is_second and output.shape[:1] + output.shape[2:] == target.shape
    return output.movedim(1, -1) if is_second else output


def class_labels(target: Tensor) -> Tensor:
    """Class indices of targets that are indices, one-hot rows, 0/1 or -1/1, flattened."""
    is_row = target.ndim > 1 and target.shape[-1] > 1
    # Integers in rows may also be the classes of a sequence.
    if is_row and (target.is_floating_point() or bool((target.sum(-1) == 1).all())):
        return target.flatten(0, -2).argmax(-1)
    return target.reshape(-1).long().clamp_min(0)


def scoring_of(targets: Targets, design: Design) -> Scoring:
    """What is right for these targets and this output."""
    bounded = design.output in ("sigmoid", "softmax", "hardsigmoid") or (
        design.loss in ("binary_cross_entropy", "mse_loss", "l1_loss", "smooth_l1_loss")
    )
    own = design.output == "own" or (design.loss == "own" and design.output != "identity")
    signed = targets.kind == "classes" and targets.low < 0
    return Scoring(targets.kind, 0.5 if (bounded or own) and not signed else 0.0)


BOTTOM = 0.05  # of a classifier's chance, or of R², below which nothing has been learned


def learned(record: Record, score: float | None) -> float:
    """The share of what a probe reaches above chance; 0 for a run that broke."""
    targets = record.targets
    if score is None or not math.isfinite(score) or targets is None:
        return 0.0
    if targets.kind == "labels":
        chance = max(record.score_start or 0.0, 0.5)
        return (score - chance) / (1 - chance) if chance < 1 else 1.0
    probes = [
        p for p in (targets.nearest_mean, targets.nearest_neighbour, targets.ridge) if p is not None
    ]
    chance = targets.chance if targets.kind == "classes" else 0.0
    reached = max([p for p in probes if p > chance + BOTTOM], default=1.0)
    return (score - chance) / (reached - chance)


def is_well(record: Record) -> bool:
    """Whether the run, as it is, learns what there is to learn."""
    if record.nonfinite is not None or record.score is None:
        return False
    return record.score >= EXCELLENT or learned(record, record.score) >= WELL
