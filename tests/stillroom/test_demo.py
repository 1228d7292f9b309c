from dataclasses import dataclass, field
from pathlib import Path

import pytest

from figures.report.sections import SECTIONS
from sims import experiments
from sims.results import Result
from stillroom import pictures
from stillroom.commands import demo, report
from stillroom.main import main


@dataclass
class Drawn:
    """What was asked of the figures."""

    drawn: list = field(default_factory=list)
    reported: list = field(default_factory=list)
    failed: list = field(default_factory=list)


@pytest.fixture
def drawing(monkeypatch):
    """Stand-ins for the figures: they take note and write a stub."""
    asked = Drawn()

    def draw(results, out, **_):
        asked.drawn.append(sorted(results))
        path = out / "figures" / "one.svg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("<svg/>")
        return pictures.Drawn([path], asked.failed)

    def write(results, out, *, drawn=()):
        asked.reported.append((sorted(results), list(drawn)))
        return out / "report" / "index.html"

    monkeypatch.setattr(pictures, "draw", draw)
    monkeypatch.setattr(pictures, "write_report", write)
    monkeypatch.setattr(demo, "EXPERIMENTS", ("fake_squares",))
    return asked


def test_demo_runs_draws_reports_and_says_what_was_found(fakes, drawing, capsys, tmp_path):
    assert main(["demo", "--out", str(tmp_path), "--workers", "1"]) == 0
    out = capsys.readouterr().out
    assert "\nSquares of the first numbers\n  + The sum of the 3 squares is 5" in out
    assert f"report: {tmp_path / 'report' / 'index.html'}" in out
    assert drawing.drawn == [["fake_squares"]]
    assert drawing.reported == [(["fake_squares"], [tmp_path / "figures" / "one.svg"])]


def test_a_demo_whose_figure_fails_is_reported_and_ends_with_1(fakes, drawing, capsys, tmp_path):
    drawing.failed.append("figure two of fake_squares: KeyError: 'x'")
    assert main(["demo", "--out", str(tmp_path), "--workers", "1"]) == 1
    out, err = capsys.readouterr()
    assert "report: " in out
    assert "stillroom: failed: figure two of fake_squares: KeyError: 'x' (STILLROOM_DEBUG" in err


def test_a_second_demo_reuses_what_is_finished(fakes, drawing, capsys, tmp_path):
    asked = ["demo", "--out", str(tmp_path), "--workers", "1"]
    main(asked)
    assert "finished earlier" not in capsys.readouterr().out
    main(asked)
    assert "(finished earlier)" in capsys.readouterr().out
    main([*asked, "--fresh"])
    assert "finished earlier" not in capsys.readouterr().out


def test_every_experiment_is_in_the_demo_in_the_order_of_the_report():
    assert sorted(demo.EXPERIMENTS) == list(experiments.names())
    assert tuple(SECTIONS) == demo.EXPERIMENTS


def test_the_report_of_a_demo_keeps_what_else_is_stored(fakes, drawing, capsys, tmp_path):
    Result("comparison", {}, {}, label="mine").save(tmp_path)
    main(["demo", "--out", str(tmp_path), "--workers", "1"])
    assert drawing.drawn == [["fake_squares"]]
    (reported,) = drawing.reported
    assert len(reported[0]) == 2


def test_figures_and_report_use_what_is_stored(fakes, drawing, capsys, tmp_path, monkeypatch):
    out = ["--out", str(tmp_path)]
    main(["sim", "fake_squares", "--no-figures", "--workers", "1", *out])
    capsys.readouterr()
    assert main(["figures", *out]) == 0
    assert f"1 figure file in {tmp_path / 'figures'}" in capsys.readouterr().out
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    assert main(["report", "--open", *out]) == 0
    assert opened == [(tmp_path / "report" / "index.html").resolve().as_uri()]
    assert drawing.reported == [(["fake_squares"], [])]
    assert report.SUMMARY


def test_no_figure_for_an_experiment_is_no_error(fakes, capsys, tmp_path):
    asked = ["sim", "fake_squares", "--workers", "1", "--out", str(tmp_path)]
    assert main(asked) == 0
    assert "figure file" not in capsys.readouterr().out
    assert main(["figures", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "no figure draws these results\n"


def test_the_real_report_is_written_from_any_result(fakes, capsys, tmp_path):
    main(["sim", "fake_squares", "--workers", "1", "--out", str(tmp_path)])
    assert main(["report", "--out", str(tmp_path)]) == 0
    page = Path(tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert page.lstrip().lower().startswith("<!doctype html>")
