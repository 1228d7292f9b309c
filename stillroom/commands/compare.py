"""``stillroom compare``: the user's own student beside its teacher, from their logits."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillroom import options, pictures, terminal
from stillroom.errors import UserError

if TYPE_CHECKING:
    from sims.parts.comparison_inputs import Networks
    from sims.results import Result

SUMMARY = "compare a student of yours with its teacher, from their logits"
TABLES = ("text", "markdown", "latex", "csv")
ABOUT = """\
Compare a student with its teacher on the same samples: confidence, slopes with intervals, who is
right, agreement, divergences, calibration. Prints tables, draws a figure, and stores the result for
`stillroom report`."""
EPILOG = """\
files: .npy, or .npz with one array of any name or one called `logits`; shape (samples, classes), or
(seeds, samples, classes) for several training runs; float16, 32 or 64; the same samples in the same
order in every file. An array `labels` beside the logits is taken for the true classes.
From PyTorch: np.save("teacher.npy", logits.detach().float().cpu().numpy())

examples:
  stillroom compare teacher.npy student.npy
  stillroom compare teacher.npz student.npz --labels labels.npy --control baseline.npz --name resnet

The control is a network like the student that was trained on the labels alone: two independent
networks have a slope below 1 by chance, so a slope is to be read against the control's."""


def main(arguments: Sequence[str]) -> int:
    """Read the files, compare, store, draw, and say what was found."""
    given = _parser().parsed(arguments)
    out = options.out_folder(given.out, write=False)
    from sims import comparison

    config = comparison.Config(
        name=given.name,
        fraction=given.fraction,
        level=given.level,
        bins=given.bins,
        temperature=given.temperature,
        class_names=_class_names(given.class_names),
    )
    networks = _networks(given)
    out = options.out_folder(given.out)
    done = comparison.finish(networks, config, out=out, fresh=given.fresh)
    # tables for another program are alone on standard output, to be sent into a file
    words = sys.stdout if given.table == "text" else sys.stderr
    print(terminal.findings(done.result, _title(networks, given.name)), file=words)
    print(f"\n{terminal.LEGEND}\n", file=words)
    print(_tables(done.result, given.table))
    from_where = "already finished, from" if done.fetched else "stored in"
    print(f"\n{from_where} {done.path}", file=words)
    if not given.figures:
        return 0
    from sims.progress import shown

    drawn = pictures.draw(
        {done.result.name: done.result}, out, reporter=shown(), formats=tuple(given.formats)
    )
    for path in drawn.files:
        print(f"figure: {path}", file=words)
    return terminal.drawing_status(drawn)


def _parser() -> options.Parser:
    parser = options.Parser(
        "compare",
        ABOUT,
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    add = parser.add_argument
    add("teacher", type=Path, metavar="TEACHER", help="logits of the teacher")
    add("student", type=Path, metavar="STUDENT", help="logits of the student")
    add("--labels", type=Path, metavar="FILE", help="true classes, counted from 0 (npy or npz)")
    add("--control", type=Path, metavar="FILE", help="logits of a network like the student, "
        "trained without the teacher")  # fmt: skip
    add("--name", default="", help="what to call it, to keep it beside other comparisons")
    add("--class-names", nargs="+", default=(), metavar="NAME",
        help="names of the classes, or one text file with a name on each line")  # fmt: skip
    add("--fraction", type=float, default=0.25, metavar="SHARE",
        help="share of the samples at each end of the teacher's confidence "
        "(default: 0.25)")  # fmt: skip
    add("--level", type=float, default=0.95, help="coverage of the intervals (default: 0.95)")
    add("--bins", type=int, default=15, metavar="N", help="bins of the reliability diagram "
        "(default: 15)")  # fmt: skip
    add("--temperature", type=float, default=1.0, metavar="T",
        help="divide all logits by it (default: 1)")  # fmt: skip
    add("--table", choices=TABLES, default="text",
        help="how to print tables (default: text); in the other forms they alone go to "
        "standard output, and csv has every number in one table")  # fmt: skip
    add("--formats", nargs="+", choices=pictures.FORMATS, default=("svg", "pdf"),
        help="formats of the figure (default: svg pdf)")  # fmt: skip
    add("--no-figures", dest="figures", action="store_false", help="draw nothing")
    add("--fresh", action="store_true", help="compute anew what is stored already")
    parser.add_out()
    return parser


def _class_names(given: Sequence[str]) -> tuple[str, ...]:
    """The names themselves, or the lines of the one file that is named.

    Raises:
        UserError: If there is no such file, or it is no text.
    """
    if len(given) != 1:
        return tuple(given)
    if not Path(given[0]).is_file():
        msg = (
            "--class-names must be a name for each class, or a text file of them, got "
            f"{given[0]!r}, and there is no such file"
        )
        raise UserError(msg)
    try:
        text = Path(given[0]).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        msg = f"--class-names must be names or a text file of them, got {given[0]}, which is none"
        raise UserError(msg) from error
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _networks(given: argparse.Namespace) -> "Networks":
    """What the files hold, checked.

    Raises:
        UserError: If the files hold different labels.
    """
    import numpy as np

    from sims.parts.comparison_inputs import networks
    from sims.parts.logit_files import read_labels, read_logits

    files = {
        role: read_logits(path, what=role)
        for role in ("teacher", "student", "control")
        if (path := getattr(given, role)) is not None
    }
    held = {role: file.labels for role, file in files.items() if file.labels is not None}
    labels: Any = next(iter(held.values()), None)
    if any(not np.array_equal(labels, other) for other in held.values()):
        msg = (
            f"the labels in the files of {' and '.join(held)} must be the same, and are not: the "
            "rows are not the same samples"
        )
        raise UserError(msg)
    if given.labels is not None:
        labels = read_labels(given.labels)
    control = files["control"].logits if "control" in files else None
    return networks(files["teacher"].logits, files["student"].logits, labels, control)


def _title(networks: "Networks", name: str) -> str:
    seeds, samples, classes = networks.shape
    over = f"{seeds} seeds of " if seeds > 1 else ""
    return f"{name + ', ' if name else ''}{over}{samples:,} samples of {classes:,} classes"


def _tables(result: "Result", form: str) -> str:
    from figures.report.comparison import every_number, tables_of

    if form == "csv":
        return every_number(result).csv().rstrip()
    before = "% " if form == "latex" else ""
    parts = [f"{before}{title}\n\n{getattr(table, form)()}" for title, table in tables_of(result)]
    return "\n\n".join(parts)
