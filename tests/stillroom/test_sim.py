import numpy as np
import pytest

from sims import results
from stillroom.main import main


@pytest.fixture
def sim(fakes, tmp_path, monkeypatch, capsys):
    """Run ``stillroom sim`` in an out folder of its own; gives the status, and what was said."""
    monkeypatch.setenv("STILLROOM_OUT", str(tmp_path / "out"))

    def run(*arguments, name="fake_squares"):
        status = main(["sim", name, *map(str, arguments), *(["--workers", "1"] if name else [])])
        return status, *capsys.readouterr()

    return run


@pytest.mark.parametrize("asked", [["sim"], ["sim", "--help"], ["sim", "-h"]])
def test_alone_it_lists_the_experiments(fakes, capsys, asked):
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert "  fake_squares  Squares of the first numbers\n" in said
    assert "  all " in said


def test_it_runs_says_what_it_found_and_where_it_is(sim, tmp_path):
    status, out, _ = sim("--size", "demo")
    assert status == 0
    assert "fake_squares: Squares of the first numbers" in out
    assert "  + The sum of the 3 squares is 5," in out
    assert "  · Nothing is claimed here." in out
    (path,) = (tmp_path / "out" / "results" / "fake_squares").glob("[0-9a-f]*")
    assert f"stored in {path}" in out
    assert results.load(tmp_path / "out", "fake_squares", size="demo").config["numbers"] == 3


def test_what_is_finished_is_not_run_again(sim):
    sim("--numbers", "4")
    assert "already finished, from" in sim("--numbers", "4")[1]
    assert "already finished" not in sim("--numbers", "4", "--fresh")[1]
    assert "already finished" not in sim("--numbers", "5")[1]


def test_options_start_from_the_size(sim, tmp_path):
    assert sim("--seed", "2", "--size=paper", "--times", "1", "2.5", "inf")[0] == 0
    config = results.load(tmp_path / "out", "fake_squares").config
    assert (config["numbers"], config["seed"]) == (9, 2)
    assert config["times"] == [1.0, 2.5, float("inf")]


def test_help_shows_every_option_with_its_default_at_that_size(sim, capsys):
    with pytest.raises(SystemExit) as end:
        sim("--size", "paper", "--help")
    assert end.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Squares of the first numbers" in said
    assert "How many numbers to square. (default: 9)" in said
    assert "An npz of the user's." in said
    assert "--size" in said
    assert "--out" in said
    assert "--fresh" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--numbers", "x"], "--numbers"),
        (["--numbers"], "--numbers"),
        (["--nombers", "3"], "--nombers, 3; did you mean --numbers?"),
        (["--fail", "maybe"], "maybe"),
        (["--size", "huge"], "argument --size: invalid choice: 'huge'"),
        (["--times", "1", "soon"], "soon"),
        (["stray"], "stray"),
    ],
)
def test_a_bad_option_is_one_line(sim, tmp_path, options, said):
    status, out, err = sim(*options)
    assert status == 2
    assert out == ""
    assert err.startswith("stillroom: error: ")
    assert err.count("\n") == 1
    assert said in err
    assert "see `stillroom sim fake_squares --help`" in err
    assert not any(mark in err for mark in "│╭─")
    assert not (tmp_path / "out").exists()


FRAMED = """\
╭─ Unrecognized ──────────╮
│ Unrecognized: --a-very, │
│ 3                       │
│ ─────────────────────── │
│ Arguments similar to    │
│ --a-very:               │
│     --a-word INT        │
╰─────────────────────────╯
"""
BARE = """\
 Unrecognized
 ----------------------
  Unrecognized: --a-very,
  3
  ---------------------
  Perhaps you meant:
      --a-word INT
"""


@pytest.mark.parametrize("box", [FRAMED.replace("to    │\n│ ", "to "), BARE, f"\x1b[31m{BARE}"])
def test_a_complaint_is_one_line_with_a_frame_or_without(box):
    from stillroom import request

    said = request._one_line(box, "sim x")
    assert said == "Unrecognized: --a-very, 3; did you mean --a-word?; see `stillroom sim x --help`"
    assert request._one_line("", "sim x").startswith("the options cannot be read")


@pytest.mark.parametrize("file", ["none.npz", "bad.npz", "half.npz"])
def test_a_bad_data_file_is_one_line_and_nothing_is_stored(sim, tmp_path, file):
    (tmp_path / "bad.npz").write_bytes(b"junk")
    np.savez(tmp_path / "half.npz", X=np.eye(3))
    status, _, err = sim("--data", tmp_path / file)
    assert status == 2
    assert err.startswith("stillroom: error: ")
    assert file in err
    assert err.count("\n") == 1
    assert not list(tmp_path.glob("out/results/*/[0-9a-f]*"))


def test_an_edited_data_file_is_another_question(sim, tmp_path):
    path = tmp_path / "my.npz"
    for labels, fetched in [([0, 1, 2], False), ([0, 1, 2], True), ([2, 1, 0], False)]:
        np.savez(path, X=np.eye(3), y=labels)
        assert ("already finished" in sim("--data", path)[1]) is fetched


def test_a_data_root_that_is_not_there(sim, tmp_path, monkeypatch):
    status, _, err = sim("--data-root", tmp_path / "none")
    assert status == 2
    assert "--data-root must be a folder of image sets, got" in err
    monkeypatch.setenv("STILLROOM_DATA", str(tmp_path / "neither"))
    assert sim()[0] == 0  # needs no images
    monkeypatch.setenv("STILLROOM_DATA", "")
    assert sim("--data-root", tmp_path)[0] == 0


def test_unknown_names_and_options_before_the_name(sim, capsys, tmp_path):
    assert "did you mean 'fake_squares'?" in sim(name="fake_square")[2]
    assert "the name of the experiment comes first, got '--size'" in sim(name="--size")[2]
    assert not (tmp_path / "out").exists()


def test_all_runs_every_one_at_a_size(sim, tmp_path):
    status, out, _ = sim("--size", "smoke", name="all")
    assert status == 0
    assert "The sum of the 2 squares is 1," in out
    assert "numbers" in sim("--numbers", "3", name="all")[2]


@pytest.mark.parametrize(
    ("how", "status", "said"),
    [
        ("value", 2, "stillroom: error: the numbers are bad\n"),
        ("type", 1, "stillroom: failed: TypeError: the numbers are bad (STILLROOM_DEBUG=1"),
        ("interrupt", 130, "stillroom: interrupted; what is finished is kept\n"),
    ],
)
def test_a_failure_is_one_line_and_stores_nothing(sim, tmp_path, how, status, said):
    got, _, err = sim("--fail", how)
    assert got == status
    assert err.startswith(said)
    assert not list(tmp_path.glob("out/results/*/[0-9a-f]*"))


def test_a_damaged_result_is_said_and_made_again(sim, tmp_path, monkeypatch):
    import warnings

    sim()
    (arrays,) = tmp_path.glob("out/results/fake_squares/*/arrays.npz")
    arrays.write_bytes(arrays.read_bytes()[:50])
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        status, out, err = sim()
    assert status == 0
    assert "stillroom: warning: stored entry" in err
    assert "set-aside" in err
    assert "stored in" in out
    assert "already finished" in sim()[1]


def test_help_has_no_color_where_none_is_wanted(fakes, monkeypatch, capsys):
    import sys

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    for wanted in (True, False):
        monkeypatch.setenv("NO_COLOR", "" if wanted else "1")
        with pytest.raises(SystemExit):
            main(["sim", "fake_squares", "--help"])
        said = capsys.readouterr().out
        assert "How many numbers" in said.replace("\x1b[0m\x1b[2m", "") or wanted
        assert ("\x1b[" in said) is wanted
