"""The rows of the benchmark: every method there is, and variants that a paper has beside it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from deep import methods
from deep.method import MethodSpec, Option

BASELINE = "one_hot"
KINDS = ("labels", "teacher", "itself", "truth")
"""What teaches beside the labels: nothing, a trained network, the student's own past or average,
or the true law of the label, which no one has in practice."""
SOURCE = re.compile(r"(?:Ren|Zhou|Zhang|Wang|Nagarajan) \d{4}")
"""One of the five papers, as the documentation of a method names it."""

Options = dict[str, Option]

WORDS: dict[str, str] = {
    "beta_smoothing": "Beta smoothing",
    "born_again": "born again, generation 1",
    "early_kd": "early KD",
    "early_stopped_kd": "early-stopped teacher",
    "exclude_regularization": "KD without regularization samples",
    "filter_kd": "Filter-KD",
    "ground_truth": "true law of the label",
    "kd": "KD",
    "late_kd": "late KD",
    "lsr": "LSR",
    "lsrkd": "LsrKD",
    "lsrkd_tc": "LsrKD-TC",
    "map_distillation": "MAP distillation",
    "masked_kd": "masked KD",
    "mixed_regularization": "KD with some regularization samples",
    "mrkd": "MrKD-1",
    "mrkd_tc": "MrKD-3-TC",
    "one_hot": "one-hot labels",
    "only_regularization": "KD on regularization samples only",
    "parameter_average": "average of the teacher",
    "random_beta": "random Beta smoothing",
    "self_distillation": "self-distillation",
    "tf_kd": "Tf-KD",
    "wsl": "weighted soft labels",
}
"""What to call a method; one that is not here is called by its name."""

VARIANTS: dict[str, tuple[tuple[str, Options], ...]] = {
    "born_again": (
        ("born again, generation 2", {"generation": 2}),
        ("born again, generation 3", {"generation": 3}),
    ),
    "masked_kd": (
        ("masked KD, renormalized", {"variant": "renormalized"}),
        ("masked KD, as printed", {"variant": "printed"}),
        ("masked KD, detached", {"variant": "detach"}),
    ),
    "mrkd": (
        ("MrKD-3", {"copies": 3}),
        # 2.5 of 200 epochs, as a share of the 30 that the recipe has
        ("MrKD-5", {"copies": 5, "interval": 0.375}),
    ),
    "self_distillation": (("self-distillation, both tempered", {"tempered": "both"}),),
    "wsl": (("weighted soft labels, sigmoid", {"form": "sigmoid"}),),
}
"""Further rows of a method; one that is the method's default takes the place of that row."""
READINGS = frozenset({"masked KD, as printed", "masked KD, detached"})
"""Rows that read a printed formula in another way, unless the method has it as its default."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: a method with its hyper-parameters."""

    method: MethodSpec
    label: str
    """What to call it."""
    source: str
    """Author and year of the paper whose values it has; empty for the baseline."""
    kind: str
    """What teaches beside the labels, one of `KINDS`."""
    needs: str
    """The same in words."""
    reading: bool
    """Whether it only takes the paper's formula in another way."""


def rows(names: Sequence[str] = ()) -> list[Row]:
    """A row for each method, with the papers' values for digits, and for its variants.

    Args:
        names: Methods; all there are if none is named.

    Raises:
        ValueError: If there is no method of that name.

    >>> [row.label for row in rows(("mrkd", "lsr"))]
    ['MrKD-1', 'MrKD-3', 'MrKD-5', 'LSR']
    """
    found: list[Row] = []
    for name in names or methods.names():
        usual = methods.spec(name, data="digits")
        variants = {
            methods.spec(name, data="digits", **options): label
            for label, options in VARIANTS.get(name, ())
        }
        if usual not in variants:
            variants = {usual: WORDS.get(name, name.replace("_", " ")), **variants}
        for spec, label in variants.items():
            kind, needs = _needed(methods.get(name).needs(methods.hyper(spec)))
            other = label in READINGS and spec != usual
            found.append(Row(spec, label, source(name), kind, needs, other))
    return found


def source(name: str) -> str:
    """The paper that the documentation of a method names first.

    >>> source("wsl"), source("one_hot")
    ('Zhou 2021', '')
    """
    described = import_module(f"deep.methods.{name}").__doc__ or ""
    named = SOURCE.search(described)
    return named[0] if named else ""


def _needed(needs: Any) -> tuple[str, str]:  # noqa: ANN401 - deep.method.Needs
    """What teaches, as a kind and in words."""
    if needs.posterior:
        return "truth", "true law"
    if needs.teacher is not None:
        words = {
            "final": "teacher",
            "best": "teacher, best epoch",
            "average": "average of a teacher",
            "table": "table of a teacher",
        }
        return "teacher", words[needs.teacher]
    if needs.past is not None:
        copies = needs.past.copies
        return "itself", f"{copies} past cop{'y' if copies == 1 else 'ies'}"
    return ("itself", "own average") if needs.average is not None else ("labels", "labels alone")
