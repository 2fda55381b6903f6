"""Many networks of one shape, trained as one.

population     what it is, and what one step takes
parameters     the networks' parameters, side by side
torch_step     the step in torch's batched products, for every activation, loss, dtype and device
native_step    the step in C++, on a CPU: the engine's own, of one network after another
"""

from torchmlp.engine.population.population import Population

__all__ = ["Population"]
