"""Is a backward pass right, and if not, which mistake does it hold?"""

from torchmlp.verify.check import GradientReport, check_gradients
from torchmlp.verify.explain import explain_gradients
from torchmlp.verify.mistakes import Mistake

__all__ = ["GradientReport", "Mistake", "check_gradients", "explain_gradients"]
