"""The equations joined to autograd: every node's forward and backward is written by hand."""

from torchmlp.autograd.dense import DenseFunction, dense
from torchmlp.autograd.loss import mean_loss
from torchmlp.autograd.network import network_loss

__all__ = ["DenseFunction", "dense", "mean_loss", "network_loss"]
