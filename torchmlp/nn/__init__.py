"""Modules with parameters: the dense layer and the multilayer perceptron."""

from torchmlp.nn.dense import Dense
from torchmlp.nn.mlp import MLP

__all__ = ["MLP", "Dense"]
