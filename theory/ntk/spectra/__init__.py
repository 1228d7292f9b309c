"""Top eigenpairs of kernels, given as tensors, as operators or by a network."""
