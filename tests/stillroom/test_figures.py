import sys
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


@pytest.fixture
def torn_picture(monkeypatch, tmp_path_factory):
    """A second figure, before the other, that cannot be drawn."""
    folder = tmp_path_factory.mktemp("torn")
    source = (Path(__file__).parent / "fake_figures" / "fake_picture.py").read_text()
    (folder / "broken_picture.py").write_text(
        source + "\n\ndef draw(result, axes):\n    {}['no such array']\n"
    )
    monkeypatch.setattr(figures, "__path__", [str(folder), *figures.__path__])
    yield
    sys.modules.pop("figures.broken_picture", None)


def test_a_bad_figure_is_named_and_the_others_are_drawn(
    fakes, fake_picture, torn_picture, capsys, out, tmp_path
):
    line = "stillroom: failed: figure broken_picture of fake_squares: KeyError: 'no such array'"
    for command in (["sim", "fake_squares", "--workers", "1"], ["figures"]):
        assert main([*command, *out]) == 1
        said = capsys.readouterr()
        assert line in said.err
        assert "2 figure files in" in said.out
        assert (tmp_path / "figures" / "fake_picture.svg").exists()
    assert main(["report", *out]) == 0
    assert "no such array" in (tmp_path / "report" / "index.html").read_text()


def test_a_full_disk_names_the_file(fakes, fake_picture, capsys, out, tmp_path, monkeypatch):
    assert main(["sim", "fake_squares", "--workers", "1", "--no-figures", *out]) == 0

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert main(["figures", *out]) == 2
    path = tmp_path / "figures" / "fake_picture.svg"
    assert f"stillroom: error: {path}: No space left on device" in capsys.readouterr().err


def test_sim_draws_and_figures_redraws_the_same_bytes(fakes, fake_picture, capsys, out, tmp_path):
    assert main(["sim", "fake_squares", "--workers", "1", *out]) == 0
    assert f"2 figure files in {tmp_path / 'figures'}" in capsys.readouterr().out
    drawn = tmp_path / "figures" / "fake_picture.svg"
    before = drawn.read_bytes()
    drawn.unlink()
    assert main(["figures", "fake_picture", "--formats", "svg", "png", *out]) == 0
    assert drawn.read_bytes() == before
    assert sorted(path.suffix for path in drawn.parent.iterdir()) == [".pdf", ".png", ".svg"]
