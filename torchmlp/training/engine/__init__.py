"""Training steps of an MLP without autograd: the equations and nothing else.

engine         one step
structure      what can be stepped so, and whether it is still what it was
places         where tensors lie in memory, and whether they still do
workspace      the buffers of one batch size
descent        an optimizer's settings as what becomes of δᵀ a
torch_step     the step in torch's operators, for every activation, loss, dtype and device
step.cpp       the step in C++, on a CPU; `library` compiles it, `native` calls it
graph          the step on a GPU, captured and replayed
"""

from torchmlp.training.engine.engine import Engine
from torchmlp.training.engine.structure import why_not

__all__ = ["Engine", "why_not"]
