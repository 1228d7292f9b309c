"""Training runs of the benchmark, through the run store, and what of them goes into its result."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deep.method import MethodSpec
from deep.records.trajectories import Trajectories, correction
from sims.parts.threads import one_thread

if TYPE_CHECKING:
    from deep.training.config import RunConfig
    from deep.training.finished import Finished
    from deep.training.runner import Runner

Arrays = dict[str, NDArray[Any]]

TEST = (
    "accuracy",
    "nll",
    "ece_15",
    "brier",
    "agreement",
    "kl_teacher",
    "slope_bottom",
    "slope_top",
)
"""Measures of the last epoch on the test set."""
TRAIN = ("accuracy", "accuracy_true", "correction", "memorized")
"""Measures of the last epoch on the training set: of given labels, of true ones, and of flips."""
COURSE = (
    "test_accuracy",
    "test_nll",
    "validation_accuracy",
    "train_accuracy",
    "regularization_samples",
)
"""What is known of every epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all runs share."""

    width: int
    depth: int
    samples: int | None
    noise: float
    scale: float
    seed: int
    """Of the samples, the flips and the teacher."""


@dataclass(frozen=True, slots=True)
class Job:
    """The seeds of one row, or their teacher."""

    setting: Setting
    method: MethodSpec
    seeds: tuple[int, ...]
    """Of the students; none for the teacher itself."""
    together: bool
    """Whether the seeds are trained at once."""
    out: Path = field(compare=False)
    """Under which the runs are stored; the numbers do not depend on it."""


def trained(job: Job) -> Arrays:
    """Train, or fetch, the runs of a job; arrays with a leading axis of seeds."""
    from deep.training.runner import Runner

    with one_thread():
        runner = Runner(job.out)
        return _arrays(_finished(runner, configs(job), together=job.together))


def configs(job: Job) -> "list[RunConfig]":
    """The runs of a job: one for each seed, or that of the teacher."""
    from deep import methods, models
    from deep.data.spec import DataSpec
    from deep.training.arrange import arranged
    from deep.training.recipes import recipe

    setting = job.setting
    model = models.spec("mlp", width=setting.width, depth=setting.depth)

    def arrange(method: MethodSpec, seed: int) -> "RunConfig":
        return arranged(
            method=method,
            model=model,
            teacher=model,
            recipe=recipe("digits"),
            data=DataSpec(samples=setting.samples, noise=setting.noise, seed=setting.seed),
            teacher_seed=setting.seed,
            scale=setting.scale,
            seed=seed,
        )

    if job.seeds:
        return [arrange(job.method, seed) for seed in job.seeds]
    teacher = arrange(methods.spec("kd", data="digits"), setting.seed).teacher
    return [teacher]  # type: ignore[list-item]  # trained here, not imported


def teaching(job: Job) -> Job:
    """The job of the teacher that the students of ``job`` share."""
    return replace(job, seeds=())


def _finished(runner: "Runner", runs: "Sequence[RunConfig]", *, together: bool) -> "list[Finished]":
    return runner.run_together(runs) if together else [runner.run(run) for run in runs]


def _arrays(runs: "Sequence[Finished]") -> Arrays:
    """What goes into the result, seeds first; nan for what a run has not."""
    each = [_numbers(run) for run in runs]
    return {name: np.stack([numbers[name] for numbers in each]) for name in each[0]}


def _numbers(run: "Finished") -> Arrays:
    measures = run.measures
    last, best = measures["last"], measures["best"]
    found: dict[str, Any] = {
        **{f"test_{name}": last["test"].get(name, np.nan) for name in TEST},
        **{f"train_{name}": last["train"].get(name, np.nan) for name in TRAIN},
        "best_accuracy": best["test"]["accuracy"],
        "best_epoch": best["epoch"],
        "best_test_accuracy": measures["best_test"]["accuracy"],
        "best_test_epoch": measures["best_test"]["epoch"],
        "key": run.key,
    }
    epochs = len(run.arrays["history/test_accuracy"])
    for name in COURSE:
        found[f"course_{name}"] = run.arrays.get(f"history/{name}", np.full(epochs, np.nan))
    found |= _of_flips(run.arrays)
    return {name: np.asarray(value) for name, value in found.items()}


def _of_flips(arrays: Arrays) -> Arrays:
    """Share of the flipped samples predicted as their given and as their true class, by epoch.

    Predictions are those that training made when it visited the sample.
    """
    given, truth = arrays["train_labels"], arrays["train_truth"]
    predicted = Trajectories.from_arrays(arrays).prediction
    found = correction(predicted, given, truth)
    return {
        "course_memorized": found.to_label,
        "course_corrected": found.to_truth,
        "flipped": np.asarray(np.count_nonzero(given != truth)),
        "train_samples": np.asarray(len(given)),
        "test_samples": np.asarray(len(arrays["test_labels"])),
        "classes": np.asarray(arrays["test_logits"].shape[-1]),
    }
