"""Neural-tangents under jit, in the environment that ``peers.py`` makes."""

import sys
import types

import jax
import jax.numpy as jnp
import numpy as np

from tests.speed.ntk import cases

jax.config.update("jax_enable_x64", True)
# the sub-package of experiments would import tensorflow, of which nothing here has use
sys.modules["neural_tangents.experimental"] = types.ModuleType("neural_tangents.experimental")
import neural_tangents as nt  # noqa: E402


def network(case):
    """``f(params, x)`` on channels-last images, which is the faster layout of XLA on a CPU."""

    def dense(x, layer):
        return x @ layer[0] + layer[1]

    def convolution(x, layer):
        dims = ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(x, layer[0], (1, 1), "SAME", dimension_numbers=dims)
        return y + layer[1]

    def pooled(x):
        window = (1, 2, 2, 1)
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")

    def f(params, x):
        *hidden, last = params
        for layer in hidden:
            x = jax.nn.relu((convolution if case.convolutional else dense)(x, layer))
            x = pooled(x) if case.convolutional else x
        return dense(x.reshape(len(x), -1), last)

    return f


def parameters(case):
    """The same numbers in the layout of this network."""
    params = []
    for weight, bias in cases.parameters(case):
        moved = weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T
        if case.convolutional and weight.ndim == 2:  # flattened by channel there, by pixel here
            side = cases.SIDE >> cases.CONVOLUTIONS
            moved = weight.reshape(len(weight), cases.CHANNELS, side, side)
            moved = moved.transpose(2, 3, 1, 0).reshape(-1, len(weight))
        params.append((jnp.asarray(np.ascontiguousarray(moved)), jnp.asarray(bias)))
    return params


def prepare(case, mode):
    """Work that gives the kernel or the product, and a function that turns it into NumPy."""
    f, params = network(case), parameters(case)
    x = cases.inputs(case)
    x = jnp.asarray(np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if case.convolutional else x)
    if case.quantity == "product":
        product = jax.jit(lambda p, x, v: nt.empirical_ntk_vp_fn(f, x, None, p)(v))
        v = jnp.asarray(cases.vector(case))
        return lambda: product(params, x, v).block_until_ready(), np.asarray
    implementation = {
        cases.STRUCTURED: nt.NtkImplementation.STRUCTURED_DERIVATIVES,
        cases.CONTRACTION: nt.NtkImplementation.JACOBIAN_CONTRACTION,
    }[mode]
    kernel = jax.jit(
        nt.empirical_ntk_fn(
            f,
            trace_axes=(-1,) if case.quantity == "trace" else (),
            vmap_axes=0,
            implementation=implementation,
        )
    )
    # their trace is the mean over outputs
    scale = cases.CLASSES if case.quantity == "trace" else 1
    return lambda: kernel(x, None, params).block_until_ready(), lambda k: np.asarray(k) * scale


def multiply(size, dtype):
    """A square matrix product, for the peak of the machine."""
    a = jnp.ones((size, size), dtype)
    product = jax.jit(jnp.dot)
    return lambda: product(a, a).block_until_ready()
