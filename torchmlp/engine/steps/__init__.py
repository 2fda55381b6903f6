"""One training step.

torch_step            in torch's operators, for every activation, loss, dtype and device
inplace_activations   the activations in its buffers
cuda_graph            the same on a GPU, captured and replayed
step.cpp              in C++, on a CPU; `build` compiles it, `native_step` calls it
"""
