"""Many networks of one shape, trained as one.

population     what it is, and what one step takes
stack          the networks' parameters, side by side
batched_step   the step in torch's batched products, for every activation, loss, dtype and device
native         the step in C++, on a CPU: the engine's own, of one network after another
"""

from torchmlp.training.population.population import Population

__all__ = ["Population"]
