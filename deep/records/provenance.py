"""Where a number came from: versions, commit, machine, duration."""

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

_HOUSE = Path(__file__).resolve().parents[2]
_LIBRARIES = ("stillroom", "numpy", "scipy", "torch", "scikit-learn")


def provenance(
    *,
    config: Mapping[str, Any] | None = None,
    seed: int | None = None,
    device: str = "cpu",
    duration: float | None = None,
) -> dict[str, Any]:
    """All that says where a number came from, ready to be stored beside it.

    Args:
        config: What was asked for, where the record does not hold it already.
        seed: The seed, where there is one.
        device: Where it was computed, such as ``"cpu"`` or ``"cuda:0"``.
        duration: Seconds it took.

    Returns:
        A dictionary with ``created`` (UTC, ISO 8601), ``device``, ``duration``, ``versions``,
        ``commit`` (None outside a git checkout), ``changed`` (whether the checkout differed from
        that commit), ``platform``, ``cpu`` and ``cpus``; ``config`` and ``seed`` where given.

    Example:
        >>> provenance(seed=3, duration=1.5)["seed"]
        3
    """
    known: dict[str, Any] = {
        "created": datetime.now(UTC).isoformat(timespec="microseconds"),
        "device": device,
        "duration": duration,
        "versions": versions(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
        **_checkout(),
    }
    if config is not None:
        known["config"] = dict(config)
    if seed is not None:
        known["seed"] = seed
    return known


@cache
def version() -> str:
    """Version of this distribution, or ``"unknown"`` where it is not installed."""
    try:
        return importlib.metadata.version("stillroom")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that compute, without importing them."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@cache
def _cpu() -> str:
    """Name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _checkout() -> dict[str, Any]:
    """The commit this code is, and whether files differ from it."""
    commit = _git("rev-parse", "HEAD") if (_HOUSE / ".git").exists() else None
    if not commit:
        return {"commit": None, "changed": None}
    return {"commit": commit, "changed": bool(_git("status", "--porcelain", "-uno"))}


def _git(*arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(_HOUSE), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
