"""Two networks of the user's own, compared sample by sample: a student and its teacher.

From logits alone, as they come out of any framework, in two lines:

    >>> import numpy as np, tempfile
    >>> from figures.rendering import render
    >>> rng = np.random.default_rng(0)
    >>> labels = rng.integers(0, 10, 500)
    >>> teacher_logits = rng.standard_normal((500, 10)) + 3 * np.eye(10)[labels]
    >>> student_logits = 1.5 * teacher_logits + rng.standard_normal((500, 10))
    >>> out = tempfile.mkdtemp()
    >>> result = compare(teacher_logits, student_logits, labels)
    >>> [path.name for path in render("comparison", result, out)]
    ['comparison.svg', 'comparison.pdf']

``result.findings`` say in sentences what was found, ``result.save("out")`` keeps it for ``stillroom
report``, and ``stillroom compare teacher.npy student.npy`` does all of this.
"""

import re
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deep.records.provenance import provenance
from sims.parts import comparison_scores as scores
from sims.parts.comparison_findings import Said, findings
from sims.parts.comparison_inputs import Networks, networks
from sims.parts.comparison_samples import Samples
from sims.parts.comparison_samples import samples as looked_at
from sims.parts.comparison_slopes import SIDES, View, affordable, view
from sims.results import Result, from_entry, result_key, store_of
from sims.runner import Finished
from theory import checks
from theory.labels.confidence import UnderfitDissection, dissect_underfit
from theory.statistics import Interval
from theory.statistics.interval import nominal

EXPERIMENT = "comparison"
_PAIR = ("teacher", "student")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")


@dataclass(frozen=True, slots=True)
class Config:
    """How to compare. Every number has the paper's value or is a matter of precision."""

    name: str = ""
    """What to call the comparison, to tell it from others; letters, digits, ``.``, ``_``, ``-``."""
    fraction: float = 0.25
    """Share of the samples that count as those of which the teacher is least (or most) sure."""
    level: float = 0.95
    """Nominal coverage of the intervals."""
    bins: int = 15
    """Bins of the reliability diagram and of the calibration error."""
    resamples: int = 1000
    """Resamples of the bootstrap; of more than 400,000 samples fewer are drawn, at least 200."""
    temperature: float = 1.0
    """All logits are divided by it."""
    class_names: tuple[str, ...] = ()
    """What to call the classes; their numbers if empty."""
    seed: int = 0
    """Of the bootstrap."""

    def __post_init__(self) -> None:
        if self.name and not _NAME.fullmatch(self.name):
            msg = (
                "name must be up to 60 letters, digits, '.', '_' and '-', the first a letter or a "
                f"digit, got {self.name!r}"
            )
            raise ValueError(msg)
        share = checks.scalar("fraction", self.fraction)
        if not 0 < share <= 0.5:
            msg = f"fraction must be in (0, 0.5], got {share:g}"
            raise ValueError(msg)
        nominal(self.level)
        checks.integer("bins", self.bins, minimum=2)
        checks.integer("resamples", self.resamples, minimum=20)
        checks.integer("seed", self.seed)
        if not 1e-6 <= checks.temperature("temperature", self.temperature) <= 1e6:
            msg = f"temperature must be from 1e-6 to 1e6, got {self.temperature:g}"
            raise ValueError(msg)
        object.__setattr__(self, "class_names", tuple(map(str, self.class_names)))


def compare(
    teacher: ArrayLike,
    student: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    control: ArrayLike | None = None,
    config: Config | None = None,
    **options: Any,  # noqa: ANN401  # the fields of Config
) -> Result:
    """Compare a student with its teacher.

    Args:
        teacher: Logits of shape ``(n, classes)``, or ``(seeds, n, classes)`` for several training
            runs on the same samples. Any real dtype; a PyTorch tensor will do.
        student: The same of the student, in the same order of samples. One teacher may have several
            students.
        labels: True classes from 0, shape ``(n,)``. Without them there is no accuracy, no
            calibration and no dissection.
        control: Logits of a network like the student that was trained without the teacher. A slope
            is to be read against the control's: two independent networks have one below 1.
        config: How to compare; or its fields, as keywords.
        **options: Fields of `Config`.

    Returns:
        A result of the experiment ``comparison``, which the figure of that name draws. Its arrays
        hold nothing that grows with the number of samples.

    Raises:
        ValueError: If shapes disagree, rows are not finite, probabilities were handed in for
            logits, labels are out of range or off by one, or an option is wrong.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> teacher = rng.standard_normal((200, 2))
        >>> result = compare(teacher, 2 * teacher)
        >>> result.array("pair_values")[0].round(6)  # of two classes the slope is the factor
        array([2., 2., 2.])
    """
    chosen = replace(config or Config(), **options)
    return _compared(networks(teacher, student, labels, control), chosen)


def finish(
    given: Networks, config: Config, *, out: Path | None = None, fresh: bool = False
) -> Finished:
    """Compare and store under ``out``, or fetch what the same files and options gave before.

    Raises:
        ValueError: As `compare`.
    """
    if out is None:
        return Finished(_compared(given, config), None, fetched=False)
    asked = _asked(given, config)
    key, store = result_key(EXPERIMENT, asked), store_of(out, EXPERIMENT)
    made: list[Result] = []

    def make() -> tuple[Any, dict[str, Any]]:
        made.append(_compared(given, config))
        return made[0].arrays, made[0].record()

    if fresh:
        arrays, record = make()
        store.put(key, arrays=arrays, record=record)
        return Finished(made[0], store.path(key), fetched=False)
    entry = store.get_or_make(key, make)
    result = made[0] if made else from_entry(entry)
    return Finished(result, store.path(key), fetched=not made)


def _asked(given: Networks, config: Config) -> dict[str, Any]:
    """What names the comparison: how, and of what content."""
    seeds, samples, classes = given.shape
    fields = {name: getattr(config, name) for name in Config.__dataclass_fields__}
    shape = {"seeds": seeds, "samples": samples, "classes": classes}
    return {**fields, **shape, "digests": given.digests}


def _compared(given: Networks, config: Config) -> Result:
    begin = time.perf_counter()
    names = config.class_names
    if names and len(names) != given.shape[2]:
        msg = f"class_names must be one for each of {given.shape[2]} classes, got {len(names)}"
        raise ValueError(msg)
    found = looked_at(given, config.temperature)
    _warn_of_chance(found)
    if found.labels is not None:
        _warn_of_labels(found)
    rng = np.random.default_rng(config.seed)
    views = _views(found, config, rng)
    measures = scores.of_networks(found, config.level)
    pairs = scores.of_pair(found, views, config.level)
    arrays = _drawn(found, views, config)
    arrays |= _tables(found, measures, pairs, config)
    arrays |= scores.by_class(found, given.shape[2])
    arrays["class_names"] = np.array(names or [str(k) for k in range(given.shape[2])])
    underfit = None
    if found.labels is not None:
        underfit = _dissected(found, config)
        arrays |= _dissection(underfit, found.labels.size)
        arrays |= {
            f"reliability_{role}": scores.reliability(
                network, found.right(role), config.bins, config.level
            )
            for role, network in found.networks.items()
        }
    said = _said(given, config, found, views, measures, pairs, underfit)
    source = provenance(seed=config.seed, device="cpu", duration=time.perf_counter() - begin)
    return Result(
        EXPERIMENT, _asked(given, config), arrays, findings(said), source, label=config.name
    )


def _views(found: Samples, config: Config, rng: np.random.Generator) -> dict[str, View]:
    """On the class that the teacher prefers, and on the true class, by their words."""
    names = {"": "confidence"}
    if found.labels is not None:
        names[" (true class)"] = "confidence_true"
    return {
        words: view(
            found, name, rng=rng, fraction=config.fraction, level=config.level,
            resamples=config.resamples,
        )
        for words, name in names.items()
    }  # fmt: skip


def _drawn(found: Samples, views: dict[str, View], config: Config) -> dict[str, NDArray[Any]]:
    wrong = None
    if found.labels is not None:
        wrong = ~(found.right("teacher") & found.right("student"))
    arrays: dict[str, NDArray[Any]] = {}
    for suffix, one in zip(("", "_true"), views.values(), strict=False):
        arrays |= one.arrays(suffix, wrong)
    arrays["divergence_groups"] = scores.divergence_by_confidence(found, config.level)
    first = views[""].teacher
    arrays["resamples"] = np.array(affordable(config.resamples, first, config.fraction))
    return arrays


def _tables(
    found: Samples,
    measures: dict[str, dict[str, Interval]],
    pairs: dict[str, Interval],
    config: Config,
) -> dict[str, NDArray[Any]]:
    """Rows of the two tables: of each network (rows, roles, 3), and of the pair (rows, 3)."""
    roles = [*found.networks, "difference"]
    rows = {
        name: [scores.row(values.get(role)) for role in roles] for name, values in measures.items()
    }
    if found.labels is not None:
        for name, of_role in scores.calibration(found, config.bins).items():
            gap = of_role["student"] - of_role["teacher"]
            values = [*of_role.values(), gap]
            rows[name] = [(value, np.nan, np.nan) for value in values]
    return {
        "roles": np.array(roles),
        "measures": np.array(list(rows)),
        "measure_values": np.array(list(rows.values())),
        "pairs": np.array(list(pairs)),
        "pair_values": np.array([scores.row(one) for one in pairs.values()]),
    }


def _dissected(found: Samples, config: Config) -> UnderfitDissection:
    """All seeds together: the quarter is that of all their points, of the same samples."""
    teacher, student = (found.networks[role] for role in ("teacher", "student"))
    assert found.labels is not None  # noqa: S101  # the caller has looked
    values = (
        teacher.confidence, student.confidence, teacher.prediction, student.prediction, found.labels
    )  # fmt: skip
    parts = dissect_underfit(
        *(value.ravel() for value in values), fraction=config.fraction, level=config.level
    )
    outside, rest = (
        scores.pooled_share(one, len(found.labels)) for one in (parts.outside, parts.outside_rest)
    )
    return replace(parts, outside=outside, outside_rest=rest)


def _dissection(underfit: UnderfitDissection, samples: int) -> dict[str, NDArray[Any]]:
    parts = ("both", "only_student", "only_teacher", "neither")
    groups = (underfit.everyone, underfit.unsure, underfit.underfit)
    table = [[getattr(one, part) if one else np.nan for part in parts] for one in groups]
    ends = [scores.row(one) for one in (underfit.outside, underfit.outside_rest)]
    unsure = underfit.outside_rest.n if underfit.outside_rest else 0
    return {
        "dissection": np.array(table),
        "dissection_samples": np.array([samples, unsure + underfit.count, underfit.count]),
        "dissection_outside": np.array(ends),
    }


def _said(
    given: Networks,
    config: Config,
    found: Samples,
    views: dict[str, View],
    measures: dict[str, dict[str, Interval]],
    pairs: dict[str, Interval],
    underfit: UnderfitDissection | None,
) -> Said:
    bottom, top = (views[""].found[side] for side in SIDES)
    errors = scores.calibration(found, config.bins) if found.labels is not None else {}
    return Said(
        level=config.level,
        bins=config.bins,
        samples=given.shape[1],
        seeds=given.shape[0],
        bottom=bottom,
        top=top,
        underfit=underfit,
        accuracy=measures.get("accuracy"),
        calibration=errors.get(f"ECE, {config.bins} bins"),
        agreement=pairs["agreement on the class"],
        kl=pairs["KL(teacher, student) (nats)"],
    )


def _warn_of_chance(found: Samples) -> None:
    """Say so if teacher and student agree no more often than strangers: rows may be shuffled."""
    first, second = (found.networks[role].prediction for role in _PAIR)
    if strangers := _strangers(first, second):
        warnings.warn(
            f"teacher and student agree on {strangers}: are the rows of both in the same order?",
            stacklevel=4,
        )


def _warn_of_labels(found: Samples) -> None:
    """Say so if neither network is right more often than by chance: labels may be shuffled."""
    assert found.labels is not None  # noqa: S101  # the caller has looked
    of_both = [_strangers(found.networks[role].prediction, found.labels) for role in _PAIR]
    if all(of_both):
        warnings.warn(
            f"the teacher is right on {of_both[0]}, nor is the student: are the labels in the same "
            "order as the rows?",
            stacklevel=4,
        )


def _strangers(first: NDArray[np.int64], second: NDArray[np.int64]) -> str:
    """In words, if two columns of classes agree no more often than by chance."""
    agree = float((first == second).mean())
    size = int(max(first.max(), second.max())) + 1
    shares = [np.bincount(one.ravel(), minlength=size) / one.size for one in (first, second)]
    chance = float(shares[0] @ shares[1])
    spread = np.sqrt(chance * (1 - chance) / first.shape[1])
    varied = max(share.max() for share in shares) < 0.8  # else it could not be told
    if first.shape[1] < 30 or not varied or agree >= chance + 3 * spread:
        return ""
    return f"{agree:.1%} of the samples, no more than by chance ({chance:.1%})"
