"""The elementwise parts of a GPU's step as Triton's kernels, where they are measured to be faster.

choice     times both ways, and keeps the faster
step       the step whose bias, activation and slope are kernels
update     torch's SGD and Adam, all parameters in one launch
kernels    the kernels; they import triton, and nothing else here does before it is needed
"""
