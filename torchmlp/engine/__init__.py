"""Training steps of an MLP without autograd: the equations and nothing else.

state          what a step reads and writes, and whether it is still what it was
steps          the step in torch's operators, as a CUDA graph, and in C++
engine         one step, by the quickest of them
streams        training as a stream of states
population     many networks of one shape, trained as one
"""

from torchmlp.engine.engine import Engine
from torchmlp.engine.state.structure import unsupported_reason

__all__ = ["Engine", "unsupported_reason"]
