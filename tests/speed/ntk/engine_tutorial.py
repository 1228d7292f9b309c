"""The way of PyTorch's tutorial "Neural Tangent Kernels", on one block or for one product."""

import torch
from torch.func import functional_call, jacrev, jvp, vjp, vmap

from tests.speed.ntk import cases
from tests.speed.ntk.engine_stillroom import DEVICE, finished, inputs, multiply, network

__all__ = ["multiply", "prepare"]


def prepare(case, mode):
    """Work that gives the kernel of one block of samples with another, or the whole product."""
    del mode
    model = network(case)
    params = {name: each.detach() for name, each in model.named_parameters()}

    def single(given, x):
        return functional_call(model, given, (x[None],))[0]

    if case.quantity == "product":
        return product(case, model, params)
    samples = min(case.block, case.samples)
    x1, x2 = inputs(case, 2 * samples).split(samples)
    pairs = "Naf,Mbf->NMab" if case.quantity == "full" else "Naf,Maf->NM"

    def jacobian(x):
        found = vmap(jacrev(single), (None, 0))(params, x)
        return [each.flatten(2) for each in found.values()]

    def kernel():
        left, right = jacobian(x1), jacobian(x2)
        return finished(sum(torch.einsum(pairs, *both) for both in zip(left, right, strict=True)))

    return kernel, lambda found: found.cpu().numpy()


def product(case, model, params):
    """Pull the vector back to the parameters, and push it forward again."""
    x, v = inputs(case), torch.from_numpy(cases.vector(case)).to(DEVICE)

    def outputs(given):
        return functional_call(model, given, (x,))

    def work():
        _, pull = vjp(outputs, params)
        return finished(jvp(outputs, (params,), pull(v))[1])

    return work, lambda found: found.cpu().numpy()
