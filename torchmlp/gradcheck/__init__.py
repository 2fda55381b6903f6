"""Is a backward pass right, and if not, which mistake does it hold?"""

from torchmlp.gradcheck.check import GradientReport, check_gradients
from torchmlp.gradcheck.explain.mistakes import Mistake
from torchmlp.gradcheck.explain.search import explain_gradients
from torchmlp.gradcheck.external.report import VerifyReport
from torchmlp.gradcheck.external.verify import verify

__all__ = [
    "GradientReport",
    "Mistake",
    "VerifyReport",
    "check_gradients",
    "explain_gradients",
    "verify",
]
