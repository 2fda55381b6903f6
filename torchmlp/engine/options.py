"""What an engine asks of its options, and of what comes beside a batch."""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from torchmlp.engine.steps.native_step import no_class

if TYPE_CHECKING:
    from torchmlp.engine.engine import Engine


def check_options(engine: "Engine") -> None:
    """Compare an engine's options with its loss and its network.

    Raises:
        ValueError: a weight, a smoothing, a limit or a number of batches out of its range, or for
            another loss.
    """
    smoothing, weight = engine.label_smoothing, engine.class_weight
    if not 0 <= smoothing <= 1:
        raise ValueError(f"Engine: expected label_smoothing in 0..1, got {smoothing}")
    if engine.loss != "cross_entropy" and (smoothing or weight is not None):
        name = "label_smoothing" if smoothing else "class_weight"
        raise ValueError(f"Engine: {name} is cross_entropy's, and the loss is {engine.loss}")
    if weight is not None:
        classes = engine.model.out_features
        if not weight.is_floating_point() or weight.shape != (classes,):
            raise ValueError(
                f"Engine: expected a class_weight of shape ({classes},), a floating number for "
                f"each class, got {tuple(weight.shape)} of {weight.dtype}"
            )
        if not bool(weight.isfinite().all()) or bool((weight < 0).any()):
            raise ValueError("Engine: expected finite class weights of at least 0")
    for name in ("clip_norm", "clip_value"):
        limit = getattr(engine, name)
        if limit is not None and not (limit > 0 and math.isfinite(limit)):
            raise ValueError(
                f"Engine: expected {name} above 0, got {limit}; leave it out not to clip"
            )
    if engine.clip_norm is not None and engine.clip_value is not None:
        raise ValueError("Engine: clip_norm and clip_value each change a gradient; choose one")
    if engine.accumulate < 1:
        raise ValueError(f"Engine: expected accumulate of at least 1, got {engine.accumulate}")


def check_weight(weight: Tensor, rows: torch.Size) -> None:
    """Compare the samples' weights with a batch.

    Raises:
        ValueError: another shape, or no floating numbers.
    """
    if weight.shape != rows or not weight.is_floating_point():
        raise ValueError(
            f"Engine.step: expected a weight of shape {tuple(rows)}, a floating number for each "
            f"sample, got {tuple(weight.shape)} of {weight.dtype}"
        )


def check_labels(labels: Tensor, classes: int) -> None:
    """Compare labels with the number of classes.

    Raises:
        ValueError: one is no class.
    """
    outside = (labels < 0) | (labels >= classes)
    if bool(outside.any()):
        raise no_class(labels[outside][0], classes)


def checked_order(
    order: Tensor | None, x: Tensor, target: Tensor, weight: Tensor | None, batch_size: int
) -> Tensor | None:
    """The order in which samples are taken, in memory as a step reads it.

    Raises:
        ValueError: a batch size below 1, samples and targets of different numbers, an order that
            names no sample.
    """
    if batch_size < 1:
        raise ValueError(f"Engine.epoch: expected a batch_size of at least 1, got {batch_size}")
    counts = {"inputs": len(x), "targets": len(target)}
    if weight is not None:
        counts["weights"] = len(weight)
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise ValueError(f"Engine.epoch: expected equally many, got {found}")
    if order is None:
        return None
    if order.dtype != torch.int64 or order.ndim != 1:
        raise ValueError(
            f"Engine.epoch: expected an order of int64 numbers in one row, got "
            f"{tuple(order.shape)} of {order.dtype}"
        )
    # A copy: another thread may write into the caller's while it is read.
    order = order.detach().clone(memory_format=torch.contiguous_format)
    if len(order) and (int(order.min()) < 0 or int(order.max()) >= len(x)):
        raise ValueError(
            f"Engine.epoch: expected an order of samples 0..{len(x) - 1}, got "
            f"{int(order.min())}..{int(order.max())}"
        )
    return order
