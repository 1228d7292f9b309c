"""The kernel of any function of parameters, by `torch.func`: the general way, and the referee."""
