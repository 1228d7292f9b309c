r"""A scheme that must do nothing: labels, and then one's own outputs.

Trained on labels for s steps and then towards a teacher that was trained on the same labels for
T = s steps, a student stands where its teacher does, and stays there:

.. math:: \phi_t - \phi_{t - s} (1 - \phi_T) = \phi_s, \qquad t \ge s = T

That holds for every network, near its linearization or not. Teacher and student are trained apart
here, so that what moves is the error of the whole machinery: round-off, or a fault.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import eigsh

from sims.parts.prediction_case import Bench, Case
from sims.parts.prediction_kernel import network_kernel
from sims.parts.prediction_network import Networks, ScaledMlp
from sims.parts.prediction_schemes import Schemes
from sims.parts.threads import one_thread
from sims.predictions import Lengths, method

SCHEME = "labels_then_distill"


def lengths_of(steps: int) -> Lengths:
    """Those of the experiment with a teacher that stops at the switch."""
    usual = Lengths.of(steps)
    return replace(usual, teacher=usual.switch)


def no_op(case: Case) -> dict[str, NDArray[Any]]:
    r"""How far the outputs move after the switch.

    Under ``moved`` (2,), of training and of test outputs, the largest
    :math:`|f_t - f_s| / |f_s|` over the steps t that are read, and under ``predicted`` (1,) the
    largest change of the gain of the closed form over eigenvalues up to the largest.
    """
    lengths = lengths_of(case.steps)
    reads = tuple(step for step in case.reads if step >= lengths.switch)
    with one_thread(), torch.no_grad():
        bench = Bench.of(case)
        bench.step_size = case.step / _top(bench)

        def make(members: int) -> Networks:
            return bench.networks(members)

        found = Schemes(lengths, bench.labels).carry_out(
            make, reads, together=False, among=("labels", SCHEME)
        )
    gains = [
        method(SCHEME).descent(lengths, step, case.step).gain(np.geomspace(1e-4, 1.0, 97))
        for step in reads
    ]
    said = max(float(np.abs(each - gains[0]).max()) for each in gains)
    return {
        "moved": np.array([_largest_move(each) for each in found[SCHEME]]),
        "predicted": np.array([said]),
    }


def _largest_move(outputs: torch.Tensor) -> float:
    """Of outputs (reads, samples, K) from the first read, over their norm there."""
    sizes = (outputs - outputs[0]).flatten(1).double().norm(dim=1)
    return float(sizes.max() / outputs[0].double().norm())


def _top(bench: Bench) -> float:
    """The largest eigenvalue of the kernels at initialization, as `measure` has it."""
    network = ScaledMlp(bench.weights, bench.case.parametrization)
    kernels = (network_kernel(network, bench.inputs[0], None, kind) for kind in bench.case.kinds)
    return max(
        float(eigsh(kernel.numpy(), k=1, v0=np.ones(len(kernel)), return_eigenvectors=False)[0])
        for kernel in kernels
    )
