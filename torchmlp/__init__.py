"""A multilayer perceptron for PyTorch whose every gradient is written by hand and checked."""

from torchmlp.autograd import DenseFunction, dense, mean_loss, network_loss
from torchmlp.nn import MLP, Dense

__version__ = "0.1.0"

__all__ = ["MLP", "Dense", "DenseFunction", "dense", "mean_loss", "network_loss"]
