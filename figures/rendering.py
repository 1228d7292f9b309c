"""From a figure and a result to files: one style, whole files, the same bytes every time."""

import io
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import NullLocator

import figures
from figures import style
from sims.results import Result

# What each format would otherwise stamp into the file: the hour and the version of the program.
STAMPS: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}


def canvas(name: str, result: Result) -> Canvas:
    """The figure drawn in memory, in the common style.

    No global state of matplotlib is touched: nothing to close, no backend to choose.

    Raises:
        ValueError: If there is no such figure, or if it does not draw this experiment.
    """
    figure = figures.get(name)
    if result.experiment != figure.result:
        msg = f"figure {name} draws results of {figure.result}, got one of {result.experiment}"
        raise ValueError(msg)
    with mpl.rc_context(style.RC):
        drawn = Canvas(figsize=figure.size(result), layout="constrained")
        FigureCanvasAgg(drawn)
        rows, columns = figure.panels(result)
        axes = drawn.subplots(rows, columns, squeeze=False)
        figure.draw(result, axes[0, 0] if (rows, columns) == (1, 1) else np.squeeze(axes))
        for panel in drawn.axes:
            for axis in (panel.xaxis, panel.yaxis):
                axis.set_minor_locator(NullLocator())  # drawn at size 0, but slow to lay out
        for _ in range(2):  # the first pass moves the ticks whose room the second one measures
            drawn.draw_without_rendering()
        drawn.set_layout_engine("none")  # laid out once, for all formats
    return drawn


def encode(drawn: Canvas, form: str) -> bytes:
    """The drawing as the bytes of a file, free of dates and versions."""
    if form not in STAMPS:
        msg = f"format must be one of {', '.join(STAMPS)}, got {form!r}"
        raise ValueError(msg)
    buffer = io.BytesIO()
    with mpl.rc_context(style.RC):
        drawn.savefig(buffer, format=form, metadata=STAMPS[form])
    return buffer.getvalue()


def render(
    name: str, result: Result, folder: Path | str, formats: Iterable[str] = ("svg", "pdf")
) -> list[Path]:
    """Draw a figure and write ``folder/name.<format>`` for every format asked for.

    Where the result has a label, it stands in the name of the file: ``name-label.<format>``.

    Args:
        name: A figure, one of ``figures.names()``.
        result: A stored result of the experiment that the figure draws.
        folder: Made if it is not there.
        formats: Of ``svg``, ``pdf`` and ``png``.

    Returns:
        The files written, in the order of ``formats``. Each appears whole or not at all.

    Raises:
        ValueError: For an unknown figure or format, or a result of another experiment.
    """
    drawn = canvas(name, result)
    contents = [(form, encode(drawn, form)) for form in formats]
    stem = figures.stem(name, result)
    return [write_whole(Path(folder) / f"{stem}.{form}", data) for form, data in contents]


def write_whole(path: Path, data: bytes) -> Path:
    """Write the file so that a reader sees the old one or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # a full disk names no file
            error.filename = str(path)
        raise
    return path
