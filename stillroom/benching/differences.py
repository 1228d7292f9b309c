"""What tells stored runs apart: all parts of their configs that differ. Loads no torch."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deep.records.encoding import dumps
from stillroom.benching import labels

Config = Mapping[str, Any]
WITH_TEACHER = ("student_init", "order", "teacher_statistics", "teacher_view", "teacher_dtype")
"""What has no meaning for a run without a teacher."""
_FOLDED = ("recipe", "optimizer", "schedule", "keeps", "data")
"""Parts whose name is not said: ``recipe.optimizer.batch`` is called ``batch``."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One number or word of a config."""

    text: str
    within: str = ""
    """What a label says already: only where two configs agree in this, the leaf tells more."""


def apart(configs: Sequence[Config]) -> list[dict[str, str]]:
    """For each config what tells it from the others, beside methods, networks and seeds.

    Names are those of the options of ``stillroom bench run`` where there is one. Of recipes with
    different names only the name is said.

    >>> [one, other] = [
    ...     {"model": {"name": "mlp", "options": []}, "scale": scale, "seed": 0}
    ...     for scale in (0.1, 1.0)
    ... ]
    >>> apart([one, other, other])
    [{'scale': '0.1'}, {'scale': '1'}, {'scale': '1'}]
    """
    every = [dict(_leaves(config)) for config in configs]
    seen: dict[tuple[str, str], set[str]] = {}
    for held in every:
        for name, leaf in held.items():
            seen.setdefault((name, leaf.within), set()).add(leaf.text)
    return [
        {name: leaf.text for name, leaf in held.items() if len(seen[name, leaf.within]) > 1}
        for held in every
    ]


def called(configs: Sequence[Config]) -> list[str]:
    """A label for each config: its method, and what tells it from the others; no two are alike.

    Configs that differ in nothing but the seed must be given once.
    """
    teachers = {text for config in configs if (text := labels.teacher(config))}
    found = []
    for config, rest in zip(configs, apart(configs), strict=True):
        taught_by = labels.teacher(config) if len(teachers) > 1 else ""
        by = [f"by {taught_by}"] if taught_by else []
        found.append(", ".join([labels.method(config["method"]), *by, *said(rest)]))
    return numbered(found)


def said(rest: Mapping[str, str]) -> list[str]:
    """Names and values, as options are written."""
    return [f"{name}={value}" for name, value in rest.items()]


def numbered(names: Sequence[str]) -> list[str]:
    """Names, those that several have with a number each.

    >>> numbered(["kd", "lsr", "kd"])
    ['kd (1)', 'lsr', 'kd (2)']
    """
    often, count = Counter(names), Counter[str]()
    found = []
    for name in names:
        count[name] += 1
        found.append(name if often[name] == 1 else f"{name} ({count[name]})")
    return found


def _leaves(config: Config) -> Iterator[tuple[str, Leaf]]:
    """All that counts of a config, then of its teacher, and of that one's teacher."""
    method = dumps({"": config.get("method")})  # a teacher keeps what its student's method needs
    taught_by, alone = config.get("teacher"), not config.get("teacher")
    own = {k: v for k, v in config.items() if k != "seed" and not (alone and k in WITH_TEACHER)}
    yield from _node(own, "")
    before = ""
    while taught_by:
        before += "teacher_"
        held = {k: v for k, v in taught_by.items() if k not in ("data", "stream")}
        yield from _node(held, before, keeps_of=method, by=labels.teacher(config))
        method = dumps({"": taught_by.get("method")})
        if taught_by.get("teacher"):  # no label of a run says who taught its teacher
            yield f"{before}teacher", Leaf(labels.teacher(taught_by))
        taught_by = taught_by.get("teacher")


def _node(
    config: Config, before: str, *, keeps_of: str = "", by: str = ""
) -> Iterator[tuple[str, Leaf]]:
    recipe = str(config.get("recipe", {}).get("name", ""))
    first = (("recipe", "name"), ("scale",))
    for path, value in sorted(_flat(config), key=lambda leaf: leaf[0] not in first):
        top, last = path[0], path[-1]
        if top in ("model", "method", "teacher", "imported"):
            continue
        within = {"recipe": recipe, "keeps": keeps_of, "weights": by, "normalization": by}
        implied = "" if path == ("recipe", "name") else within.get(top, "")
        yield before + _name(path), Leaf(_text(value, short=last == "weights"), implied)


def _flat(held: Config, before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in held.items():
        if isinstance(value, Mapping):
            yield from _flat(value, (*before, name))
        else:
            yield (*before, name), value


def _name(path: tuple[str, ...]) -> str:
    """What an option for it is called, or would be.

    >>> _name(("recipe", "name")), _name(("recipe", "optimizer", "batch")), _name(("data", "seed"))
    ('recipe', 'batch', 'data_seed')
    """
    if path[-1] == "name" and len(path) > 1:
        return path[-2]
    if path[-2:] == ("data", "seed"):
        return "data_seed"
    if path[-2:] == ("schedule", "kind"):
        return "schedule"
    kept = [part for part in path[:-1] if part not in _FOLDED]
    return "_".join([*kept, path[-1]])


def _text(value: object, *, short: bool) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, list):
        return "/".join(_text(one, short=False) for one in value) or "none"
    return str(value)[:12] if short else str(value)
