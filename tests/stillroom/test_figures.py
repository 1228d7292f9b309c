from pathlib import Path

import pytest

import figures
from stillroom.main import main


@pytest.fixture
def fake_picture(monkeypatch):
    fake = str(Path(__file__).parent / "fake_figures")
    monkeypatch.setattr(figures, "__path__", [fake, *figures.__path__])


@pytest.fixture
def out(tmp_path):
    return ["--out", str(tmp_path)]


def test_the_figures_are_listed(fakes, fake_picture, capsys):
    assert main(["figures", "--list"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "fake_picture Squares (from fake_squares)" in said


def test_a_figure_without_its_result_says_what_to_run(fakes, fake_picture, capsys, out, tmp_path):
    assert main(["figures", "fake_picture", *out]) == 2
    assert "run `stillroom sim fake_squares`" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_sim_draws_and_figures_redraws_the_same_bytes(fakes, fake_picture, capsys, out, tmp_path):
    assert main(["sim", "fake_squares", "--workers", "1", *out]) == 0
    assert f"2 figure files in {tmp_path / 'figures'}" in capsys.readouterr().out
    drawn = tmp_path / "figures" / "fake_picture.svg"
    before = drawn.read_bytes()
    drawn.unlink()
    assert main(["figures", "fake_picture", "--formats", "svg", "png", *out]) == 0
    assert drawn.read_bytes() == before
    assert sorted(path.suffix for path in drawn.parent.iterdir()) == [".pdf", ".png", ".svg"]
