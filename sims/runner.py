"""One experiment, run or fetched: what the command line and a notebook call."""

import inspect
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deep.records.encoding import plain
from deep.records.provenance import provenance
from sims import experiments
from sims.context import Context
from sims.results import Result, from_entry, result_key, store_of


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """A result and how it came about."""

    result: Result
    """What was found."""
    path: Path | None
    """The folder it is stored in; None where the context keeps nothing."""
    fetched: bool
    """Whether it was there already."""


def finish(name: str, config: Any = None, *, context: Context | None = None) -> Finished:  # noqa: ANN401
    """Run an experiment, or fetch its stored result where the same was finished before.

    Args:
        name: Name of the experiment.
        config: Its config; None for the laptop size.
        context: Where to keep what, and with how many processes; None keeps nothing. If it is
            ``fresh``, everything is computed anew and takes the place of what is stored.

    Raises:
        ValueError: If there is no such experiment, or its input is bad.
    """
    experiment = experiments.get(name)
    config = experiment.Config() if config is None else config
    context = Context.plain() if context is None else context
    inputs = experiment.inputs(config, context)
    if context.out is None:
        return Finished(_run(experiment, config, context, inputs), None, fetched=False)
    key, store = result_key(name, config, inputs=inputs), store_of(context.out, name)
    made: list[Result] = []

    def make() -> tuple[Any, dict[str, Any]]:
        made.append(_run(experiment, config, context, inputs))
        return made[0].arrays, made[0].record()

    if context.fresh:
        arrays, record = make()
        store.put(key, arrays=arrays, record=record)
        return Finished(made[0], store.path(key), fetched=False)
    entry = store.get_or_make(key, make)
    result = made[0] if made else from_entry(entry)
    return Finished(result, store.path(key), fetched=not made)


def _run(
    experiment: experiments.Experiment,
    config: Any,  # noqa: ANN401
    context: Context,
    inputs: str,
) -> Result:
    """The result, with where it came from."""
    begin = time.perf_counter()
    result = experiment.run(config, context)
    if not isinstance(result, Result) or result.experiment != experiment.name:
        where = inspect.getsourcefile(experiment.run)
        msg = f"run in {where} must return a Result of {experiment.name}, got {result!r:.80}"
        raise TypeError(msg)
    source = provenance(
        seed=seed if isinstance(seed := getattr(config, "seed", None), int) else None,
        device=str(getattr(config, "device", "cpu")),
        duration=time.perf_counter() - begin,
    )
    if inputs:
        source["inputs"] = inputs
    source["sizes"] = list(experiment.sizes(config))
    return Result(
        result.experiment,
        plain(config),
        result.arrays,
        result.findings,
        {**source, **result.provenance},
    )
