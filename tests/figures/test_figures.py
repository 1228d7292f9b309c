"""Every figure: found, drawn from a stored result alone, legible, the same each time."""

import subprocess
import sys
from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text

import figures
from figures import rendering, style
from sims import experiments
from sims.context import Context

EVERY = pytest.mark.parametrize("name", figures.names())
SMALLEST = 6.5  # points


def visible_texts(canvas):
    """All that can be read: ticks beyond the ends of their axis exist, and are not drawn."""
    hidden = set()
    for axes in canvas.axes:
        for axis in (axes.xaxis, axes.yaxis):
            ticks = {*axis.get_major_ticks(), *axis.get_minor_ticks()}
            shown = set(axis._update_ticks()) if axes.axison else set()
            hidden |= {id(label) for t in ticks - shown for label in (t.label1, t.label2)}
        if not axes.axison:
            hidden |= {id(text) for text in axes.findobj(Text)}
    texts = (t for t in canvas.findobj(Text) if t.get_visible() and id(t) not in hidden)
    return [text for text in texts if text.get_text().strip()]


def test_discovery_imports_nothing_heavy():
    code = (
        "import sys, figures; figures.names(); "
        "assert not {'matplotlib', 'numpy', 'torch', 'jinja2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_drawing_needs_neither_torch_nor_scipy():
    code = (
        "import sys, figures, figures.report; [figures.get(n) for n in figures.names()]; "
        "assert not {'torch', 'scipy', 'theory', 'sims.experiments'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_figure_is_named():
    with pytest.raises(ValueError, match="unknown figure 'nope'; known: "):
        figures.get("nope")


@EVERY
def test_words(name, stored):
    figure = figures.get(name)
    caption = figure.caption(stored[figure.result])
    assert 80 < len(caption) < 900
    assert caption.endswith(".")
    assert 40 < len(figure.alt) < 400
    assert figure.alt != caption
    assert figure.title[0].isupper()
    assert not figure.title.endswith(".")


@EVERY
def test_fits_a_page(name, stored):
    figure = figures.get(name)
    width, height = figure.size(stored[figure.result])
    assert 3 <= width <= style.TWO_COLUMNS
    assert height <= 9.5


@EVERY
def test_every_panel_shows_something(name, drawn):
    panels = [axes for axes in drawn[name].axes if axes.axison]
    assert panels
    for axes in panels:
        marks = [*axes.lines, *axes.collections, *axes.patches, *axes.images]
        assert any(mark.get_visible() for mark in marks)


@EVERY
def test_data_lie_within_their_axes(name, drawn):
    for axes in drawn[name].axes:
        low, high = sorted(axes.get_xlim())
        bottom, top = sorted(axes.get_ylim())
        for line in axes.lines:
            if line.get_transform() != axes.transData or len(line.get_xdata()) < 3:
                continue
            x, y = (np.asarray(v, dtype=float) for v in line.get_data())
            inside = (x >= low) & (x <= high) & (y >= bottom) & (y <= top)
            assert inside.any(), f"{name}: a line of {axes.get_title(loc='left')!r} is out of sight"


def assert_text_stays_inside(canvas, name):
    renderer = canvas.canvas.get_renderer()
    width, height = canvas.bbox.size
    for text in visible_texts(canvas):
        box = text.get_window_extent(renderer)
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        assert inside, f"{name}: {text.get_text()!r} leaves the figure"


@EVERY
def test_text_stays_inside_the_figure(name, drawn):
    assert_text_stays_inside(drawn[name], name)


OTHER_SETTINGS = (
    ("eigenspace", {"models": ("mlp",), "sgd_length": 0}),
    ("eigenspace", {"lengths": (1, 5, 25), "pairs": 1}),
    ("eigenspace", {"models": ("random_features", "mlp", "cnn"), "cnn_sgd_length": 3}),
    ("eigenspace", {"models": ("cnn", "mlp"), "cnn_lengths": (1, 3), "pairs": 8}),
    ("eigenspace", {"models": ("random_features",)}),
    ("flow_trajectories", {"features": ("inputs",), "directions": 2, "other": 3}),
    ("flow_trajectories", {"teacher_progress": 0.05, "student_progress": 10.0}),
    ("does_it_pay", {"decays": (0.0,)}),
    ("does_it_pay", {"noise": 3.0, "noise_variance": 0.0}),
    ("spectral_atlas", {"spectrum": "digits", "progress": 1.0}),
    ("prediction_meets_network", {"full": (), "cross_entropy": (), "scales": ()}),
    (
        "prediction_meets_network",
        {
            "widths": (8, 16),
            "seeds": (4, 1),
            "full": (8,),
            "cross_entropy": (8, 16),
            "parametrizations": ("ntk", "standard"),
            "scales": (8.0, 0.1),
        },
    ),
)


@pytest.mark.slow
@pytest.mark.parametrize(("experiment", "settings"), OTHER_SETTINGS)
def test_figures_keep_their_shape_for_other_settings(experiment, settings):
    found = experiments.get(experiment)
    with Context.plain() as context:
        result = found.run(replace(found.config("smoke"), **settings), context)
    for figure in figures.of(experiment):
        assert_text_stays_inside(rendering.canvas(figure.name, result), figure.name)
        assert figure.caption(result)


@EVERY
def test_text_is_large_enough(name, drawn):
    for text in visible_texts(drawn[name]):
        assert text.get_fontsize() >= SMALLEST, text.get_text()


@EVERY
def test_text_does_not_overlap_text(name, drawn):
    """Titles, labels, ticks and notes of one figure keep clear of each other."""
    canvas = drawn[name]
    renderer = canvas.canvas.get_renderer()
    boxes = []
    for text in visible_texts(canvas):
        if text.get_rotation() % 90:
            continue
        box = Text.get_window_extent(text, renderer)  # of an annotation without its arrow
        if box.width > 0 and box.height > 0 and box.x0 >= 0 and box.y0 >= 0:
            boxes.append((text.get_text(), box.shrunk(0.9, 0.75)))
    for index, (first, one) in enumerate(boxes):
        for second, other in boxes[index + 1 :]:
            assert not one.overlaps(other), f"{name}: {first!r} lies on {second!r}"


@EVERY
def test_panels_say_what_they_show(name, drawn):
    canvas = drawn[name]
    shared = [text.get_text() for text in (canvas._supxlabel, canvas._supylabel) if text]
    for axes in canvas.axes:
        if axes.axison and not shared:
            labels = axes.get_xlabel() or axes.get_ylabel() or axes.get_title(loc="left")
            assert labels, f"{name}: a panel without a word"
    assert shared or any(axes.get_xlabel() for axes in canvas.axes)


@EVERY
def test_the_same_bytes_each_time(name, stored, drawn, encoded):
    again = rendering.canvas(name, stored[figures.get(name).result])
    for form, start in (("svg", b"<?xml"), ("pdf", b"%PDF")):
        first = encoded[name] if form == "svg" else rendering.encode(drawn[name], form)
        assert first.startswith(start)
        assert rendering.encode(again, form) == first


@EVERY
def test_vector_files_are_small_and_self_contained(name, encoded):
    data = encoded[name]
    assert len(data) < 1_000_000
    ET.fromstring(data)
    assert b"dc:date" not in data
    assert b'href="http' not in data


@EVERY
def test_the_result_is_left_as_it_was(name, stored):
    result = stored[figures.get(name).result]
    before = {key: array.copy() for key, array in result.arrays.items()}
    rendering.canvas(name, result)
    for key, array in result.arrays.items():
        np.testing.assert_array_equal(array, before[key])


def test_files_appear_whole_and_nothing_else(stored, tmp_path):
    name = figures.names()[0]
    result = stored[figures.get(name).result]
    paths = rendering.render(name, result, tmp_path / "new", formats=("svg", "pdf", "png"))
    assert [path.name for path in paths] == [f"{name}.{form}" for form in ("svg", "pdf", "png")]
    assert sorted((tmp_path / "new").iterdir()) == sorted(paths)


def test_unknown_format_writes_nothing(stored, tmp_path):
    name = figures.names()[0]
    with pytest.raises(ValueError, match="format must be one of svg, pdf, png, got 'gif'"):
        rendering.render(name, stored[figures.get(name).result], tmp_path, formats=("svg", "gif"))
    assert list(tmp_path.iterdir()) == []


def test_a_result_of_another_experiment_is_refused(stored):
    name = figures.names()[0]
    other = replace(stored[figures.get(name).result], experiment="another")
    with pytest.raises(ValueError, match="got one of another"):
        rendering.canvas(name, other)


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = rendering.write_whole(tmp_path / "file", b"old")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(rendering.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rendering.write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def lightness(color):
    """CIE L* of a color, 0 to 100: what is left of it in gray print."""
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)
    )
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return 116 * np.cbrt(luminance) - 16 if luminance > 0.008856 else 903.3 * luminance


def test_teacher_and_student_differ_in_gray_and_in_shape():
    assert abs(lightness(style.TEACHER.color) - lightness(style.STUDENT.color)) > 20
    roles = (style.TEACHER, style.STUDENT, style.NULL, style.SOFTNESS)
    assert len({role.marker for role in roles}) == len(roles)
    assert len({role.color for role in roles}) == len(roles)


@pytest.mark.parametrize("role", [style.TEACHER, style.STUDENT, style.NULL, style.SOFTNESS])
def test_colors_stand_out_from_the_paper(role):
    """WCAG asks 3:1 of graphics on white."""
    luminance = ((lightness(role.color) + 16) / 116) ** 3
    assert 1.05 / (luminance + 0.05) >= 3
