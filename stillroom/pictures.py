"""Draws stored results into the out folder. Loads matplotlib when called."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from stillroom.errors import debugging, describe

if TYPE_CHECKING:
    from sims.progress import Reporter
    from sims.results import Result

FORMATS = ("svg", "pdf", "png")


@dataclass(frozen=True, slots=True)
class Drawn:
    """What came of drawing."""

    files: list[Path] = field(default_factory=list)
    """Files written; none where no figure draws the results."""
    failed: list[str] = field(default_factory=list)
    """A line for each figure that could not be drawn: its name, its result, and why."""


def draw(
    results: "Mapping[str, Result]",
    out: Path,
    *,
    reporter: "Reporter",
    formats: tuple[str, ...] = FORMATS[:2],
    only: tuple[str, ...] | None = None,
) -> Drawn:
    """Draw the figures of ``results`` into ``out/figures``, or only those named.

    A figure that cannot be drawn does not keep the others from it.

    Raises:
        OSError: If a file cannot be written: nor could the next.
    """
    import figures

    known = [figures.get(name) for name in only or figures.names()]
    wanted = [
        (figure, result)
        for figure in known
        for result in results.values()
        if figure.result == result.experiment
    ]
    if not wanted:
        return Drawn()
    from figures import rendering

    drawn = Drawn()
    with reporter.task("drawing figures", total=len(wanted)) as advance:
        for figure, result in wanted:
            try:
                drawn.files.extend(rendering.render(figure.name, result, out / "figures", formats))
            except OSError:
                raise
            except Exception as error:
                if debugging():
                    raise
                why = f"{type(error).__name__}: {describe(error)}"
                drawn.failed.append(f"figure {figure.name} of {result.name}: {why}")
            advance()
    return drawn


def write_report(results: "Mapping[str, Result]", out: Path, *, drawn: Sequence[Path] = ()) -> Path:
    """Write the HTML report of ``results`` into ``out/report``; ``drawn`` are used as they are."""
    from figures import report

    drawings = {path.stem: path for path in drawn if path.suffix == ".svg"}
    return report.write(results.values(), out / "report", drawings=drawings)
