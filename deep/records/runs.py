"""Training runs on disk: finished, in the making, interrupted.

A finished run is an entry of the `Store` under ``<out>/runs``. While it is made it has a folder
``<out>/runs/.working/<key>``, where its checkpoints lie, and whoever makes it holds a lock that a
killed process gives up by dying. So any number of processes may ask for the same run: one makes
it, the others wait and fetch it.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from numpy.typing import ArrayLike

from deep.records.disk import is_held, locked, naming, write_whole
from deep.records.encoding import content_key, dumps, loads, plain
from deep.records.entries import Damaged, Files, is_key, record_of
from deep.records.provenance import provenance
from deep.records.store import Entry, Store

__all__ = ["RUN_VERSION", "Runs", "Summary", "Work"]

RUN_VERSION = 1
"""Raised whenever the numbers of a run change for an equal config: older runs are then others."""

Status = Literal["finished", "running", "interrupted", "damaged"]
_LISTED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What is known of a run without reading its arrays."""

    key: str
    status: Status
    """``"damaged"`` where it cannot be read; `problem` says why."""
    config: dict[str, Any] = field(default_factory=dict)
    """What was asked for, dataclasses as dictionaries; empty where it cannot be read."""
    step: int | None = None
    """Updates made."""
    steps: int | None = None
    """Updates of the whole run."""
    headline: dict[str, float] = field(default_factory=dict)
    """The numbers under ``headline`` in the record."""
    created: str = ""
    """When it was finished, or begun if it is not finished: UTC, ISO 8601."""
    problem: str = ""


class Work:
    """A run in the making; given by `Runs.working`, while its lock is held."""

    def __init__(
        self,
        *,
        key: str,
        folder: Path,
        config: Mapping[str, Any],
        store: Store,
        finished: Entry | None,
    ) -> None:
        self.key = key
        self.folder = folder
        """Where its checkpoints lie; empty at first, and removed once the run is finished."""
        self.finished = finished
        """The finished run, once there is one."""
        self._config = config
        self._store = store
        self._started = time.monotonic()

    def progress(self, step: int, steps: int) -> None:
        """Note how far it is, for `Runs.summaries`: cheap, and a full disk does not stop it."""
        self._require_unfinished()
        text = dumps({"step": int(step), "steps": int(steps)})
        with suppress(OSError):  # it is only shown
            write_whole(self.folder / "progress.json", text.encode(), durable=False)

    def finish(
        self,
        arrays: Mapping[str, ArrayLike],
        record: Mapping[str, Any],
        files: Files | None = None,
    ) -> Entry:
        """Store the finished run and remove its folder.

        Args:
            arrays: Arrays by name.
            record: All else. Unless given, the config is added as ``config``, and where the
                numbers came from as ``provenance``. Those under ``headline``, and ``steps``, are
                shown in summaries.
            files: Further files, as `Store.put` takes them; those in `folder` are moved.

        Raises:
            ValueError: If something cannot be stored, or the run is finished already; nothing is
                lost then.
            OSError: If the disk is full; the folder stays, and the run can be resumed.
        """
        self._require_unfinished()
        known = dict(record)
        if "provenance" not in known:
            known["provenance"] = provenance(duration=time.monotonic() - self._started)
        known.setdefault("config", self._config)
        self.finished = self._store.put(self.key, arrays=arrays, record=known, files=files)
        _remove(self.folder)  # killed before this: the next `working` does it
        return self.finished

    def _require_unfinished(self) -> None:
        if self.finished is not None:
            msg = f"run {self.key[:12]} must not be finished yet; fetch it, or begin another"
            raise ValueError(msg)


class Runs:
    """Training runs under ``<out>/runs``, each made once however many processes ask for it.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> runs = Runs(Path(folder.name))
        >>> config = {"method": "kd", "seed": 0}
        >>> key = runs.key(config)
        >>> with runs.working(key, config) as work:
        ...     if work.finished is None:
        ...         entry = work.finish({"loss": [0.5, 0.25]}, {"headline": {"accuracy": 0.9}})
        >>> runs.get(key).arrays["loss"]
        array([0.5 , 0.25])
        >>> runs.summaries()[0].headline
        {'accuracy': 0.9}
        >>> folder.cleanup()
    """

    def __init__(self, out: Path) -> None:
        self.root = Path(out) / "runs"
        self._store = Store(self.root)

    @staticmethod
    def key(config: object) -> str:
        """Name of the run of a config: equal configs, equal names."""
        return content_key({"run": config, "version": RUN_VERSION})

    def get(self, key: str) -> Entry | None:
        """The finished run, verified, or None.

        A damaged one is set aside with a `Corrupt` warning, and None is returned.
        """
        return self._store.get(key)

    def folder(self, key: str) -> Path:
        """Where the checkpoints of an unfinished run lie, present or not."""
        self._store.path(key)
        return self.root / ".working" / key

    def present(self) -> tuple[str, ...]:
        """Keys of all runs, finished or not, in order."""
        working = self.root / ".working"
        begun = [path.name for path in working.iterdir()] if working.is_dir() else []
        return tuple(sorted({*self._store.present(), *filter(is_key, begun)}))

    def summaries(self) -> list[Summary]:
        """What is known of each run, the newest first; nothing is changed, and nothing waited for.

        Arrays and files are not read, so a run whose arrays are damaged is listed as finished.
        """
        known = [self.summary(key) for key in self.present()]
        return sorted((one for one in known if one), key=lambda one: one.created, reverse=True)

    def summary(self, key: str) -> Summary | None:
        """What is known of one run, or None if there is none.

        Raises:
            ValueError: If ``key`` is not hexadecimal.
        """
        folder = self.folder(key)
        # Once more, should it be replaced or finished between two looks.
        for _ in range(2):
            try:
                return _finished(key, record_of(self._store.path(key), key))
            except FileNotFoundError:
                problem = ""
            except (Damaged, ValueError, OSError) as error:
                problem = str(error)
            if not problem and folder.is_dir():
                running = is_held(self._lock(key))
                if not self._store.path(key).exists():
                    return _unfinished(key, folder, "running" if running else "interrupted")
        return Summary(key=key, status="damaged", problem=problem) if problem else None

    def find(self, prefix: str) -> str:
        """The key that begins with ``prefix``, of a finished run or another.

        Raises:
            ValueError: If there is none, or more than one; the message lists those there are.
        """
        keys = self.present()
        found = [key for key in keys if prefix and key.startswith(prefix)]
        if len(found) == 1 or prefix in found:
            return prefix if prefix in found else found[0]
        if found:
            msg = f"key must name one run, got {prefix!r}, which begins {_some(found)}"
        elif keys:
            msg = f"key must begin that of a run under {self.root}, got {prefix!r}; "
            msg += f"there are {_some(keys)}"
        else:
            msg = f"key must begin that of a run, got {prefix!r}; there are none under {self.root}"
        raise ValueError(msg)

    @contextmanager
    def working(
        self, key: str, config: object, *, say: Callable[[str], object] | None = None
    ) -> Iterator[Work]:
        """Hold the lock of a run while it is made, or wait until whoever makes it is done.

        Args:
            key: As `key` gives it.
            config: What the run is; kept beside its checkpoints and in its record.
            say: Told, once, that another process is training this run, before waiting for it.

        Yields:
            The work to do; ``finished`` is the run if it is there already. Left without
            `Work.finish`, the run is interrupted: its folder stays for the next who asks.

        Raises:
            ValueError: If the config cannot be stored.
            OSError: If the folder may not be written.
        """
        folder = self.folder(key)
        asked = plain(config)
        entry = self.get(key)
        if entry is not None and not folder.exists():  # needs no lock: it may only be read
            yield self._work(key, asked, entry)
            return

        def waiting() -> None:
            if say is not None:
                say("another process is training this run; waiting")

        with locked(self._lock(key), waiting=waiting):
            entry = self.get(key)
            if entry is None:
                _begin(folder, asked)
            else:
                _remove(folder)
            yield self._work(key, asked, entry)

    def _work(self, key: str, config: Mapping[str, Any], entry: Entry | None) -> Work:
        return Work(
            key=key, folder=self.folder(key), config=config, store=self._store, finished=entry
        )

    def _lock(self, key: str) -> Path:
        """Not the store's own lock of this key, which `Store.put` takes."""
        return self.root / ".locks" / f"{key}.working"


def _begin(folder: Path, config: object) -> None:
    """Make the folder of a run, unless it is there already."""
    path = folder / "config.json"
    with naming(path):
        folder.mkdir(parents=True, exist_ok=True)
    for remains in folder.glob(".*.json.*"):  # written aside by a killed process
        remains.unlink(missing_ok=True)
    if _read(path).get("config") != loads(dumps(config)):
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        write_whole(path, dumps({"config": config, "created": now}, indent=1).encode())


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _read(path: Path) -> dict[str, Any]:
    """A JSON file that may be missing or damaged: an empty dictionary then."""
    try:
        held = loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return held if isinstance(held, dict) else {}


def _finished(key: str, record: Mapping[str, Any]) -> Summary:
    config, headline = record.get("config"), record.get("headline")
    source = record.get("provenance")
    progress = {name: _count(record.get(name)) for name in ("step", "steps")}
    steps = progress["steps"]
    return Summary(
        key=key,
        status="finished",
        config=config if isinstance(config, dict) else {},
        step=steps if progress["step"] is None else progress["step"],
        steps=steps,
        headline=_numbers(headline) if isinstance(headline, dict) else {},
        created=str(source.get("created", "")) if isinstance(source, dict) else "",
    )


def _unfinished(key: str, folder: Path, status: Status) -> Summary:
    begun, progress = _read(folder / "config.json"), _read(folder / "progress.json")
    config = begun.get("config")
    known = isinstance(config, dict)
    return Summary(
        key=key,
        status=status if known or status == "running" else "damaged",
        config=config if isinstance(config, dict) else {},
        step=_count(progress.get("step")),
        steps=_count(progress.get("steps")),
        created=str(begun.get("created", "")),
        problem="" if known else "config.json of the unfinished run cannot be read",
    )


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _numbers(held: Mapping[str, Any]) -> dict[str, float]:
    numbers = {name: value for name, value in held.items() if isinstance(value, int | float)}
    return {name: float(value) for name, value in numbers.items()}


def _some(keys: tuple[str, ...] | list[str]) -> str:
    """The first of some keys, shortened."""
    shown = ", ".join(key[:12] for key in keys[:_LISTED])
    return f"{shown} and {len(keys) - _LISTED} more" if len(keys) > _LISTED else shown
