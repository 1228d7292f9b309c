"""``stillroom sim``: run one experiment with any of its options."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stillroom import options, pictures, terminal
from stillroom.errors import UserError

if TYPE_CHECKING:
    from sims.results import Result
    from stillroom.request import Common

SUMMARY = "run an experiment; alone, list them"
USAGE = "stillroom sim NAME [--size smoke|demo|laptop|paper] [OPTIONS]"


def main(arguments: Sequence[str]) -> int:
    """List the experiments, or run one, or all.

    Raises:
        UserError: If the options come before the name.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        print(overview())
        return 0
    name, *rest = arguments
    if name.startswith("-"):
        msg = f"the name of the experiment comes first, got {name!r}: {USAGE}"
        raise UserError(msg)
    from stillroom import request

    if name == "all":
        common = request.common(rest)
        return max((_run(one, request.of_size(one, common), common) for one in _all()), default=0)
    config, common = request.of(name, rest)
    return _run(name, config, common)


def overview() -> str:
    """What experiments there are."""
    from sims import experiments

    rows = [(name, experiments.title(name)) for name in _all()]
    rows.append(("all", "every one of them in turn"))
    return (
        f"usage: {USAGE}\n\nexperiments:\n{terminal.listed(rows)}\n\n"
        "`stillroom sim NAME --help` lists the options of one."
    )


def _all() -> tuple[str, ...]:
    from sims import experiments

    return experiments.names()


def _run(name: str, config: Any, common: "Common") -> int:  # noqa: ANN401
    """Run one experiment and say what it found."""
    out = options.out_folder(common.out)
    options.use_data_root(common.data_root)
    from sims import experiments, runner
    from sims.context import Context
    from sims.progress import shown

    reporter = shown()
    workers = options.worker_count(common.workers)
    with Context(out, workers=workers, reporter=reporter, fresh=common.fresh) as context:
        done = runner.finish(name, config, context=context)
    print(terminal.findings(done.result, experiments.title(name)))
    print(f"\n{terminal.LEGEND}")
    if name == "digits_benchmark":
        print(_tables(done.result))
    print(f"{'already finished, from' if done.fetched else 'stored in'} {done.path}")
    if common.figures:
        drawn = pictures.draw({name: done.result}, out, reporter=reporter)
        if drawn.files:
            print(terminal.files(drawn.files, out / "figures"))
        return terminal.drawing_status(drawn)
    return 0


def _tables(result: "Result") -> str:
    """The tables of the benchmark, as wide as the terminal, with what their columns are."""
    from figures.report import benchmark

    *tables, _ = benchmark.tables_of(result)
    parts = []
    for title, table in tables:
        shown = terminal.fitted(
            table.columns, table.rows, least=benchmark.LEAST, whole="`stillroom report` has all"
        )
        parts.append(f"\n{title}\n\n{shown}")
    parts.append(f"\n{terminal.listed(list(benchmark.MEANINGS))}\n")
    parts.append("`stillroom bench list`, `show` and `compare` have these runs, and other formats.")
    return "\n".join(parts)
