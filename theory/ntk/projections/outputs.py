r"""Outputs and residuals of a training run on the eigenvectors of a kernel.

.. math:: K v_k = \lambda_k v_k, \qquad c_k(t) = v_k^\top f(t), \qquad
          r_k(t) = v_k^\top (f(t) - y)

Under the squared loss :math:`\frac{c}{2} \|f - y\|^2` a network whose kernel stays K has

.. math:: r_k(t) = (1 - \rho \lambda_k)^t \, r_k(0) \quad\text{after t steps of size } \eta, \qquad
          r_k(t) = e^{-\rho \lambda_k t} \, r_k(0) \quad\text{under the flow}

with :math:`\rho = \eta c` [Jacot 2018, sec. 5; Lee 2019, eq. 8]. Measured is the slope of
:math:`\ln |r_k|`. Where eigenvalues are equal, single coefficients depend on an arbitrary basis of
the eigenspace; its energy :math:`\sum_k r_k^2` does not, and the slope is that of its root.
"""

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from theory import checks
from theory.checks import Array
from theory.flow.spectrum import Spectrum
from theory.ntk.arrays import plain
from theory.ntk.projections.layers import evaluating
from theory.ntk.trajectories import FIT_FLOOR, decay_rates

GAP = 1e-6
"""Neighbors whose eigenvalues differ by no more than this share count as one eigenspace."""
_HELD = 1 << 23
"""Numbers held back until they are projected in one product."""


@runtime_checkable
class HasEigenpairs(Protocol):
    """Eigenvalues, descending, shape (r,), and eigenvectors in columns, shape (d, r)."""

    @property
    def eigenvalues(self) -> "ArrayLike | Tensor": ...  # noqa: D102

    @property
    def vectors(self) -> "ArrayLike | Tensor": ...  # noqa: D102


@dataclass(frozen=True, slots=True, eq=False)
class OutputProjections:
    """Coefficients of T records on r eigenvectors.

    Shape (T, r); or (T, r, K), one for each of K outputs that share a kernel of samples.
    """

    steps: Array
    """Number of each record, or what `OutputProjector.record` was told, shape (T,)."""
    eigenvalues: Array
    """By which a coefficient decays, descending, shape (r,): those of the kernel, or a K-th of them
    where the kernel is the sum over K outputs."""
    eigenspaces: NDArray[np.int64]
    """Number of the eigenspace of each direction, from 0, shape (r,)."""
    outputs: Array
    """:math:`c_k`, shape (T, r) or (T, r, K)."""
    residuals: Array
    """:math:`r_k`, shape (T, r) or (T, r, K)."""
    outputs_explained: Array
    """Share of the squared norm of the outputs that lies in the directions, shape (T,); nan of
    outputs that are all zero."""
    residuals_explained: Array
    """The same of the residuals, shape (T,)."""
    rates: Array
    """Measured decay of each direction per step: estimate, low and high, shape (3, r). Of the
    eigenspace where there are several of one eigenvalue, and over all outputs. nan where there is
    nothing to fit. The 95 % interval is that of a line with independent errors; of one smooth path
    they are not independent, and it says how straight the path is."""
    fitted: Array
    """First and last step of the fit, shape (2, r): from the first record to the last before the
    amplitude first falls below a share of its beginning."""
    rate: float | None
    """Step size times the factor of the loss, :math:`\\rho`; None if it was not told."""

    @property
    def flow_rates(self) -> Array:
        r"""Predicted decay per step under the flow, :math:`\rho\lambda_k`; nan without a rate."""
        return self.eigenvalues * (np.nan if self.rate is None else self.rate)

    @property
    def descent_rates(self) -> Array:
        r"""The same of gradient descent, :math:`-\ln |1 - \rho\lambda_k|`.

        inf where one step suffices, negative where it diverges.
        """
        with np.errstate(divide="ignore"):
            return np.asarray(-np.log(np.abs(1 - self.flow_rates)))

    def flow(self) -> Array:
        r"""Predicted :math:`r_k(t) / r_k(0)` under the flow, shape (T, r)."""
        times = self.steps - self.steps[0]
        return np.asarray(np.exp(-np.multiply.outer(times, self.flow_rates)))

    def descent(self) -> Array:
        r"""The same of gradient descent, shape (T, r); steps are rounded to integers."""
        done = np.round(self.steps - self.steps[0])
        return np.asarray(np.power(1 - self.flow_rates, done[:, None]))

    def energies(self) -> Array:
        """Squared norm of the residuals in each eigenspace, shape (T, eigenspaces)."""
        squares = self.residuals**2
        squares = squares if squares.ndim == 2 else squares.sum(-1)
        starts = np.flatnonzero(np.diff(self.eigenspaces, prepend=-1))
        return np.asarray(np.add.reduceat(squares, starts, axis=1))


class OutputProjector:
    r"""Records outputs on the eigenvectors of a kernel, in anyone's loop.

    Args:
        kernel: Of the training samples, numbered as `empirical_ntk` gives it: full (N, N, K, K), or
            as `kernel_matrix` lays it out, (K N, K N), row i N + n for output i of sample n; or
            (N, N), which acts on each output, such as the trace kernel. Or its eigenpairs, anything
            with ``eigenvalues`` (r,) and ``vectors`` (N, r) or (N K, r): only the part of the
            outputs in these directions is seen then, and ``outputs_explained`` says how much.
        targets: y, shape (N, K), or (N,) for one output; None for zero: then what is recorded is
            itself the residual.
        inputs: What `record` calls a model with.
        rate: :math:`\rho`, the step size times the factor c of the loss
            :math:`\frac{c}{2} \|f - y\|^2`: :math:`\eta / N` for half the mean over samples,
            :math:`2 \eta / (N K)` for ``nn.MSELoss``. Without it nothing is predicted.
        numbering: Of N K rows, in a matrix or in eigenvectors: ``"outputs"`` (i N + n, as in
            `kernel_matrix`) or ``"samples"`` (n K + i, as in `NTKOperator`). By default eigenpairs
            that know of several outputs, as those of `top_eigenpairs` of a model do, go by samples,
            everything else by outputs.
        summed: Whether an (N, N) kernel is the sum over the K outputs, as ``outputs="trace"``
            gives: each output then decays by a K-th of its eigenvalues. False for a kernel that
            moves every output as it stands.
        gap: Neighbors whose eigenvalues differ by no more than this share are one eigenspace.

    Raises:
        ValueError: If the kernel is not symmetric and positive semi-definite, or anything is not
            finite or of another shape.

    >>> x = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    >>> model = nn.Linear(2, 1, bias=False, dtype=torch.float64)
    >>> projector = OutputProjector(x @ x.T, torch.ones(2), inputs=x, rate=0.1)
    >>> for step in range(5):
    ...     projector.record(model)
    ...     with torch.no_grad():
    ...         _ = model.weight.sub_(0.1 * (model(x) - 1).T @ x)
    >>> found = projector.result()
    >>> found.descent_rates, found.rates[0]
    (array([0.511, 0.105]), array([0.511, 0.105]))
    """

    def __init__(
        self,
        kernel: "ArrayLike | Tensor | HasEigenpairs",
        targets: "ArrayLike | Tensor | None" = None,
        *,
        inputs: Tensor | None = None,
        rate: float | None = None,
        numbering: str | None = None,
        summed: bool = True,
        gap: float = GAP,
    ) -> None:
        if numbering is None:
            numbering = "samples" if getattr(kernel, "outputs", 1) > 1 else "outputs"
        checks.choice("numbering", numbering, ("outputs", "samples"))
        self._summed = checks.flag("summed", summed)
        self._gap = checks.fraction("gap", gap)
        if rate is not None:
            rate = checks.scalar("rate", rate)
            checks.positive("rate", rate)
        self._rate, self._inputs = rate, inputs
        self._by_output = numbering == "outputs"
        self._values, self._vectors, self._samples = self._eigenpairs(kernel)
        self._shape: tuple[int, int] | None = None
        self._targets: Array | None = None
        if targets is not None:
            self._targets = self._outputs("targets", targets)
        self._steps: list[float] = []
        self._norms: list[tuple[float, float]] = []
        self._held: list[Array] = []
        self._projected: list[Array] = []

    def record(self, outputs: "nn.Module | ArrayLike | Tensor", step: float | None = None) -> None:
        """Read the outputs now.

        Args:
            outputs: Of the training samples, (N, K) or (N,); or the model, which is called with
                ``inputs`` as in testing, without gradients, and left as it was.
            step: What to call this record, such as the number of updates; by default records are
                counted from 0.

        Raises:
            ValueError: If the outputs are not finite, or of another shape than the kernel asks for.
        """
        if isinstance(outputs, nn.Module):
            outputs = self._called(outputs)
        values = self._outputs("outputs", outputs)
        number = len(self._steps) if step is None else checks.scalar("step", step)
        if self._steps and number <= self._steps[-1]:
            msg = f"step must be greater than the last, {self._steps[-1]:g}, got {number:g}"
            raise ValueError(msg)
        residuals = values if self._targets is None else values - self._targets
        self._steps.append(float(number))
        self._norms.append((float((values**2).sum()), float((residuals**2).sum())))
        self._held.append(residuals)
        if len(self._held) * residuals.size >= _HELD:
            self._project()

    def result(self, *, floor: float = FIT_FLOOR) -> OutputProjections:
        """All records so far.

        Args:
            floor: Decay is measured while a direction has more than this share of its beginning.

        Raises:
            ValueError: If there is no record.
        """
        if not self._steps or self._shape is None:
            msg = "record must be called at least once before result, got no record"
            raise ValueError(msg)
        self._project()
        residuals = np.concatenate(self._projected)
        shift = 0.0 if self._targets is None else self._coefficients(self._targets[None])[0]
        outputs = residuals + shift
        per_output = self._per_output()
        squares = np.array(self._norms)
        found = OutputProjections(
            steps=np.array(self._steps),
            eigenvalues=self._values / (self._shape[1] if per_output and self._summed else 1),
            eigenspaces=_eigenspaces(self._values, self._gap),
            outputs=outputs,
            residuals=residuals,
            outputs_explained=_explained(outputs, squares[:, 0]),
            residuals_explained=_explained(residuals, squares[:, 1]),
            rates=np.empty(0),
            fitted=np.empty(0),
            rate=self._rate,
        )
        amplitudes = np.sqrt(found.energies())
        # what rounding left of the whole is no direction's decay
        amplitudes[:, amplitudes[0] <= 1e-12 * np.sqrt(squares[0, 1])] = 0.0
        rates, fitted = decay_rates(found.steps, amplitudes, floor=floor)
        own = found.eigenspaces
        return replace(found, rates=rates[:, own], fitted=fitted[:, own])

    def _called(self, model: nn.Module) -> Tensor:
        if self._inputs is None:
            msg = "inputs must be given to OutputProjector to record a model, got None"
            raise ValueError(msg)
        with torch.no_grad(), evaluating(model):
            outputs: Tensor = model(self._inputs)
        return outputs

    def _eigenpairs(
        self, kernel: "ArrayLike | Tensor | HasEigenpairs"
    ) -> tuple[Array, Array, tuple[int, int] | None]:
        """Eigenvalues (r,), eigenvectors (d, r), and samples and outputs where the kernel tells."""
        if isinstance(kernel, HasEigenpairs):
            values = checks.real_array("eigenvalues", plain(kernel.eigenvalues))
            vectors = checks.matrix("vectors", plain(kernel.vectors))
            if values.shape != vectors.shape[1:] or np.any(np.diff(values) > 0):
                msg = (
                    "eigenvalues must descend, one for each column of vectors, got shapes "
                    f"{values.shape} and {vectors.shape}"
                )
                raise ValueError(msg)
            return values, vectors, None
        array = np.asarray(plain(kernel))
        told = None
        if array.ndim == 4:
            n, m, outputs, other = array.shape
            if n != m or outputs != other:
                msg = f"kernel must have shape (N, N, K, K) or (N, N), got {array.shape}"
                raise ValueError(msg)
            told = (n, outputs)
            order = (2, 0, 3, 1) if self._by_output else (0, 2, 1, 3)
            array = array.transpose(order).reshape(n * outputs, n * outputs)
        try:
            spectrum = Spectrum.from_kernel(array)
        except ValueError as error:
            msg = f"kernel must be symmetric and positive semi-definite: {error}"
            raise ValueError(msg) from None
        return spectrum.eigenvalues, spectrum.left, told

    def _outputs(self, name: str, given: "ArrayLike | Tensor") -> Array:
        """Outputs as (N, K), of the shape that the kernel and earlier ones have."""
        values = checks.real_array(name, plain(given))
        values = values[:, None] if values.ndim == 1 else values
        rows = len(self._vectors)
        wanted = self._shape or self._samples
        fits = values.ndim == 2 and rows in (len(values), values.size)
        if not fits or values.shape != (wanted or values.shape):
            shape = wanted or f"({rows}, K) or (N, K) with N K = {rows}"
            msg = f"{name} must have shape {shape} for this kernel, got {np.shape(plain(given))}"
            raise ValueError(msg)
        self._shape = (len(values), values.shape[1])
        return values

    def _per_output(self) -> bool:
        """Whether the kernel is one of samples, and every output has its own coefficients."""
        if self._samples is not None or self._shape is None:
            return False
        samples, outputs = self._shape
        return outputs > 1 and samples == len(self._vectors)

    def _project(self) -> None:
        if self._held:
            self._projected.append(self._coefficients(np.stack(self._held)))
            self._held = []

    def _coefficients(self, values: Array) -> Array:
        """Coefficients of (T, N, K): (T, r, K) or (T, r)."""
        records, samples, outputs = values.shape
        if self._per_output():
            rows = values.transpose(0, 2, 1).reshape(-1, samples)
            parts = (rows @ self._vectors).reshape(records, outputs, -1)
            return np.asarray(parts.transpose(0, 2, 1))
        ordered = values.transpose(0, 2, 1) if self._by_output else values
        return np.asarray(ordered.reshape(records, -1) @ self._vectors)


def _explained(coefficients: Array, whole: Array) -> Array:
    inside = (coefficients**2).reshape(len(coefficients), -1).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.clip(inside / whole, 0.0, 1.0))


def _eigenspaces(eigenvalues: Array, gap: float) -> NDArray[np.int64]:
    """Number of the eigenspace of each of descending eigenvalues.

    >>> _eigenspaces(np.array([2.0, 1.0, 1.0, 0.0, 0.0]), 1e-6)
    array([0, 1, 1, 2, 2])
    """
    apart = -np.diff(eigenvalues) > gap * np.abs(eigenvalues[:-1])
    return np.append(0, np.cumsum(apart)).astype(np.int64)
