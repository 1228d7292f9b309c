"""The runs that are stored, as the tables of the benchmark need them. Loads no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deep.records.entries import Damaged, record_of
from deep.records.runs import Runs, Summary
from stillroom.benching import defaults, labels
from stillroom.errors import UserError

MEASURES = ("last", "best", "best_test")


@dataclass(frozen=True, slots=True)
class Stored:
    """A run, finished or not, or an imported network."""

    summary: Summary
    record: Mapping[str, Any] = field(default_factory=dict)
    """What is stored beside its arrays; empty while it is not finished."""

    @property
    def key(self) -> str:
        """Its name in the store."""
        return self.summary.key

    @property
    def config(self) -> dict[str, Any]:
        """What it is."""
        return self.summary.config

    @property
    def finished(self) -> bool:
        """Whether it is finished, and can be read."""
        return self.summary.status == "finished"

    @property
    def imported(self) -> bool:
        """Whether it is a network from elsewhere."""
        return "imported" in self.config

    @property
    def method(self) -> str:
        """Name of its method; ``imported`` for a network from elsewhere."""
        return "imported" if self.imported else str(self.config.get("method", {}).get("name", "?"))

    @property
    def seed(self) -> int | None:
        """Its seed; None for an imported network."""
        held = self.config.get("seed")
        return held if isinstance(held, int) else None

    @property
    def is_student(self) -> bool:
        """Whether it was asked for, and not trained as the teacher of another."""
        return not self.imported and self.config.get("stream") == "student"

    def accuracy(self, which: str) -> float | None:
        """Test accuracy of ``"last"``, ``"best"`` or ``"best_test"``."""
        return self.measure(which, "accuracy")

    def measure(self, which: str, name: str, split: str = "test") -> float | None:
        """A measure, or None where there is none."""
        held = self.record.get("measures", {}).get(which, {})
        found = held.get(split, held).get(name)
        return float(found) if isinstance(found, int | float) else None

    @property
    def selected(self) -> str:
        """Which accuracy its recipe's authors report: ``"last"`` or ``"best"``.

        A record that does not say so has it of its recipe.
        """
        said = self.record.get("selected") or self.config.get("recipe", {}).get("select")
        return "best" if said == "best" and self.accuracy("best") is not None else "last"

    def best_epoch(self, which: str) -> int | None:
        """The epoch that ``"best"`` or ``"best_test"`` stands for, counted from 1."""
        held = self.record.get("measures", {}).get(which, {}).get("epoch")
        return held if isinstance(held, int) else None


def folder(given: Path | None) -> Path:
    """The root of what is made, which must hold runs.

    Raises:
        UserError: If it holds none.
    """
    out = defaults.out(given)
    if not (out / "runs").is_dir():
        msg = f"no runs under {out / 'runs'}; `stillroom bench run METHOD` makes some"
        raise UserError(msg)
    return out


def every(out: Path) -> list[Stored]:
    """All of them, the newest first."""
    runs = Runs(out)
    return [_read(runs, summary) for summary in runs.summaries()]


def one(out: Path, prefix: str) -> Stored:
    """The run whose key begins with ``prefix``.

    Raises:
        ValueError: If there is none, or more than one.
    """
    runs = Runs(out)
    summary = runs.summary(runs.find(prefix))
    if summary is None:  # removed just now
        msg = f"key must be that of a run, got {prefix!r}, which is gone"
        raise UserError(msg)
    return _read(runs, summary)


def imported(given: Path | None, name: str) -> Stored | None:
    """The imported network of that name, or whose key begins so; None if there is none.

    Raises:
        UserError: If there are several.
    """
    held = _imported(given)
    called = [each for each in held if each.config["imported"].get("name") == name]
    found = called or [each for each in held if len(name) >= 4 and each.key.startswith(name)]
    if len(found) > 1:
        keys = ", ".join(each.key[:12] for each in found)
        msg = f"teacher must name one network, got {name!r}, which several have: {keys}"
        raise UserError(msg)
    return found[0] if found else None


def imported_names(given: Path | None) -> list[str]:
    """What imported networks are called: their names, or keys where they have none."""
    held = _imported(given)
    return [each.config["imported"].get("name") or each.key[:8] for each in held]


def matching(
    runs: Sequence[Stored],
    *,
    method: str | None = None,
    data: str | None = None,
    student: str | None = None,
    teacher: str | None = None,
    scale: float | None = None,
    recipe: str | None = None,
    status: str | None = None,
) -> list[Stored]:
    """Those runs that are as asked for, as far as it is asked for."""

    def fits(run: Stored) -> bool:
        config = run.config
        asked = (
            (method, lambda: run.method),
            (data, lambda: labels.data(config["data"]).partition(":")[0]),
            (student, lambda: labels.network(config["model"])),
            (teacher, lambda: labels.teacher(config)),
            (scale, lambda: config.get("scale")),
            (recipe, lambda: config.get("recipe", {}).get("name")),
            (status, lambda: run.summary.status),
        )
        known = bool(config) or all(wanted is None for wanted, _ in asked[:-1])
        return known and all(wanted is None or found() == wanted for wanted, found in asked)

    return [run for run in runs if fits(run)]


def _imported(given: Path | None) -> list[Stored]:
    out = defaults.out(given)
    if not (out / "runs").is_dir():
        return []
    return [each for each in every(out) if each.imported and each.finished]


def _read(runs: Runs, summary: Summary) -> Stored:
    if summary.status != "finished":
        return Stored(summary)
    try:
        return Stored(summary, record_of(runs.root / summary.key, summary.key))
    except (Damaged, OSError, ValueError) as error:
        return Stored(Summary(key=summary.key, status="damaged", problem=str(error)))
