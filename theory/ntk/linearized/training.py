r"""Training of the linearized network in closed form, under every scheme of `theory.flow.filters`.

.. math::

    f = f_0 + U g(\Lambda) U^\top (Y - f_0), \qquad
    f_* = f_{0*} + K_* U \frac{g(\Lambda)}{\Lambda} U^\top (Y - f_0)

for the squared loss :math:`\tfrac12 \|f - Y\|^2`, whose flow is :math:`\dot f = -K (f - Y)`: the
filter g is `GradientFlow` for it and `GradientDescent` for its discrete steps. A loss with another
factor in front has that factor in ``scale``: 1/n for the mean over samples, 2/(n K) for
``torch.nn.functional.mse_loss``. Students need no other formula: their targets are the teacher's
own training outputs, and the products of filters say so.

A full kernel (N, N, K, K) couples outputs. A kernel (N, N) acts on each output: the trace kernel
over K, the mean over outputs, is the one that stands for a full kernel.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from theory import checks
from theory.checks import Array
from theory.flow.filters import Filter
from theory.flow.logits import LogitFlow, cross_entropy_flow
from theory.flow.logits.equation import METHODS
from theory.flow.logits.kernels import need_both, scales, soft_targets, start_from
from theory.flow.spectrum import Spectrum
from theory.ntk.arrays import plain
from theory.ntk.linearized.decomposition import CLIP, as_matrix, decomposed, projected
from theory.ntk.linearized.dual import full_cross_entropy_flow


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """Outputs of the linearized network, in float64 on the CPU."""

    train: Tensor
    """At the training inputs, shape (n, K), with a first axis of T filters where a list was
    given; without the last axis where the targets have none."""
    test: Tensor | None
    """At the test inputs, likewise; None without a test kernel."""


@dataclass(frozen=True, slots=True, eq=False)
class KernelFlow:
    r"""A training kernel in its eigenbasis and the test kernel projected on it, for all times.

    Decomposed once, in float64 on the CPU; every filter, time and target is then one product. Rows
    are samples, or, for a full kernel, output by output: i n + a is output i of sample a, as in
    `kernel_matrix`.

    Example:
        >>> from theory.flow.filters import GradientFlow
        >>> flow = KernelFlow.of(torch.eye(2) * 2.0, torch.tensor([[2.0, 0.0]]))
        >>> later = [GradientFlow(time) for time in (0.0, 0.5, np.inf)]
        >>> flow.trained(later, torch.tensor([1.0, 1.0])).test
        tensor([[0.0000],
                [0.6321],
                [1.0000]], dtype=torch.float64)
    """

    eigenvalues: Array
    r""":math:`\\lambda \\ge 0`, descending, with the scale, shape (r,)."""
    modes: Array
    """U, orthonormal columns, shape (r, r)."""
    test_modes: Array | None
    """:math:`K_* U`, with the scale, shape (rows of the test kernel, r)."""
    outputs: int | None
    """K of a full kernel; None for a kernel that acts on each output."""

    @classmethod
    def of(
        cls,
        kernel: ArrayLike | Tensor,
        test_kernel: ArrayLike | Tensor | None = None,
        *,
        outputs: int | None = None,
        scale: float = 1.0,
        clip: float | None = None,
    ) -> "KernelFlow":
        r"""Decompose a training kernel.

        Args:
            kernel: K of the training inputs with themselves, shape (n, n, K, K), or (n, n) to act
                on each output, or with ``outputs`` a matrix (K n, K n) of `kernel_matrix`.
            test_kernel: :math:`K_*`, test inputs in rows and training inputs in columns, in the
                same form.
            outputs: K, where a full kernel is given as a matrix.
            scale: Factor of both kernels, :math:`> 0`.
            clip: Eigenvalues below this share of the largest count as zero; by default ten units in
                the last place of the type of the kernel.

        Raises:
            ValueError: If shapes do not fit, numbers are not finite, the kernel is not symmetric
                or has negative eigenvalues beyond round-off, or the test kernel does not vanish on
                the null directions of the training kernel, which one positive semi-definite
                kernel of both sets does.
        """
        matrix, own, eps = as_matrix("kernel", kernel, outputs)
        factor = float(checks.positive("scale", checks.scalar("scale", scale)))
        share = CLIP * eps if clip is None else checks.fraction("clip", clip)
        values, modes = decomposed(matrix, eps)
        values = np.where(values <= share * values[0], 0.0, values)
        test_modes = None
        if test_kernel is not None:
            test, test_own, test_eps = as_matrix("test_kernel", test_kernel, outputs)
            if test.shape[1] != len(matrix) or test_own != own:
                msg = (
                    "test_kernel must have test inputs in rows and the training inputs in columns, "
                    f"in the form of kernel, got shape {tuple(np.shape(test_kernel))} beside "
                    f"{tuple(np.shape(kernel))}"
                )
                raise ValueError(msg)
            test_modes = factor * projected(
                test, modes, values, max(share, eps), max(eps, test_eps)
            )
        return cls(factor * values, modes, test_modes, own)

    @property
    def samples(self) -> int:
        """Number n of training inputs."""
        return len(self.modes) // (self.outputs or 1)

    def components(self, values: ArrayLike | Tensor) -> Tensor:
        r""":math:`U^\top v` of values at the training inputs, such as outputs or targets.

        Args:
            values: Shape (n, K) or (n,).

        Returns:
            Shape (r,) in a full kernel, else (r, K) or (r,).

        >>> KernelFlow.of(torch.eye(2)).components(torch.ones(2)).abs()
        tensor([1., 1.], dtype=torch.float64)
        """
        array = self._targets("values", values)
        found = self.modes.T @ self._columns(array)
        return torch.from_numpy(found[:, 0] if self.outputs or array.ndim == 1 else found)

    def trained(
        self,
        filters: Filter | Sequence[Filter],
        targets: ArrayLike | Tensor,
        *,
        initial: ArrayLike | Tensor | None = None,
        test_initial: ArrayLike | Tensor | None = None,
    ) -> Trained:
        r"""Training and test outputs under one scheme or several, for the squared loss.

        Where a filter has an infinite :math:`g'(0)` (infinite time), directions of eigenvalue zero
        do not reach the test outputs, as in the pseudo-inverse.

        Args:
            filters: A filter, or a list: one for each time or scheme.
            targets: Y, shape (n, K) or (n,).
            initial: :math:`f_0`, of the shape of Y; zero if absent.
            test_initial: :math:`f_{0*}`, shape (m, K) or (m,); needed with ``initial`` where there
                is a test kernel.

        Raises:
            ValueError: If shapes do not fit, or discrete steps diverge.
        """
        several = _filters(filters)
        y = self._targets("targets", targets)
        start = start_from("initial", plain(initial), y.shape)
        share = self.modes.T @ self._columns(y - start)
        gains = [one.gain(self.eigenvalues)[:, None] * share for one in several]
        train = start + self._outputs(self.modes, gains, y.shape)
        test = None
        if self.test_modes is not None:
            if initial is not None:
                need_both(plain(initial), plain(test_initial))
            rates = [one.gain_over_eigenvalue(self.eigenvalues)[:, None] * share for one in several]
            moved = self._outputs(self.test_modes, rates, y.shape)
            test = start_from("test_initial", plain(test_initial), moved.shape[1:]) + moved
        elif test_initial is not None:
            msg = "test_initial must be given with a test kernel only, which this flow is without"
            raise ValueError(msg)
        whole = slice(None) if isinstance(filters, Sequence) else 0
        return Trained(
            torch.from_numpy(train[whole]), None if test is None else torch.from_numpy(test[whole])
        )

    def cross_entropy(
        self,
        targets: ArrayLike | Tensor,
        times: ArrayLike,
        *,
        initial: ArrayLike | Tensor | None = None,
        test_initial: ArrayLike | Tensor | None = None,
        temperature: float = 1.0,
        factor: str = "1",
        method: str | None = None,
        rtol: float = 1e-9,
        atol: float = 1e-12,
        max_calls: int = 50_000,
    ) -> LogitFlow:
        r"""Gradient flow of the cross-entropy, by the dual differential equation.

        .. math:: \dot A = -\frac{c_\tau}{\tau} \bigl(\sigma((Z_0 + K A) / \tau) - Q\bigr), \qquad
                  Z = Z_0 + K A, \quad Z_* = Z_{0*} + K_* A

        of the sum over samples of the loss; ``scale`` 1/n makes it the mean.

        Args:
            targets: Q, class probabilities in rows, shape (n, K), K >= 2.
            times: Finite times >= 0, shape (T,).
            initial: :math:`Z_0`, shape (n, K); zero if absent.
            test_initial: :math:`Z_{0*}`, shape (m, K), needed with ``initial``.
            temperature: :math:`\tau`, of both sides.
            factor: :math:`c_\tau`: ``"1"`` or ``"tau2"``.
            method: Of ``scipy.integrate.solve_ivp``; None for LSODA, and for DOP853 in a full
                kernel of more than 1500 modes.
            rtol: Relative tolerance of the solver.
            atol: Absolute tolerance, in units of the logits over the temperature.
            max_calls: The solver gives up after so many evaluations.

        Returns:
            Arrays (T, n, K), (T, m, K) and so on. A solver that fails says so in ``converged``.

        Raises:
            ValueError: On bad input.

        Example:
            >>> flow = KernelFlow.of(torch.eye(2))
            >>> flow.cross_entropy(np.eye(2), [1.0]).outputs[0]
            array([[ 0.396, -0.396],
                   [-0.396,  0.396]])
        """
        if self.outputs is None:
            spectrum = Spectrum(self.eigenvalues, self.modes, None, np.sqrt(self.eigenvalues))
            return cross_entropy_flow(
                spectrum,
                plain(targets),
                times,
                initial=plain(initial),
                temperature=temperature,
                factor=factor,
                test_kernel=self._test_kernel(),
                test_initial=plain(test_initial),
                method=method or "LSODA",
                rtol=rtol,
                atol=atol,
                max_calls=max_calls,
            )
        rows = soft_targets(plain(targets), self.samples)
        self._require_outputs("targets", rows)
        clock = checks.nonnegative("times", times)
        if clock.ndim != 1 or clock.size == 0:
            msg = f"times must be a non-empty list of times, got shape {clock.shape}"
            raise ValueError(msg)
        if method is not None:
            checks.choice("method", method, METHODS)
        tau, scale = scales(temperature, factor)
        start = start_from("initial", plain(initial), rows.shape)
        learned = self.eigenvalues > 0
        test_modes = test_start = None
        if self.test_modes is not None:
            need_both(plain(initial), plain(test_initial))
            shape = (len(self.test_modes) // self.outputs, self.outputs)
            test_start = start_from("test_initial", plain(test_initial), shape)
            test_modes = self.test_modes[:, learned]
        return full_cross_entropy_flow(
            self.eigenvalues[learned],
            self.modes[:, learned],
            test_modes,
            rows,
            clock,
            start=start,
            test_start=test_start,
            temperature=tau,
            factor=scale,
            method=method,
            rtol=float(checks.positive("rtol", checks.scalar("rtol", rtol))),
            atol=float(checks.positive("atol", checks.scalar("atol", atol))),
            max_calls=checks.count("max_calls", max_calls, minimum=1),
        )

    def _test_kernel(self) -> Array | None:
        """The test kernel on the learned directions."""
        if self.test_modes is None:
            return None
        learned = self.eigenvalues > 0
        return np.asarray(self.test_modes[:, learned] @ self.modes[:, learned].T)

    def _targets(self, name: str, values: ArrayLike | Tensor) -> Array:
        array = checks.columns(name, plain(values), self.samples, of="training input")
        self._require_outputs(name, array)
        return array

    def _require_outputs(self, name: str, array: Array) -> None:
        classes = array.shape[1] if array.ndim == 2 else 1
        if self.outputs not in {None, classes}:
            msg = (
                f"{name} must have shape ({self.samples}, {self.outputs}), one column for each "
                f"output of the kernel, got {array.shape}"
            )
            raise ValueError(msg)

    def _columns(self, values: Array) -> Array:
        """Values as what the kernel acts on: columns (n, K), or one column (K n, 1)."""
        if self.outputs is not None:
            return values.T.reshape(-1, 1)
        return values.reshape(len(values), -1)

    def _outputs(self, modes: Array, along: list[Array], shape: tuple[int, ...]) -> Array:
        """``modes`` times coefficients of T schemes, as (T, samples, ...)."""
        found = modes @ np.concatenate(along, axis=1)
        if self.outputs is not None:
            found = found.T.reshape(len(along), self.outputs, -1).swapaxes(1, 2)
        else:
            found = found.reshape(len(modes), len(along), -1).swapaxes(0, 1)
        return np.ascontiguousarray(found.reshape(*found.shape[:2], *shape[1:]))


def trained_outputs(
    kernel: ArrayLike | Tensor,
    filters: Filter | Sequence[Filter],
    targets: ArrayLike | Tensor,
    *,
    initial: ArrayLike | Tensor | None = None,
    test_kernel: ArrayLike | Tensor | None = None,
    test_initial: ArrayLike | Tensor | None = None,
    outputs: int | None = None,
    scale: float = 1.0,
) -> Trained:
    r"""Training and test outputs of the linearized network: `KernelFlow` for one use.

    Args:
        kernel: As of `KernelFlow.of`.
        filters: A filter, or a list.
        targets: Y, shape (n, K) or (n,).
        initial: :math:`f_0`; zero if absent.
        test_kernel: :math:`K_*`.
        test_initial: :math:`f_{0*}`.
        outputs: K, where a full kernel is given as a matrix.
        scale: Factor of both kernels.

    Raises:
        ValueError: As `KernelFlow`.

    Example:
        >>> from theory.flow.filters import GradientDescent
        >>> trained_outputs([[1.0]], GradientDescent(0.5, 2), [1.0]).train
        tensor([0.7500], dtype=torch.float64)
    """
    flow = KernelFlow.of(kernel, test_kernel, outputs=outputs, scale=scale)
    return flow.trained(filters, targets, initial=initial, test_initial=test_initial)


def _filters(filters: Filter | Sequence[Filter]) -> list[Filter]:
    several: list[object] = list(filters) if isinstance(filters, Sequence) else [filters]
    wrong = [one for one in several if not isinstance(one, Filter)]
    if wrong or not several:
        got = type(wrong[0]).__name__ if wrong else "an empty list"
        msg = f"filters must be a filter of theory.flow.filters or a list of some, got {got}"
        raise ValueError(msg)
    return [one for one in several if isinstance(one, Filter)]
