"""Training steps of an MLP without autograd: the equations and nothing else.

state          what a step reads and writes, and whether it is still what it was
steps          the step in torch's operators, as a CUDA graph, in 16 bits, and in C++
triton         kernels of a GPU's step, where they are measured to be faster
engine         one step, by the quickest of them
streams        training as a stream of states
population     many networks of one shape, trained as one
"""

from torchmlp.engine.engine import Engine
from torchmlp.engine.state.structure import unsupported_reason

__all__ = ["Engine", "unsupported_reason"]
