"""Draws stored results into the out folder. Loads matplotlib when called."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sims.progress import Reporter
    from sims.results import Result

FORMATS = ("svg", "pdf", "png")


def draw(
    results: "Mapping[str, Result]",
    out: Path,
    *,
    reporter: "Reporter",
    formats: tuple[str, ...] = FORMATS[:2],
    only: tuple[str, ...] | None = None,
) -> list[Path]:
    """Draw the figures of ``results`` into ``out/figures``, or only those named.

    Returns:
        The files written; none where no figure draws these results.
    """
    import figures

    known = [figures.get(name) for name in only or figures.names()]
    wanted = [figure for figure in known if figure.result in results]
    if not wanted:
        return []
    from figures import rendering

    files: list[Path] = []
    with reporter.task("drawing figures", total=len(wanted)) as advance:
        for figure in wanted:
            result = results[figure.result]
            files += rendering.render(figure.name, result, out / "figures", formats)
            advance()
    return files


def write_report(results: "Mapping[str, Result]", out: Path, *, drawn: Sequence[Path] = ()) -> Path:
    """Write the HTML report of ``results`` into ``out/report``; ``drawn`` are used as they are."""
    from figures import report

    drawings = {path.stem: path for path in drawn if path.suffix == ".svg"}
    return report.write(results.values(), out / "report", drawings=drawings)
