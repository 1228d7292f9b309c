import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stillroom import commands
from stillroom.main import main, names

HOUSE = Path(__file__).parents[2]


def stillroom(*arguments, **options):
    command = [sys.executable, "-m", "stillroom.main", *map(str, arguments)]
    return subprocess.run(
        command, cwd=HOUSE, text=True, capture_output=True, check=False, **options
    )


@pytest.mark.parametrize("asked", [[], ["--help"], ["-h"], ["help"]])
def test_help_lists_the_commands(capsys, asked):
    assert main(asked) == 0
    said = capsys.readouterr().out
    for name in ("demo", "sim", "figures", "report"):
        assert f"  {name} " in said


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("stillroom ")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("demmo", "unknown command 'demmo'; did you mean 'demo'?"),
        ("zzz", "unknown command 'zzz'; commands: bench, compare, demo, figures, report, sim"),
        ("--zzz", "unknown option '--zzz'; commands: bench, compare, demo, figures, report, sim"),
        ("demo --workers x", "argument --workers: invalid int value: 'x'; see `stillroom demo"),
        ("demo --workers 0", "--workers must be at least 1, got 0"),
        ("demo --bogus", "unrecognized arguments: --bogus"),
        ("demo --wor 1", "unrecognized arguments: --wor 1"),
        ("report --out", "argument --out: expected one argument"),
        ("figures no_such_figure", "unknown figure 'no_such_figure'"),
        ("figures --formats bmp", "argument --formats: invalid choice: 'bmp'"),
    ],
)
def test_a_mistake_is_one_line_on_standard_error(capsys, asked, said, tmp_path, monkeypatch):
    monkeypatch.setenv("STILLROOM_OUT", str(tmp_path / "out"))
    assert main(asked.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("stillroom: error: ")
    assert said in err


@pytest.mark.parametrize("command", ["demo", "figures", "report"])
def test_every_command_has_help(capsys, command):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    assert f"usage: stillroom {command}" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["report", "figures"])
def test_no_results_is_said_and_nothing_made(capsys, command, tmp_path):
    assert main([command, "--out", str(tmp_path / "out")]) == 2
    assert "no results under" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/stillroom"])
@pytest.mark.parametrize("command", [["demo"], ["sim", "fake_squares"]])
def test_an_out_folder_that_cannot_be_used(capsys, fakes, tmp_path, place, command):
    (tmp_path / "file").write_text("mine")
    assert main([*command, "--out", str(tmp_path / place)]) == 2
    assert "stillroom: error: --out must be a folder" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


def test_an_out_folder_that_may_not_be_written(capsys, fakes, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert main(["sim", "fake_squares", "--out", str(tmp_path)]) == 2
    assert "can be written to" in capsys.readouterr().err


def broken(monkeypatch, error):
    def fail(arguments):
        raise error

    monkeypatch.setattr("stillroom.commands.report.main", fail)


def test_a_failure_of_ours_says_what_kind_and_how_to_see_more(capsys, monkeypatch):
    broken(monkeypatch, TypeError("no such thing"))
    assert main(["report"]) == 1
    said = capsys.readouterr().err
    assert said == "stillroom: failed: TypeError: no such thing (STILLROOM_DEBUG=1 shows where)\n"


def test_debugging_shows_the_traceback(monkeypatch):
    broken(monkeypatch, ValueError("bad"))
    monkeypatch.setenv("STILLROOM_DEBUG", "1")
    with pytest.raises(ValueError, match="bad"):
        main(["report"])


def test_notes_and_files_are_in_the_line(capsys, monkeypatch):
    error = ValueError("bad\nvalue")
    error.add_note("while computing f of 3")
    broken(monkeypatch, error)
    assert main(["report"]) == 2
    assert capsys.readouterr().err == "stillroom: error: bad value (while computing f of 3)\n"
    broken(monkeypatch, PermissionError(13, "Permission denied", "out/x"))
    assert main(["report"]) == 2
    assert capsys.readouterr().err == "stillroom: error: out/x: Permission denied\n"


def test_an_interrupt_ends_with_130(capsys, monkeypatch):
    broken(monkeypatch, KeyboardInterrupt())
    assert main(["report"]) == 130
    assert capsys.readouterr().err == "stillroom: interrupted; what is finished is kept\n"


def test_a_reader_that_has_seen_enough_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    done = stillroom_to(writing)
    os.close(writing)
    assert done.returncode == 141
    assert done.stderr == ""


def stillroom_to(handle, **options):
    command = [sys.executable, "-m", "stillroom.main", "--help"]
    return subprocess.run(
        command, cwd=HOUSE, text=True, stdout=handle, stderr=subprocess.PIPE, check=False, **options
    )


@pytest.mark.parametrize(
    ("asked", "closed"),
    [
        ("--help", "1"),
        ("--help", "0 1 2"),
        ("zzz", "2"),
        ("sim spectral_atlas --help", "1"),
        ("sim spectral_atlas --size smoke --no-figures", "0 1"),
    ],
)
def test_closed_streams_are_no_error(tmp_path, asked, closed):
    shut = " ".join(f"{number}>&-" for number in closed.split())
    command = f'"$0" -m stillroom.main {asked} {shut}'
    env = {**os.environ, "STILLROOM_OUT": str(tmp_path)}
    done = subprocess.run(
        ["sh", "-c", command, sys.executable], cwd=HOUSE, env=env, check=False, capture_output=True
    )
    assert done.returncode == (2 if asked == "zzz" else 0)
    assert b"Error" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_standard_output_is_named():
    with open("/dev/full", "w") as full:
        env = {**os.environ, "PYTHONUNBUFFERED": ""}
        done = stillroom_to(full, env=env)
    assert done.returncode == 2
    assert done.stderr == "stillroom: error: standard output: No space left on device\n"


def test_a_terminal_without_greek_letters_is_no_error():
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    done = stillroom("sim", "zzz·", env=env)
    assert done.returncode == 2
    assert "unknown experiment" in done.stderr
    assert stillroom("--help", env=env).returncode == 0


def test_a_command_is_one_file(capsys, monkeypatch, tmp_path):
    (tmp_path / "brew.py").write_text(
        "SUMMARY = 'make tea'\ndef main(arguments):\n    print(arguments)\n    return 7\n"
    )
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])
    assert "brew" in names()
    assert main(["brew", "strong"]) == 7
    assert main(["--help"]) == 0
    assert "make tea" in capsys.readouterr().out
    sys.modules.pop("stillroom.commands.brew")


def test_a_warning_is_one_line(capsys, monkeypatch):
    import warnings

    def warn(arguments):
        warnings.simplefilter("always")
        warnings.warn("mind\nthis", stacklevel=1)
        return 0

    monkeypatch.setattr("stillroom.commands.report.main", warn)
    assert main(["report"]) == 0
    assert capsys.readouterr().err == "stillroom: warning: mind this\n"


def test_a_stream_that_cannot_be_reconfigured_will_do(monkeypatch):
    said = io.StringIO()
    monkeypatch.setattr(sys, "stdout", said)
    assert main(["--version"]) == 0
    assert said.getvalue().startswith("stillroom")
