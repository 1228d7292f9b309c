"""Our engine."""

import torch
from torch import nn

from tests.speed.ntk import cases
from theory.ntk import NTKOperator, empirical_ntk

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def network(case):
    """The network of a case, with its weights."""
    layers = []
    parameters = cases.parameters(case)
    for number, (weight, bias) in enumerate(parameters):
        last = number + 1 == len(parameters)
        if weight.ndim == 4:
            layer = nn.Conv2d(weight.shape[1], len(weight), weight.shape[2:], padding="same")
            layers += [layer, nn.ReLU(), nn.MaxPool2d(2)]
        else:
            layer = nn.Linear(weight.shape[1], len(weight))
            layers += [nn.Flatten(), layer] if case.convolutional else [layer]
            layers += [] if last else [nn.ReLU()]
        layer.to(getattr(torch, case.dtype))
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight))
            layer.bias.copy_(torch.from_numpy(bias))
    return nn.Sequential(*layers).eval().to(DEVICE)


def inputs(case, samples=None):
    """The inputs of a case as a tensor."""
    return torch.from_numpy(cases.inputs(case, samples)).to(DEVICE)


def finished(result):
    """Wait for the device, so that time is measured and not the queueing of work."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return result


def prepare(case, mode):
    """Work that gives the kernel or the product, and a function that turns it into NumPy."""
    del mode
    model, x = network(case), inputs(case)
    memory = {} if case.memory is None else {"memory": case.memory}
    if case.quantity == "product":
        operator = NTKOperator(model, x, **memory)
        v = torch.from_numpy(cases.vector(case)).to(DEVICE).reshape(-1)
        as_numpy = lambda u: u.reshape(case.samples, -1).cpu().numpy()  # noqa: E731
        return lambda: finished(operator.matvec(v)), as_numpy

    def kernel():
        return finished(empirical_ntk(model, x, outputs=case.quantity, **memory))

    return kernel, lambda found: found.cpu().numpy()


def device_peak():
    """Bytes on the device at most, weights and inputs included."""
    return torch.cuda.max_memory_allocated() if DEVICE == "cuda" else 0


def multiply(size, dtype):
    """A square matrix product, for the peak of the machine."""
    a = torch.ones(size, size, dtype=getattr(torch, dtype), device=DEVICE)
    return lambda: finished(a @ a)
