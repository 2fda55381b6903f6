"""Is a backward pass right, and if not, which mistake does it hold?"""

from torchmlp.gradcheck.check import GradientReport, check_gradients
from torchmlp.gradcheck.explain.mistakes import Mistake
from torchmlp.gradcheck.explain.search import explain_gradients

__all__ = ["GradientReport", "Mistake", "check_gradients", "explain_gradients"]
