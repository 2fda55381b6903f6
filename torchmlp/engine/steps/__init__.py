"""One training step.

torch_step            in torch's operators, for every activation, loss, dtype and device
inplace_activations   the activations in its buffers
mixed_step            the same with products in 16 bits, of float32 parameters
cuda_graph            the same on a GPU, captured and replayed
cpp                   in C++, on a CPU; `build` compiles it, `native_step` calls it
fused_optimizer       the optimizer's own step, where it has to be that
"""
