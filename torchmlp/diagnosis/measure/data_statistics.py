"""Statistics of inputs and targets, and baseline predictors."""

import math

import torch
from torch import Tensor

from torchmlp.diagnosis.measure.scoring import class_labels
from torchmlp.diagnosis.record.record import Inputs, Targets
from torchmlp.diagnosis.run.run import Batch

AT_MOST = 2000  # samples the probes look at
FEW = 40  # below so many samples a probe says nothing
FEATURES = 1024  # of an input; larger ones are thinned out
SEVERAL = 2
CLASS_LOSSES = ("cross_entropy", "nll_loss", "multi_margin_loss")
DISCRETE = 20  # at most so many different whole numbers are taken for classes


def gathered(batches: list[Batch], at_most: int = AT_MOST) -> Batch:
    """The first samples of a run, each once."""
    inputs, targets, count = [], [], 0
    for x, target in batches:
        inputs.append(x)
        targets.append(target)
        count += len(x)
        if count >= at_most:
            break
    shapes = {(x.shape[1:], target.shape[1:]) for x, target in zip(inputs, targets, strict=True)}
    if len(shapes) > 1:  # sequences of different lengths
        inputs, targets = inputs[:1], targets[:1]
    return torch.cat(inputs)[:at_most], torch.cat(targets)[:at_most]


def measure_inputs(x: Tensor, given: Tensor) -> Inputs:
    """Statistics of what reaches the first layer; `given` are the samples as they came."""
    values = x.detach().double()
    values = values.reshape(-1, values.shape[-1]) if values.ndim > 1 else values.reshape(-1, 1)
    share = float((~torch.isfinite(given.double())).double().mean()) if given.numel() else 0.0
    values = values.nan_to_num(0.0, 0.0, 0.0)
    std = values.std(0, correction=0)
    mean = values.mean(0)
    varied = std > 1e-8 * values.abs().amax().clamp_min(1e-30)
    scales, offset = 1.0, 0.0
    if bool(varied.any()):
        scales = float(std[varied].max() / std[varied].min())
        offset = float((mean[varied] / std[varied]).square().mean().sqrt())
    return Inputs(
        samples=len(x),
        features=x[0].numel(),
        mean=float(values.mean()),
        std=float(values.std(correction=0)),
        rms=float(values.square().mean().sqrt()),
        low=float(values.min()),
        high=float(values.max()),
        nonfinite=share,
        scale_ratio=scales,
        offset=offset,
    )


def measure_targets(x: Tensor, target: Tensor, units: int, loss: str) -> Targets:
    """Kind and spread of the targets, and what probes make of them.

    Args:
        x: (samples, *), as they came.
        target: as they came.
        units: of the network's output.
        loss: its name; labels for some are classes, numbers for others.
    """
    values = target.detach().double()
    finite = torch.isfinite(values)
    share = float((~finite).double().mean())
    values = values.nan_to_num(0.0, 0.0, 0.0)
    kind, classes = _kind(values, target, units, loss)
    found = Targets(
        kind=kind,
        classes=classes,
        low=float(values.min()),
        high=float(values.max()),
        mean=float(values.mean()),
        std=float(values.std(correction=0)),
        nonfinite=share,
    )
    inputs = _features(x)
    if kind == "classes":
        labels = class_labels(values if target.is_floating_point() else target)
        counts = labels.bincount().double()
        shares = counts[counts > 0] / counts.sum()
        found.entropy = float(-(shares * shares.log()).sum())
        found.majority_share = found.chance = float(shares.max())
        _probe_classes(found, inputs, labels)
    elif kind == "numbers" and share == 0:
        _probe_numbers(found, inputs, values.reshape(len(values), -1))
    return found


def sorted_share(batches: list[Batch]) -> float:
    """The share of the batches, of four samples and more, whose labels are all the same."""
    labels = [class_labels(target) for _, target in batches if len(target) >= 4]  # noqa: PLR2004
    pure = [bool((batch == batch[0]).all()) for batch in labels]
    return sum(pure) / len(pure) if pure else 0.0


def _kind(values: Tensor, target: Tensor, units: int, loss: str) -> tuple[str, int]:
    """The kind of targets, and the number of classes."""
    whole = bool((values == values.round()).all())
    distinct = torch.unique(values)
    indices = not target.is_floating_point()
    is_row = values.ndim > 1 and values.shape[-1] > 1
    binary = whole and len(distinct) <= SEVERAL and set(distinct.tolist()) <= {0.0, 1.0}
    of_outputs = is_row and values.shape[-1] == units and binary  # (B, K) of 0 and 1 for K outputs
    if indices and loss in CLASS_LOSSES and not of_outputs:
        return "classes", max(units, int(distinct.max()) + 1)
    if is_row:
        one_hot = binary and bool((values.sum(-1) == 1).all())
        kind = "classes" if one_hot else "labels" if binary else "numbers"
        return kind, values.shape[-1] if binary else 0
    if loss in CLASS_LOSSES:
        return "classes", max(units, int(distinct.max()) + 1 if whole else 0)
    if binary or set(distinct.tolist()) == {-1.0, 1.0}:
        return "classes", SEVERAL
    if whole and indices and len(distinct) <= DISCRETE:
        return "classes", max(units, len(distinct)) if units > 1 else len(distinct)
    return "numbers", 0


def _features(x: Tensor) -> Tensor:
    """(samples, features), each feature with mean 0 and std 1, or 0 throughout."""
    flat = x.detach().double().reshape(len(x), -1).nan_to_num(0.0, 0.0, 0.0)
    if flat.shape[1] > FEATURES:
        flat = flat[:, :: math.ceil(flat.shape[1] / FEATURES)]
    std = flat.std(0, correction=0)
    centred = flat - flat.mean(0)
    # Pixels that are nearly constant would shout in every distance.
    least = 0.1 * float(std.square().mean().sqrt()) if flat.shape[1] > 64 else 0.0  # noqa: PLR2004
    return centred / std.clamp_min(max(least, 1e-12))


def _halves(count: int) -> tuple[Tensor, Tensor]:
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return order[: count // 2], order[count // 2 :]


def _probe_classes(found: Targets, x: Tensor, labels: Tensor) -> None:
    """Nearest mean and nearest neighbour, learned on one half and scored on the other."""
    present = torch.unique(labels)
    if len(x) < FEW or len(present) < SEVERAL or len(x) != len(labels):
        return
    fit, held = (rows.to(x.device) for rows in _halves(len(x)))
    seen = torch.unique(labels[fit])
    means = torch.stack([x[fit][labels[fit] == k].mean(0) for k in seen])
    found.held_out = len(held)
    found.nearest_mean = _recall(seen[torch.cdist(x[held], means).argmin(1)], labels[held])
    found.nearest_neighbour = _recall(
        labels[fit][torch.cdist(x[held], x[fit]).argmin(1)], labels[held]
    )
    found.chance = 1 / len(present)


def _recall(guess: Tensor, labels: Tensor) -> float:
    right = (guess == labels).double()
    return float(torch.stack([right[labels == k].mean() for k in torch.unique(labels)]).mean())


def _probe_numbers(found: Targets, x: Tensor, values: Tensor) -> None:
    """Ridge regression and the mean of five neighbours: R² on the other half."""
    if len(x) < FEW or len(x) != len(values) or found.std == 0:
        return
    fit, held = (rows.to(x.device) for rows in _halves(len(x)))
    mean = values[fit].mean(0)
    wanted = values[held] - mean
    spread = wanted.square().sum().clamp_min(1e-300)
    ones = torch.ones(len(x), 1, dtype=x.dtype, device=x.device)
    design = torch.cat([x, ones], 1)
    gram = design[fit].T @ design[fit]
    ridge = 1e-3 * gram.diagonal().mean() * torch.eye(len(gram), dtype=x.dtype, device=x.device)
    weights = torch.linalg.solve(gram + ridge, design[fit].T @ (values[fit] - mean))
    found.held_out = len(held)
    found.ridge = float(1 - (design[held] @ weights - wanted).square().sum() / spread)
    near = torch.cdist(x[held], x[fit]).topk(min(5, len(fit)), largest=False).indices
    guess = values[fit][near].mean(1) - mean
    found.nearest_neighbour = float(1 - (guess - wanted).square().sum() / spread)
