"""A result of the benchmark with made-up numbers, for findings, tables and figures."""

from dataclasses import asdict

import numpy as np

from sims.experiments.digits_benchmark import Config, compared
from sims.parts.benchmark_findings import findings
from sims.results import Result

ROWS = (
    # label, method, source, kind, needs, accuracy, flips by heart, calibration error
    ("KD", "kd", "Zhou 2021", "teacher", "teacher", 0.90, 0.20, 0.12),
    ("true law of the label", "ground_truth", "Ren 2022", "truth", "true law", 0.96, 0.0, 0.25),
    ("one-hot labels", "one_hot", "", "labels", "labels alone", 0.88, 0.40, 0.08),
    ("LSR", "lsr", "Wang 2020", "labels", "labels alone", 0.91, 0.15, 0.20),
    ("label smoothing", "label_smoothing", "Ren 2022", "labels", "labels alone", 0.91, 0.15, 0.20),
    ("MrKD-1", "mrkd", "Wang 2020", "itself", "1 past copy", 0.92, 0.10, 0.22),
    ("Filter-KD", "filter_kd", "Ren 2022", "teacher", "table of a teacher", 0.93, 0.02, 0.30),
    ("masked KD, detached", "masked_kd", "Zhou 2021", "teacher", "teacher", 0.10, 0.1, 0.1),
)
BASELINE, LOST = 2, 7
TESTS, EPOCHS = 500, 20


def arrays(seeds=5, *, spread=0.004, teacher=0.925):
    """All arrays of a result; ``spread`` is how far seeds vary, each method in its own way."""
    rng = np.random.default_rng(0)
    names = ("label", "method", "source", "kind", "needs")
    columns = dict(zip(names, map(np.array, zip(*(row[:5] for row in ROWS), strict=True)),
                       strict=True))  # fmt: skip
    level = np.array([row[5] for row in ROWS])[:, None]
    noise = rng.standard_normal((len(ROWS), seeds)) * spread
    noise[4] = noise[3]  # one training under two names
    last = np.round((level + noise) * TESTS) / TESTS
    ramp = np.linspace(0.2, 1.0, EPOCHS)
    shape = (len(ROWS), seeds)
    found = {
        **columns,
        "reading": columns["method"] == "masked_kd",
        "classes": np.array([10]),
        "flipped": np.array([100]),
        "train_samples": np.array([540]),
        "test_samples": np.array([TESTS]),
        "seeds": np.arange(seeds),
        "noise": np.array([0.2]),
        "test_accuracy": last,
        "best_accuracy": np.round((last + 0.002) * TESTS) / TESTS,
        "best_test_accuracy": last + np.where(level > 0.9, 0.01, 0.03),
        "test_nll": np.broadcast_to(1.5 - level, shape) + np.where(last > 0.9, 0.0, 0.1),
        "test_ece_15": np.broadcast_to([[row[7]] for row in ROWS], shape) + noise,
        "train_memorized": np.clip(np.array([[row[6]] for row in ROWS]) + noise, 0, 1),
        "train_correction": np.clip(1 - np.array([[row[6]] for row in ROWS]) - noise, 0, 1),
        "course_test_accuracy": last[..., None] * ramp,
        "course_memorized": np.clip(np.array([row[6] for row in ROWS]), 0, 1)[:, None, None]
        * ramp * np.ones((1, seeds, 1)),
        "course_regularization_samples": np.where(
            (columns["kind"] == "teacher")[:, None, None], 200.0 * ramp, np.nan
        ) * np.ones((1, seeds, 1)),
        "teacher_test_accuracy": np.asarray(teacher),
        "teacher_best_accuracy": np.asarray(0.9),
        "teacher_best_test_accuracy": np.asarray(0.93),
        "teacher_test_nll": np.asarray(0.4),
        "teacher_test_ece_15": np.asarray(0.1),
        "teacher_train_memorized": np.asarray(0.3),
        "teacher_train_correction": np.asarray(0.65),
        **{
            f"test_{name}": np.where(columns["kind"] == "teacher", value, np.nan)[:, None]
            * np.ones(seeds)
            for name, value in (("agreement", 0.97), ("kl_teacher", 0.1), ("slope_bottom", -0.4))
        },
    }  # fmt: skip
    return found | compared(found["method"], found)


def result(seeds=5, **how):
    """A result of these arrays."""
    made = arrays(seeds, **how)
    return Result("digits_benchmark", asdict(Config(seeds=max(seeds, 2))), made, findings(made))
