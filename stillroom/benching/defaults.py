"""What is meant where an option is not given."""

import os
from pathlib import Path

_SMALL = ("digits", "mnist", "gaussian")
_NORMALIZATION = {"digits": "unit", "mnist": "mnist", "gaussian": "gaussian", "synthetic": "unit"}


def out(given: Path | None) -> Path:
    """The root of what is made at run time, present or not."""
    return given or Path(os.environ.get("STILLROOM_OUT") or "out")


def network_of(data: str) -> str:
    """The student's network."""
    return "mlp" if data in _SMALL else "resnet20"


def recipe_of(data: str) -> str:
    """The recipe."""
    if data == "gaussian":
        return "ren_toy"
    return "digits" if data in _SMALL else "crd"


def normalization_of(data: str, recipe: str) -> str:
    """The normalization: of the images where the recipe's is one of other images.

    >>> normalization_of("cifar10", "cifar100"), normalization_of("cifar100", "overhaul")
    ('cifar10', 'overhaul')
    """
    if data == "cifar10" and recipe == "cifar100":
        return data
    if data in ("cifar10", "cifar100") and recipe == "unit":
        return data
    return _NORMALIZATION.get(data, recipe)
