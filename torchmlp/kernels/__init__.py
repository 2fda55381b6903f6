"""The equations: pure functions on tensors, without autograd."""
