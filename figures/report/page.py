"""The report: one HTML file that holds its figures, styles and words, and needs no network."""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

import figures
from figures import rendering
from figures.report import benchmark, comparison, predictions
from figures.report.sections import SECTIONS, Mark, mark, section
from figures.report.tables import Table
from sims.results import Finding, Result, command_for

TITLE = "What distillation does to a model"
HEADLINE = "eigen_slice"
WIDE = 6.0  # inches; a wider figure is scrolled, not shrunk, on a narrow screen
PIXELS = 96  # of CSS, in an inch
ENLARGE = 1.25  # 8.5 points in print are read at arm's length on a screen

LABELS = {
    "changed": "files changed since that commit",
    "cpu": "processor",
    "cpus": "processors",
    "created": "made at",
    "duration": "seconds it took",
}


@dataclass(frozen=True, slots=True)
class Words:
    """A finding as the page shows it."""

    text: str
    mark: Mark
    numbers: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure as the page shows it; ``source`` is empty where it could not be drawn."""

    name: str
    title: str
    alt: str
    caption: str
    source: str
    width: int
    height: int
    wide: bool
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """A section of the page: one experiment."""

    anchor: str
    command: str
    title: str
    question: str
    present: bool = False
    findings: tuple[Words, ...] = ()
    pictures: tuple[Picture, ...] = ()
    has_headline: bool = False
    tally: str = ""

    leading: tuple[Words, ...] = ()
    provenance: str = ""
    config: str = ""
    tables: tuple[tuple[str, str], ...] = ()


def write(
    results: Iterable[Result],
    folder: Path | str,
    *,
    drawings: Mapping[str, Path] | None = None,
) -> Path:
    """Write ``folder/index.html``, whole or not at all.

    Args:
        results: Stored results, at most one of each experiment and label. Experiments of which
            there is none are named as not run; the report can be written from no result at all.
        folder: Made if it is not there.
        drawings: Figures already drawn as SVG from these same results, by the name of their file;
            the others are drawn here.

    Raises:
        ValueError: If there are two results of one experiment with one label.
    """
    by_name: dict[str, Result] = {}
    for result in results:
        if result.name in by_name:
            msg = f"results must hold one of each experiment, got two of {result.name}"
            raise ValueError(msg)
        by_name[result.name] = result
    html = page(by_name, drawings or {})
    return rendering.write_whole(Path(folder) / "index.html", html.encode())


def page(results: Mapping[str, Result], drawings: Mapping[str, Path]) -> str:
    """The report as text."""
    told = [*SECTIONS, *sorted(set(results) - set(SECTIONS))]
    parts = [_part(name, results.get(name), drawings) for name in told]
    headline = next((p for part in parts for p in part.pictures if p.name == HEADLINE), None)
    if headline is not None:
        parts = [_without(part, headline) for part in parts]
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    environment.filters["lower_first"] = lambda text: text[:1].lower() + text[1:]
    home = files("figures.report")
    template = environment.from_string(home.joinpath("report.html.jinja").read_text("utf-8"))
    return template.render(
        title=TITLE,
        css=Markup(home.joinpath("report.css").read_text("utf-8")),  # our own file
        sections=parts,
        headline=headline,
        count=sum(len(part.findings) for part in parts),
        counts=_counts(finding for part in parts for finding in part.findings),
    )


def _part(name: str, result: Result | None, drawings: Mapping[str, Path]) -> Part:
    words = section(name if result is None else result.experiment)
    part = Part(f"experiment-{name}", command_for(name), words.title, words.question)
    if result is None:
        return part
    if result.label:
        part = replace(part, title=f"{words.title}: {result.label}")
    drawn = [
        (figure, figures.stem(figure.name, result)) for figure in figures.of(result.experiment)
    ]
    findings = tuple(_words(finding) for finding in result.findings)
    return replace(
        part,
        present=True,
        findings=findings,
        leading=tuple(_words(finding) for finding in result.headlines),
        tally=_counts(findings),
        pictures=tuple(_picture(f, stem, result, drawings.get(stem)) for f, stem in drawn),
        tables=_tables(result),
        provenance=_table(result.provenance),
        config=_table(result.config),
    )


def _tables(result: Result) -> tuple[tuple[str, str], ...]:
    """Titles and tables of a result; none where it is too old to hold what they show."""
    try:
        every = (comparison, predictions, benchmark)
        found = [one for module in every for one in module.tables_of(result)]
        return tuple((title, table.html()) for title, table in found)
    except (KeyError, ValueError):
        return ()


def _without(part: Part, headline: Picture) -> Part:
    """The part less the picture that is shown at the top of the page."""
    if headline not in part.pictures:
        return part
    rest = tuple(picture for picture in part.pictures if picture is not headline)
    return replace(part, pictures=rest, has_headline=True)


def _words(finding: Finding) -> Words:
    numbers = ""
    if None not in (value := (finding.value, finding.low, finding.high)):
        estimate, low, high = _told_apart([float(each) for each in value if each is not None])
        numbers = f"estimate {estimate}, interval {low} to {high}"
    return Words(finding.text, mark(holds=finding.holds), numbers)


def _picture(figure: figures.Figure, stem: str, result: Result, drawn: Path | None) -> Picture:
    data, problem = b"", ""
    width, height = 0.0, 0.0
    caption = ""
    try:
        width, height = figure.size(result)
        caption = figure.caption(result)
        if drawn is not None:
            data = drawn.read_bytes()
        else:
            data = rendering.encode(rendering.canvas(figure.name, result), "svg")
    except Exception as error:  # noqa: BLE001  # whatever it is, the reader sees it in its place
        # An older result may lack what a newer figure draws: the rest of the report stands.
        problem = f"{type(error).__name__}: {error}"
    coded = base64.b64encode(data).decode() if data else ""
    return Picture(
        name=stem,
        title=figure.title,
        alt=figure.alt,
        caption=caption,
        source=f"data:image/svg+xml;base64,{coded}" if coded else "",
        width=round(width * PIXELS * ENLARGE),
        height=round(height * PIXELS * ENLARGE),
        wide=width > WIDE,
        problem=problem,
    )


def _counts(findings: Iterable[Words]) -> str:
    """How findings divide: ``5 hold, 1 does not hold and 2 are observations …``."""
    kinds = [finding.mark.kind for finding in findings]
    said = [_counted(kind, kinds.count(kind)) for kind in ("holds", "fails", "observed")]
    said = [phrase for phrase in said if phrase]
    return " and ".join([", ".join(said[:-1]), said[-1]]) if len(said) > 1 else "".join(said)


def _counted(kind: str, count: int) -> str:
    if count == 0:
        return ""
    one, more = {
        "holds": ("holds", "hold"),
        "fails": ("does not hold", "do not hold"),
        "observed": (
            "is an observation or undecided",
            "are observations or undecided",
        ),
    }[kind]
    return f"{count} {one if count == 1 else more}"


def _told_apart(values: Sequence[float]) -> list[str]:
    """Numbers with three significant digits, or as many more as keep distinct ones distinct."""
    shown = [number(value) for value in values]
    for digits in range(4, 8):
        if len(set(shown)) >= len(set(values)):
            break
        shown = [number(value, digits) for value in values]
    return shown


def number(value: float, digits: int = 3) -> str:
    """A number for reading: so many significant digits, a true minus sign.

    Example:
        >>> number(0.12345), number(-2.5e-9), number(1200.0), number(2.0014, 4)
        ('0.123', '−2.5e−09', '1200', '2.001')
    """
    shown = f"{value:.{digits}g}"
    if "e" in shown and 1 <= abs(value) < 1e6:
        shown = f"{value:.0f}"
    return shown.replace("-", "−")


def _table(record: Mapping[str, Any]) -> str:
    rows = [(LABELS.get(key, key.replace("_", " ")), value) for key, value in _flat(record)]
    return Table.of(["What", "Value"], rows).html() if rows else ""


def _flat(record: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, str]]:
    for key, value in record.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{name}: ")
        else:
            yield name, _shown(value)


def _shown(value: object) -> str:
    if isinstance(value, str):
        return value or "none"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)) and all(isinstance(v, (str, int, float)) for v in value):
        return ", ".join(_shown(v) for v in value)
    return json.dumps(value, default=str)
