"""What an experiment found: arrays, config, findings and where they came from.

A result is stored at ``<out>/results/<experiment>/<key>``. The key is the digest of the
experiment's name, its config, the version of this distribution and the source of all that
computes (every ``.py`` file of ``theory``, ``deep`` and ``sims``), so that editing a formula
never serves a result of the old one. A file named in the config counts by its content, and image
sets from the data root count by theirs, wherever the root lies.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from deep.records.encoding import content_key, plain
from deep.records.provenance import provenance, version
from deep.records.store import Entry, Store, storable

_HOUSE = Path(__file__).resolve().parents[1]
_COMPUTE = ("theory", "deep", "sims")
_COMMANDS = {"comparison": "stillroom compare TEACHER STUDENT"}  # what no experiment makes

Folder = str | PathLike[str]


class NoResult(ValueError):
    """There is no stored result of what was asked for."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One plain sentence with its numbers.

    Example:
        >>> Finding("The student gains 12 % over its teacher.", holds=True, value=0.12).holds
        True
    """

    text: str
    """The sentence, true as it stands, whatever the outcome."""
    holds: bool | None = None
    """Whether the claim it tests holds; None where nothing is claimed."""
    value: float | None = None
    """The number behind it."""
    low: float | None = None
    """Lower end of the interval of ``value``."""
    high: float | None = None
    """Upper end of the interval of ``value``."""

    def __post_init__(self) -> None:
        if not str(self.text).strip():
            msg = f"text of a finding must be a sentence, got {self.text!r}"
            raise ValueError(msg)
        if self.holds is not None:
            object.__setattr__(self, "holds", bool(self.holds))
        for name in ("value", "low", "high"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, float(getattr(self, name)))


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What an experiment found, as stored.

    Example:
        >>> import numpy as np
        >>> Result("squares", {"up_to": 3}, {"squares": np.arange(4) ** 2}).array("squares")
        array([0, 1, 4, 9])
    """

    experiment: str
    """Name of the experiment, as ``sims.experiments.names()`` lists it."""
    config: Mapping[str, Any]
    """The config asked for: a dataclass is turned into a dictionary, tuples into lists."""
    arrays: Mapping[str, NDArray[Any]]
    """Numbers and text by name; all that a figure draws."""
    findings: tuple[Finding, ...] = ()
    """What was found, in plain sentences."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Where it came from; filled in when it is stored."""
    label: str = ""
    """What tells it from other results of its kind that are to be kept beside it, if anything."""

    def __post_init__(self) -> None:
        if not str(self.experiment).isidentifier():
            msg = f"experiment must be the name of a module, got {self.experiment!r}"
            raise ValueError(msg)
        config = plain(self.config)
        if not isinstance(config, dict):
            msg = f"config must be a dataclass or a dictionary, got {type(self.config).__name__}"
            raise ValueError(msg)  # noqa: TRY004  # bad input is a ValueError throughout
        object.__setattr__(self, "config", config)
        object.__setattr__(self, "arrays", storable(self.arrays))
        object.__setattr__(self, "findings", tuple(self.findings))
        object.__setattr__(self, "provenance", plain(self.provenance))

    @property
    def name(self) -> str:
        """The experiment, and the label where there is one.

        Example:
            >>> Result("comparison", {}, {}, label="resnet").name
            'comparison-resnet'
        """
        return f"{self.experiment}-{self.label}" if self.label else self.experiment

    @property
    def headlines(self) -> tuple[Finding, ...]:
        """What a summary says: the first finding, and all that do not hold."""
        failed = (finding for finding in self.findings[1:] if finding.holds is False)
        return (*self.findings[:1], *failed)

    def array(self, name: str) -> NDArray[Any]:
        """An array by name.

        Raises:
            ValueError: If there is none of that name; the message lists those there are.
        """
        if name not in self.arrays:
            msg = f"result of {self.experiment} has no array {name!r}; it has {_list(self.arrays)}"
            raise ValueError(msg)
        return self.arrays[name]

    def record(self) -> dict[str, Any]:
        """All but the arrays, as stored."""
        named = {"label": self.label} if self.label else {}
        return {
            **named,
            "experiment": self.experiment,
            "config": self.config,
            "findings": [plain(finding) for finding in self.findings],
            "provenance": self.provenance or provenance(),
        }

    def save(self, out: Folder) -> Path:
        """Store under ``out/results``, in place of an earlier result of the same key.

        Returns:
            The folder it lies in.
        """
        inputs = str(self.provenance.get("inputs", ""))
        key = result_key(self.experiment, self.config, inputs=inputs)
        store = store_of(out, self.experiment)
        store.put(key, arrays=self.arrays, record=self.record())
        return store.path(key)


def store_of(out: Folder, experiment: str) -> Store:
    """Where the results of an experiment lie."""
    return Store(Path(out) / "results" / experiment, check=from_entry)


def result_key(experiment: str, config: object, *, inputs: str = "") -> str:
    """The key of a result: see the module's description.

    Args:
        experiment: Name of the experiment.
        config: A dataclass or its fields.
        inputs: Digest of files that the config does not name, as `Experiment.inputs` gives it.
    """
    content = {
        "experiment": experiment,
        "config": plain(config),
        "version": version(),
        "source": source_digest(),
    }
    return content_key({**content, "inputs": inputs} if inputs else content)


@cache
def source_digest() -> str:
    """Digest of every source file of ``theory``, ``deep`` and ``sims``, taken once a process."""
    digest = hashlib.sha256()
    for package in _COMPUTE:
        for path in sorted((_HOUSE / package).rglob("*.py")):
            digest.update(path.relative_to(_HOUSE).as_posix().encode() + b"\0")
            digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


def load(
    out: Folder,
    experiment: str,
    *,
    size: str | None = None,
    key: str | None = None,
    label: str | None = None,
) -> Result:
    """The latest stored result of an experiment, of a size if one is named, or that of a key.

    Damaged results are set aside with a warning and passed over, and so, without one, are those of
    other experiments, which came here when a folder was copied.

    Args:
        out: The root of what is made at run time.
        experiment: Name of the experiment.
        size: ``"smoke"``, ``"demo"``, ``"laptop"`` or ``"paper"``.
        key: The beginning of a key, as the folders under ``out/results/<experiment>`` are named.
        label: That of the result; an empty one asks for a result without a label.

    Raises:
        NoResult: If there is none.
    """
    store = store_of(out, experiment)
    dated = []
    for found, record in _records(store, experiment):
        if key is not None and not found.startswith(key):
            continue
        if label is not None and record.get("label", "") != label:
            continue
        source = record.get("provenance")
        source = source if isinstance(source, dict) else {}
        sizes = source.get("sizes")
        if size is None or size in (sizes if isinstance(sizes, list) else ()):
            dated.append((str(source.get("created", "")), found))
    for _, found in sorted(dated, reverse=True):
        entry = store.get(found)
        if entry is not None:
            return from_entry(entry)
    what = (("size", size), ("key", key), ("label", label))
    asked = "".join(f" of {kind} {name}" for kind, name in what if name)
    msg = (
        f"no result of {experiment}{asked} under {Path(out) / 'results'}; "
        f"run `{command_for(experiment, size=size)}`"
    )
    raise NoResult(msg)


def command_for(experiment: str, *, size: str | None = None) -> str:
    """The command that makes a result.

    Example:
        >>> command_for("eigenspace", size="demo")
        'stillroom sim eigenspace --size demo'
        >>> command_for("comparison")
        'stillroom compare TEACHER STUDENT'
    """
    given = f" --size {size}" if size else ""
    return _COMMANDS.get(experiment, f"stillroom sim {experiment}{given}")


def latest(out: Folder) -> dict[str, Result]:
    """The latest stored result of each experiment and label that has one, by their name."""
    root = Path(out) / "results"
    names = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    found = {}
    for experiment in names:
        records = _records(store_of(out, experiment), experiment)
        for label in sorted({str(record.get("label", "")) for _, record in records}):
            try:
                result = load(out, experiment, label=label)
            except NoResult:
                continue
            found[result.name] = result
    return found


def _records(store: Store, experiment: str) -> list[tuple[str, dict[str, Any]]]:
    """Keys and records of what lies in the folder of an experiment, and is its own."""
    records = ((key, store.record(key) or {}) for key in store.present())
    return [(key, one) for key, one in records if one.get("experiment", experiment) == experiment]


def from_entry(entry: Entry) -> Result:
    """The result that a stored entry holds.

    Raises:
        KeyError, TypeError, ValueError: If it holds something else.
    """
    record = entry.record
    findings = tuple(Finding(**finding) for finding in record["findings"])
    source = record["provenance"]
    if not isinstance(source, dict):
        msg = f"provenance must be a dictionary, got {type(source).__name__}"
        raise TypeError(msg)
    label = str(record.get("label", ""))
    return Result(record["experiment"], record["config"], entry.arrays, findings, source, label)


def _list(names: Mapping[str, Any]) -> str:
    return ", ".join(sorted(names)) or "none"
