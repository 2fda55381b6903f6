"""An optimizer's own step, by torch's fused kernels where nobody has chosen others."""

from typing import Any

from torch import Tensor
from torch.optim import Adagrad, Adam, AdamW, Optimizer

from torchmlp._compat.torch_internals import increment_version

# On a CPU torch takes one operator after the other unless it is asked for these.
FUSED = (Adam, AdamW, Adagrad)


class FusedOptimizer:
    """Takes the step of a known optimizer in one pass over memory: the same step, sooner.

    Args:
        optimizer: its groups are asked for the fused kernels during a step, and no longer, unless
            they say themselves which they want.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer

    def step(self) -> Any:
        """Take it."""
        open_to_all = [
            group
            for group in self.optimizer.param_groups
            if group["fused"] is None and not group["foreach"] and self._lies_in_rows(group)
        ]
        for group in open_to_all:
            group["fused"] = True
        try:
            return self.optimizer.step()
        finally:
            for group in open_to_all:
                group["fused"] = None
                increment_version(group["params"])  # which these kernels do not

    def _lies_in_rows(self, group: dict[str, Any]) -> bool:
        """Whether the elements of all tensors lie in one order: the kernels go by memory alone."""
        state = self.optimizer.state
        return all(
            tensor.is_contiguous() and not tensor.is_neg()
            for p in group["params"]
            for tensor in (p, p.grad, *(state[p].values() if p in state else ()))
            if isinstance(tensor, Tensor)
        )
