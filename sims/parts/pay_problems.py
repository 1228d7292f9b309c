"""Signals under noise on which training schemes are compared: made up, shifted, or measured."""

from dataclasses import dataclass

import numpy as np

from sims.inputs import Dataset
from sims.parts.scheme_search import Risks
from sims.parts.schemes import Array
from theory.flow.filters import GradientFlow
from theory.flow.risk import denoising_risk, dominance, optimal_stopping_time
from theory.flow.spectrum import Spectrum


@dataclass(frozen=True, slots=True, eq=False)
class Signals:
    """In-sample problems on one spectrum."""

    eigenvalues: Array
    energy: Array
    """Shape (problems, modes)."""
    noise: Array
    """Shape (problems,)."""
    samples: int

    def early_stopping(self) -> tuple[Array, Array]:
        """Best times and their risks."""
        time = np.atleast_1d(
            optimal_stopping_time(self.eigenvalues, self.energy, self.noise[:, None])
        )
        pairs = zip(time, self.energy, self.noise, strict=True)
        risk = [
            denoising_risk(
                GradientFlow(float(t)).gain(self.eigenvalues), c, s, samples=self.samples
            )
            for t, c, s in pairs
        ]
        return time, np.array(risk)

    def risks(self) -> Risks:
        """The same in the form that is searched."""
        return Risks.denoising(self.energy, self.noise, self.samples)

    def patterns(self) -> list[str]:
        """How the best stopping time of a direction runs along the spectrum."""
        return [
            dominance(self.eigenvalues, c, s).pattern
            for c, s in zip(self.energy, self.noise, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Shift:
    """The two directions of the covariate shift: docs/flow.md, D5."""

    points: int
    eigenvalues: tuple[float, float] = (1.0, 0.13)
    coefficients: tuple[float, float] = (2.31, -1.46)
    noise: float = 0.796
    correlation: float = -0.92

    def covariances(self, correlation: Array, ratio: Array) -> Array:
        """Of test inputs, for a correlation of both directions and the variance of the second."""
        off = correlation * np.sqrt(ratio)
        ones = np.ones_like(off)
        return np.stack([np.stack([ones, off], -1), np.stack([off, ratio * ones], -1)], -2)

    def risks(self, covariances: Array) -> Risks:
        """Test risks under population covariances (risks, 2, 2)."""
        return Risks.shifted(
            np.array(self.eigenvalues), np.array(self.coefficients), self.noise, covariances
        )


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Signal and noise of real data, estimated."""

    signals: Signals
    """One problem: the directions that are learned at all, energies summed over outputs."""
    label_energy: Array
    """Energy of the labels in each direction, signal and noise."""
    noise: float
    """Variance of one label."""
    source: str
    """Where the noise variance comes from."""


def measure(data: Dataset, noise_variance: float | None) -> Measured:
    r"""Estimate signal and noise along the eigendirections of a dataset.

    The labels have energy :math:`c_i^2 + \sigma^2` in a direction on average, so that the signal is
    estimated by what exceeds the noise, or zero.

    Raises:
        ValueError: If X is zero, or the noise leaves no signal in any direction.
    """
    spectrum = Spectrum.from_data(data.X, normalize=True)
    targets = data.targets().reshape(len(data.X), -1)
    moves = spectrum.eigenvalues > 0
    if not moves.any():
        msg = f"X of {data.name} must have a direction to learn, got only zeros"
        raise ValueError(msg)
    share = spectrum.left[:, moves].T @ targets
    noise, source = _noise(noise_variance, targets, share)
    outputs = targets.shape[1]
    seen = np.asarray((share**2).sum(axis=1))
    if outputs * noise >= seen.max():
        msg = (
            f"noise_variance of {data.name} must be below the energy of a label in the strongest "
            f"direction, {seen.max() / outputs:g}, got {noise:g} ({source}): no signal is left"
        )
        raise ValueError(msg)
    energy = np.clip(seen - outputs * noise, 0.0, None)[None]
    signals = Signals(spectrum.eigenvalues[moves], energy, np.array([outputs * noise]), len(data.X))
    return Measured(signals, seen, noise, source)


def _noise(given: float | None, targets: Array, share: Array) -> tuple[float, str]:
    """Noise variance of one label, and where it comes from."""
    if given is not None:
        return given, "given"
    samples, modes = len(targets), len(share)
    if samples > modes:
        outside = max(float((targets**2).sum() - (share**2).sum()), 0.0)
        left = outside / ((samples - modes) * targets.shape[1])
        return left, "estimated from what X can not explain"
    # nothing lies outside the span: the weakest quarter of the directions is taken for noise
    weakest = share[-max(1, modes // 4) :]
    return float((weakest**2).mean()), "estimated from the weakest quarter of the directions"
