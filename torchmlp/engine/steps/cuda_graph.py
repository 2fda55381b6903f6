"""The step on a GPU: captured once, replayed with one launch."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from torchmlp.engine.state.sgd_update import SGDUpdate, Slot
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
        self.replay: Callable[[], object] | None = None

    def bind(self, slots: Sequence[Slot | None]) -> None:
        """Where the parameters' δᵀ a go; a graph of other places is given up."""
        self.step.bind(slots)
        self.replay = None

    def take(self, x: Tensor, target: Tensor, descents: Sequence[SGDUpdate]) -> Tensor:
        """Copy the batch in and replay; the loss before the step."""
        if self.replay is None:
            self.x, self.target = x.clone(), target.clone()

            def run() -> None:
                self.loss = self.step.take(self.x, self.target, descents)

            self.replay = self.capture(run)
        self.x.copy_(x)
        self.target.copy_(target)
        self.replay()
        return self.loss.clone()

    def right(self, labels: Tensor) -> int | Tensor:
        """How many rows had their largest output at `labels`."""
        return self.step.right(labels)


def captured(run: Callable[[], None], device: torch.device) -> Callable[[], object]:
    """What replays `run` on its device; it has run a few times then."""
    # Gradients are overwritten at every run, so warming up changes nothing but dropout's generator.
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
