r"""Test risk of a filter for a linear target, under any distribution of the inputs.

Filtered weights are :math:`V \operatorname{diag}(g_i/s_i) U^\top y`. The ratio g/s is formed from
the filter's rate :math:`g/\lambda`, which is finite where s is 0.
"""

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.flow.risk.modes import agree
from theory.flow.spectrum import EPS, Spectrum
from theory.numerics import progress
from theory.statements import states

COUPLING = 1e-10
"""Coupling of directions, relative to the largest covariance, that passes for round-off."""


@runtime_checkable
class SpectralFilter(Protocol):
    """What a filter must answer, as in ``theory.flow.filters``."""

    def shortfall(self, eigenvalues: ArrayLike) -> Array:
        """1 - gain."""
        ...

    def gain_over_eigenvalue(self, eigenvalues: ArrayLike) -> Array:
        """Gain / eigenvalue, with its limit at 0."""
        ...


@states(
    "flow:covariate-shift",
    "D5: where the population covariance couples eigendirections, no monotone order of the "
    "stopping times forbids a gain over early stopping.",
    source="docs/flow.md, D5",
)
def excess_risk(
    spectrum: Spectrum,
    filter: SpectralFilter,
    coefficients: ArrayLike,
    noise_variance: ArrayLike,
    *,
    covariance: ArrayLike | None = None,
) -> float:
    r"""Expected excess squared error on new inputs of a target :math:`y^* = X \beta^*`.

    .. math::

        (\beta^* - P)^\top S (\beta^* - P) + \sigma^2 \sum_i (g_i/s_i)^2 \, v_i^\top S v_i,
        \qquad P = V \operatorname{diag}(g) V^\top \beta^*

    Holds for any shape and rank of the data: the part of :math:`\beta^*` outside the row space is
    never learned and stays in the error. For several outputs it is their sum, each with noise of
    the given variance.

    Args:
        spectrum: Of the training inputs, from data.
        filter: Any filter of ``theory.flow.filters``.
        coefficients: :math:`\beta^*`, shape ``(p,)`` or ``(p, K)``.
        noise_variance: :math:`\sigma^2` of each training label.
        covariance: S, second moment of the test inputs, shape ``(p, p)``; the identity if absent.

    Raises:
        ValueError: If the spectrum is a kernel's, shapes disagree, or S is not symmetric and
            positive semi-definite.

    References:
        docs/flow.md, D5; checked against Monte Carlo.

    Example:
        >>> from theory.flow.filters import GradientFlow
        >>> spectrum = Spectrum.from_data(np.diag([2.0, 1.0]))
        >>> excess_risk(spectrum, GradientFlow(np.inf), [1.0, 1.0], 0.5)
        0.625
    """
    _need("spectrum", spectrum, "Spectrum.from_data(X)", holds=isinstance(spectrum, Spectrum))
    is_filter = isinstance(filter, SpectralFilter)
    _need("filter", filter, "a filter of theory.flow.filters", holds=is_filter)
    basis, singular = spectrum.weight_modes()
    target = checks.columns("coefficients", coefficients, len(basis), of="feature of X")
    target = target.reshape(len(basis), -1)
    noise = float(
        checks.nonnegative("noise_variance", checks.scalar("noise_variance", noise_variance))
    )
    population = None if covariance is None else _covariance(covariance, len(basis))
    components = basis.T @ target
    # a square orthonormal basis leaves nothing over; the difference would only be round-off
    square = basis.shape[0] == basis.shape[1]
    rest = np.zeros_like(target) if square else target - basis @ components
    metric, pull = _project(population, basis, rest)
    return float(
        excess_risk_in_basis(
            filter.shortfall(spectrum.eigenvalues),
            progress(
                filter.gain_over_eigenvalue(spectrum.eigenvalues), singular / spectrum.samples
            ),
            components,
            noise * target.shape[1],
            metric,
            coupling=pull,
            off_span=float(np.sum(rest * (rest if population is None else population @ rest))),
        )
    )


def _need(name: str, value: object, wanted: str, *, holds: bool) -> None:
    if not holds:
        msg = f"{name} must be {wanted}, got {type(value).__name__}"
        raise ValueError(msg)


def _project(population: Array | None, basis: Array, rest: Array) -> tuple[Array, Array | None]:
    """V' S V and V' S rest."""
    if population is None:
        return np.eye(basis.shape[1]), None
    moved = population @ basis
    metric = basis.T @ moved
    return 0.5 * (metric + metric.T), moved.T @ rest


def excess_risk_in_basis(
    shortfall: ArrayLike,
    weight_gain: ArrayLike,
    components: ArrayLike,
    noise_variance: ArrayLike,
    metric: ArrayLike,
    *,
    coupling: ArrayLike | None = None,
    off_span: ArrayLike = 0.0,
) -> Array:
    r"""The same risk in the basis V, for many filters at once.

    .. math:: d^\top M d + 2 d^\top k + q + \sigma^2 \sum_i (g_i/s_i)^2 M_{ii},
              \qquad d_i = (1 - g_i) a_i

    Args:
        shortfall: 1 - g, shape ``(..., modes)``.
        weight_gain: g / s, shape ``(..., modes)``.
        components: :math:`a = V^\top \beta^*`, shape ``(modes,)`` or ``(modes, K)``.
        noise_variance: :math:`\sigma^2`; for K outputs :math:`K \sigma^2`.
        metric: :math:`M = V^\top S V`, shape ``(modes, modes)``.
        coupling: :math:`k = V^\top S (I - V V^\top) \beta^*`, of the shape of ``components``.
        off_span: :math:`q`, the error outside the row space.

    Example:
        >>> float(excess_risk_in_basis([0.5, 1.0], [0.5, 0.0], [2.0, 1.0], 1.0, np.eye(2)))
        2.25
    """
    short = checks.real_array("shortfall", shortfall)
    scaled = checks.real_array("weight_gain", weight_gain, infinite=True)
    inner = checks.square_matrix("metric", metric)
    parts = checks.columns("components", components, len(inner), of="mode").reshape(len(inner), -1)
    if short.shape[-1:] != inner.shape[:1] or scaled.shape[-1:] != inner.shape[:1]:
        msg = (
            f"shortfall and weight_gain must have a last axis of {len(inner)} modes, "
            f"got {short.shape} and {scaled.shape}"
        )
        raise ValueError(msg)
    short, scaled = agree(shortfall=short, weight_gain=scaled)
    with np.errstate(over="ignore", under="ignore"):
        missing = np.moveaxis(short[..., None] * parts, -1, 0)
        bias = ((missing @ inner) * missing).sum(axis=(0, -1))
        if coupling is not None:
            pull = checks.columns("coupling", coupling, len(inner), of="mode")
            pull = pull.reshape(len(inner), -1)
            checks.same_shape(coupling=pull, components=parts)
            bias = bias + 2 * sum(
                part @ column for part, column in zip(missing, pull.T, strict=True)
            )
        spread = np.diag(inner)
        # a direction that the test inputs do not see costs nothing, however large its weight
        variance = progress(scaled**2, spread).sum(axis=-1)
        bias, variance, noise, outside = agree(
            risks=np.asarray(bias),
            variances=np.asarray(variance),
            noise_variance=checks.nonnegative("noise_variance", noise_variance),
            off_span=checks.nonnegative("off_span", off_span),
        )
        return np.asarray(bias + progress(variance, noise) + outside)[()]


def _covariance(value: ArrayLike, features: int) -> Array:
    """S, symmetric and positive semi-definite up to round-off."""
    matrix = checks.square_matrix("covariance", value)
    if len(matrix) != features:
        msg = f"covariance must have shape ({features}, {features}), got {matrix.shape}"
        raise ValueError(msg)
    scale = float(np.abs(matrix).max())
    tolerance = 100 * max(features, 10) * EPS * scale
    asymmetry = float(np.abs(matrix - matrix.T).max())
    if asymmetry > tolerance:
        msg = (
            "covariance must be symmetric, got entries that differ from their mirror image by "
            f"{asymmetry:.3g}"
        )
        raise ValueError(msg)
    try:
        np.linalg.cholesky(matrix + (tolerance or 1.0) * np.eye(features))
    except np.linalg.LinAlgError:
        msg = (
            "covariance must be positive semi-definite, got a lowest eigenvalue of "
            f"{np.linalg.eigvalsh(matrix)[0]:.3g}"
        )
        raise ValueError(msg) from None
    return matrix


def is_separable(
    covariance: ArrayLike, basis: ArrayLike | None = None, *, tolerance: float = COUPLING
) -> bool:
    r"""Whether the test risk is a sum over modes: S maps every direction v_i onto itself.

    Then, and only then for every target, no cross terms couple the modes with each other or with
    what lies outside the row space.

    Args:
        covariance: S, shape ``(p, p)``; if ``basis`` is absent, written in the eigenbasis.
        basis: V, orthonormal columns, shape ``(p, modes)``.
        tolerance: Largest coupling that passes for round-off, relative to the largest entry of S.

    Example:
        >>> is_separable([[1.0, 0.0], [0.0, 3.0]]), is_separable([[1.0, 0.5], [0.5, 1.0]])
        (True, False)
    """
    population = checks.square_matrix("covariance", covariance)
    directions = np.eye(len(population)) if basis is None else checks.matrix("basis", basis)
    population = _covariance(population, len(directions))
    moved = population @ directions
    left_over = moved - directions * (directions * moved).sum(axis=0)
    return bool(np.abs(left_over).max() <= tolerance * np.abs(population).max())
