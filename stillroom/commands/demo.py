"""``stillroom demo``: the main job, from nothing to a report."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stillroom import options, pictures, terminal

if TYPE_CHECKING:
    from sims.context import Context
    from sims.runner import Finished

SUMMARY = "run the main experiments on real digits, draw, and write the report"
EXPERIMENTS = (
    "flow_trajectories",
    "spectral_atlas",
    "does_it_pay",
    "eigenspace",
    "prediction_meets_network",
    "risk_bounds",
    "learning_dynamics",
    "bias_variance",
    "smoothing_map",
    "digits_benchmark",
)


def main(arguments: Sequence[str]) -> int:
    """Run the experiments at demo size, draw, write the report, and say what was found."""
    parser = options.Parser(
        "demo",
        "Run ten experiments at their demo size (about two minutes on two cores), draw their "
        "figures and write out/report/index.html. What is finished already is not run again.",
    )
    parser.add_out()
    parser.add_workers()
    parser.add_argument("--fresh", action="store_true", help="compute everything anew")
    given = parser.parsed(arguments)
    out = options.out_folder(given.out)
    workers = options.worker_count(given.workers)
    from sims.context import Context
    from sims.progress import shown
    from sims.results import latest

    begin = time.perf_counter()
    reporter = shown()
    finished: dict[str, Finished] = {}
    with Context(out, workers=workers, reporter=reporter, fresh=given.fresh) as context:
        for name in EXPERIMENTS:
            finished[name] = _finished(name, context)
    results = {name: one.result for name, one in finished.items()}
    drawn = pictures.draw(results, out, reporter=reporter, formats=("svg",))
    page = pictures.write_report({**latest(out), **results}, out, drawn=drawn.files)
    print(_summary(finished))
    if drawn.files:
        count = terminal.files(drawn.files, out / "figures")
        print(f"\n{count} (`stillroom figures` draws PDF too)")
    print(f"report: {page}")
    print(f"done in {time.perf_counter() - begin:.0f} s")
    return terminal.drawing_status(drawn)


def _finished(name: str, context: "Context") -> "Finished":
    from sims import experiments, runner

    with context.progress(name.replace("_", " "), total=1) as advance:
        done = runner.finish(name, experiments.get(name).config("demo"), context=context)
        advance()
    return done


def _summary(finished: "dict[str, Finished]") -> str:
    from sims import experiments

    parts = ["\nWhat was found, in short"]
    for name, one in finished.items():
        earlier = " (finished earlier)" if one.fetched else ""
        parts.append(terminal.headlines(one.result, f"{experiments.title(name)}{earlier}"))
    return "\n\n".join([*parts, terminal.LEGEND])
