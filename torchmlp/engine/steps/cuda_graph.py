"""The step on a GPU: captured once, replayed with one launch."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from torchmlp.engine.state.updates import Rule, Slot
from torchmlp.engine.steps.torch_step import TorchStep

Capture = Callable[[Callable[[], None]], Callable[[], object]]  # what runs -> what replays it
WARM_UP = 3  # as torch.cuda.make_graphed_callables does, so that cuBLAS has its workspaces
rehearsal: Capture | None = None  # stands for CUDA's, so that a CPU takes the step of a GPU


def is_captured(device: torch.device) -> bool:
    """Whether steps on a device are captured."""
    return device.type == "cuda" or rehearsal is not None


class GraphStep:
    """A `TorchStep` as a CUDA graph, from inputs of its own to the gradients.

    What is captured holds no setting of the optimizer: gradients are written into `.grad`, and the
    optimizer takes its own step.
    """

    def __init__(
        self,
        step: TorchStep,
        capture: Capture | None = None,
    ) -> None:
        self.step = step
        device = step.workspace.ones.device
        self.capture = capture or rehearsal or partial(captured, device=device)
        self.x, self.target, self.loss = Tensor(), Tensor(), Tensor()
        self.weight: Tensor | None = None
        # A graph, and where it leaves its loss, for each set of numbers that is captured with it.
        self.graphs: dict[tuple[object, ...], tuple[Callable[[], object], list[Tensor]]] = {}

    def bind(self, slots: Sequence[Slot | None]) -> None:
        """Where the parameters' δᵀ a go; graphs of other places are given up."""
        self.step.bind(slots)
        self.graphs.clear()

    def take(
        self,
        x: Tensor,
        target: Tensor,
        rules: Sequence[Rule],
        *,
        weight: Tensor | None = None,
        share: float = 1.0,
    ) -> Tensor:
        """Copy the batch in and replay; the loss before the step. As `TorchStep.take`."""
        if not self.graphs:
            self.x, self.target = x.clone(), target.clone()
        if weight is not None and (self.weight is None or not self.graphs):
            self.weight = weight.clone()
        self.x.copy_(x)
        self.target.copy_(target)
        if weight is not None and self.weight is not None:
            self.weight.copy_(weight)
        numbers = (*rules, share, weight is None)
        if numbers not in self.graphs:
            self.graphs[numbers] = self._captured(rules, share, has_weight=weight is not None)
        replay, losses = self.graphs[numbers]
        replay()
        self.loss = losses[-1]
        return self.loss.clone()

    def _captured(
        self, rules: Sequence[Rule], share: float, *, has_weight: bool
    ) -> tuple[Callable[[], object], list[Tensor]]:
        weight = self.weight if has_weight else None
        losses: list[Tensor] = []

        def run() -> None:
            losses[:] = [self.step.take(self.x, self.target, rules, weight=weight, share=share)]

        # Gradients that are added to would grow by warming up.
        into = [slot.into for slot in self.step.slots if slot is not None and slot.into is not None]
        before = [tensor.clone() for tensor in into]
        replay = self.capture(run)
        for tensor, value in zip(into, before, strict=True):
            tensor.copy_(value)
        return replay, losses

    def right(self, labels: Tensor) -> int | Tensor:
        """How many rows had their largest output at `labels`."""
        return self.step.right(labels)


def captured(run: Callable[[], None], device: torch.device) -> Callable[[], object]:
    """What replays `run` on its device; it has run a few times then."""
    # Warming up changes nothing but gradients, which are put back, and dropout's generator.
    with torch.cuda.device(device):  # a stream belongs to one
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                run()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # Of this thread only: a loader's may pin memory meanwhile.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            run()
    return graph.replay
