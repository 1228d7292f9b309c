"""What there is to choose from: methods, networks, recipes. Listing methods does not load torch."""

import ast
import difflib
import re
from collections.abc import Collection
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from stillroom.errors import UserError

if TYPE_CHECKING:
    from deep.training.recipes import Recipe


def methods() -> list[tuple[str, str]]:
    """Names and titles of the methods, read from their source without loading torch.

    >>> dict(methods())["one_hot"]
    'One-hot labels: cross-entropy of the given class'
    """
    from deep.methods import names

    return [(name, title("deep.methods", name)) for name in names()]


def networks() -> list[tuple[str, str]]:
    """Names of the families and of the networks among them, and what they are.

    >>> dict(networks())["resnet8x4"]
    'cifar_resnet:depth=8,shortcut=projection,width=4'
    """
    from deep import models

    families = [(name, title("deep.models", name)) for name in models.names()]
    specs = {name: models.named(name) for name in models.known() if name not in models.names()}
    return [*families, *((name, written(one.name, one.options)) for name, one in specs.items())]


def recipes() -> list[tuple[str, str]]:
    """Names of the recipes, and how they train."""
    from deep.training import recipes as known

    return [(name, _told(known.recipe(name))) for name in known.names()]


def written(name: str, options: Any) -> str:  # noqa: ANN401 - a mapping, or its pairs
    """A name with options, as the command line takes it.

    >>> written("mlp", {"width": 8, "first_bias": False}), written("resnet20", ())
    ('mlp:width=8,first_bias=no', 'resnet20')
    """
    said = ",".join(f"{key}={_value(value)}" for key, value in dict(options).items())
    return f"{name}:{said}" if said else name


def title(package: str, name: str) -> str:
    """First line of a module's documentation, read without loading it."""
    found = find_spec(f"{package}.{name}")
    source = getattr(found and found.loader, "get_source", None)
    text = ast.get_docstring(ast.parse((source and source(f"{package}.{name}")) or "")) or ""
    return _plain(text.partition("\n")[0].removesuffix("."))


def _plain(text: str) -> str:
    r"""Words without the marks of documentation.

    >>> _plain(r"``depth`` layers: :math:`z = \max(0, s W x)`")
    'depth layers: z = max(0, s W x)'
    """
    return re.sub(r":math:|`|\\(?=[a-z])", "", text)


def require(what: str, given: str, known: Collection[str]) -> None:
    """Check that a name is known.

    Raises:
        UserError: If it is not; the message has the nearest, and all there are.
    """
    if given in known:
        return
    close = difflib.get_close_matches(given, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    msg = f"unknown {what} {given!r}; {hint}known: {', '.join(known)}"
    raise UserError(msg)


def _told(recipe: "Recipe") -> str:
    optimizer, schedule = recipe.optimizer, recipe.schedule
    rate = f"{optimizer.learning_rate:g}"
    if schedule.kind == "steps":
        after = ", ".join(f"{milestone:g}" for milestone in schedule.milestones)
        rate += f" x {schedule.decay:g} after {after}"
    else:
        rate += f" {schedule.kind}"
    warm = f", warm-up {schedule.warmup:g}" if schedule.warmup else ""
    kept = f"; {recipe.validation:.0%} held out" if recipe.validation else ""
    return (
        f"{recipe.epochs:g} epochs of batches of {optimizer.batch}, learning rate {rate}{warm}, "
        f"decay {optimizer.weight_decay:g}; views: {recipe.views}{kept}"
    )


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
