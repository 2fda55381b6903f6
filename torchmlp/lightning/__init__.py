"""Training with Lightning: module, data, callbacks, and the engine in place of autograd."""
