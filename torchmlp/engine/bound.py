"""A step over the buffers of one batch size, and what it was last told of the optimizer."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.amp import GradScaler

from torchmlp.engine.state.addresses import borrow_batch, storages
from torchmlp.engine.state.updates import Rule, Updates, Way
from torchmlp.engine.state.workspace import Workspace
from torchmlp.engine.steps.cuda_graph import GraphStep
from torchmlp.engine.steps.mixed_step import MixedStep
from torchmlp.engine.steps.native_step import NativeStep
from torchmlp.engine.steps.torch_step import TorchStep

Step = TorchStep | NativeStep | GraphStep


def wide(like: Tensor) -> Tensor:
    """An empty tensor of the dtype, at least float32, and device in which losses are weighted."""
    return like.new_empty(0, dtype=torch.promote_types(like.dtype, torch.float32))


class Bound:
    """A step and what it was last told of the optimizer."""

    def __init__(self, step: Step, how: str, workspace: Workspace, target_row: torch.Size) -> None:
        self.step, self.how, self.workspace = step, how, workspace
        self.shape = (workspace.rows, workspace.layers[0].weight.shape[1])
        self.target_row = target_row
        self.wide = wide(workspace.ones)
        self.generation = -1
        self.settings: list[Any] = []
        self.rules: list[Rule] = []
        self.written: set[int] = set()  # storages, by where they begin

    @property
    def counts_right(self) -> bool:
        """Whether right answers are counted in the step."""
        return isinstance(self.step, NativeStep) and self.step.counts_right

    def scale_by(self, scaler: GradScaler) -> None:
        """Let the next step's gradients be as many times as large as the scaler says."""
        step = self.step.step if isinstance(self.step, GraphStep) else self.step
        assert isinstance(step, MixedStep)
        step.scale_by(scaler)

    def _tell(self, updates: Updates) -> None:
        if updates.generation != self.generation:
            if isinstance(self.step, NativeStep):
                merged = updates.way is not Way.ELEMENTWISE
                self.step.bind(updates.slots, updates.counters, merged=merged)
            else:
                self.step.bind(updates.slots)
            self.generation, self.rules = updates.generation, []
            self.written = storages((*updates.tensors, *self.workspace.buffers))

    def _as_read(self, x: Tensor, target: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        """Of the shapes that a step reads, and floating targets in its dtype."""
        shape = (rows, self.shape[1])
        if x.shape != shape:
            x, target = x.reshape(shape), target.reshape(rows, *self.target_row)
        if target.is_floating_point() and isinstance(self.step, NativeStep):
            target = target.to(self.workspace.ones.dtype)
        return x, target

    def takes_as_it_lies(self, x: Tensor, target: Tensor) -> bool:
        """Whether a batch's own memory is what the step reads."""
        own = self._as_read(x, target, self.shape[0])
        is_same = all(a.data_ptr() == b.data_ptr() for a, b in zip(own, (x, target), strict=True))
        return is_same and x.is_contiguous() and target.is_contiguous()

    def take(
        self,
        x: Tensor,
        target: Tensor,
        weight: Tensor | None,
        updates: Updates,
        collected: int,
        share: float,
        does_update: bool,
    ) -> Tensor:
        """One step; the loss before it."""
        self._tell(updates)
        if not self.rules or updates.counters or updates.settings != self.settings or share < 1:
            self.rules, self.settings = updates.rules(collected=collected), updates.settings
        x, target = self._as_read(x, target, self.shape[0])
        if weight is not None:
            weight = weight.detach().reshape(-1).to(self.wide).contiguous()
        if isinstance(self.step, NativeStep):  # which looks for itself
            if x.is_neg() or target.is_neg():
                x, target = x.resolve_neg(), target.resolve_neg()
            x, target = x.contiguous(), target.contiguous()
            return self.step.take(
                x, target, self.rules, weight=weight, collected=collected, share=share,
                updates=does_update,
            )  # fmt: skip
        x, target = borrow_batch(x, target, "Engine.step", self.written)
        return self.step.take(x, target, self.rules, weight=weight, share=share)

    def take_epoch(
        self,
        x: Tensor,
        target: Tensor,
        order: Tensor | None,
        weight: Tensor | None,
        updates: Updates,
        collected: int,
        accumulate: int,
    ) -> Tensor:
        """Steps over all samples, in C++; their losses."""
        assert isinstance(self.step, NativeStep)
        self._tell(updates)
        x, target = self._as_read(x, target, len(x))
        x, target = borrow_batch(x, target, "Engine.epoch", self.written)
        if weight is not None:
            weight = weight.detach().to(self.wide).contiguous()
        samples = len(x if order is None else order)
        steps = -(-samples // self.shape[0])
        if accumulate == 1:
            table = updates.table(steps)
        else:  # the optimizer's steps, not the batches, are counted
            own = updates.table(-(-(collected + steps) // accumulate))
            table = own[(collected + np.arange(steps)) // accumulate]
        self.rules = []
        return self.step.take_epoch(
            x, target, order, table, merged=updates.way is Way.MERGED, weight=weight,
            collected=collected, accumulate=accumulate,
        )  # fmt: skip
