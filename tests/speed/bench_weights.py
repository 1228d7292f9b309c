"""Closed-form weights and predictions against the factorization alone, expm and an ODE solver."""

import numpy as np
import scipy.integrate
import scipy.linalg

from tests.speed.register import bench
from theory.flow.spectrum import Spectrum
from theory.flow.weights import (
    student_predictions,
    student_weights,
    teacher_predictions,
    teacher_weights,
)


def _problem(samples, features, outputs):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((samples, features)) / np.sqrt(features)
    return X, rng.standard_normal((samples, outputs))


@bench("teacher and student at 200 times, n=2000 p=5000 K=10", at_most=1.6, repeats=3)
def weights_at_200_times():
    X, y = _problem(2000, 5000, 10)
    times = np.logspace(-2, 3, 200)

    def ours():
        spectrum = Spectrum.from_data(X)
        return (
            teacher_weights(spectrum, y, times),
            student_weights(spectrum, y, 10.0, times),
            teacher_predictions(spectrum, y, times),
            student_predictions(spectrum, y, 10.0, times),
        )

    def alone():
        return scipy.linalg.svd(X, full_matrices=False, lapack_driver="gesdd")

    return {"SVD alone": alone, "stillroom": ours}


def _predictions_at_20_times():
    """Eigenvalues i^-1.5, followed from the first to nearly the last of them being learned."""
    rng = np.random.default_rng(0)
    samples, features, outputs = 500, 1250, 10
    left, _ = np.linalg.qr(rng.standard_normal((samples, samples)))
    right, _ = np.linalg.qr(rng.standard_normal((features, samples)))
    X = (left * np.arange(1.0, samples + 1) ** -0.75) @ right.T
    y = rng.standard_normal((samples, outputs))
    times = np.logspace(0, 4, 20)

    def ours():
        return teacher_predictions(Spectrum.from_data(X), y, times)

    return X, y, times, ours


@bench(
    "predictions at 20 times against scipy expm of the Gram matrix, n=500", at_least=6, repeats=3
)
def against_expm():
    X, y, times, ours = _predictions_at_20_times()

    def expm():
        gram = X @ X.T
        return [y - scipy.linalg.expm(-time * gram) @ y for time in times]

    np.testing.assert_allclose(ours(), expm(), atol=1e-8)
    return {"scipy expm": expm, "stillroom": ours}


@bench("predictions at 20 times against solve_ivp to 1e-8, n=500", at_least=30, repeats=3)
def against_solve_ivp():
    X, y, times, ours = _predictions_at_20_times()

    def integrate():
        gram = X @ X.T

        def velocity(_, flat):
            return (gram @ (y - flat.reshape(y.shape))).ravel()

        solution = scipy.integrate.solve_ivp(
            velocity, (0, times[-1]), np.zeros(y.size), t_eval=times, rtol=1e-8, atol=1e-8
        )
        return solution.y.T.reshape(len(times), *y.shape)

    np.testing.assert_allclose(ours(), integrate(), atol=1e-5)
    return {"solve_ivp": integrate, "stillroom": ours}
