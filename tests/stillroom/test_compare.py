"""``stillroom compare``: files in, tables and figures out, one line for every mistake."""

import csv
import os
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest

from sims import results
from stillroom.main import main


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Files of two networks in the current folder."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 200)
    teacher = rng.standard_normal((200, 4)) + 2 * np.eye(4)[labels]
    student = 1.4 * teacher + 0.5 * rng.standard_normal((200, 4))
    control = teacher + 0.8 * rng.standard_normal((200, 4))
    monkeypatch.chdir(tmp_path)
    np.save("teacher.npy", teacher.astype(np.float32))
    np.savez("student.npz", student)
    np.savez("control.npz", logits=control, other=np.zeros(3))
    np.save("labels.npy", labels)
    np.savez("labels.npz", labels)
    np.savez("with_labels.npz", logits=student, labels=labels)
    np.savez("other_labels.npz", z=teacher, labels=np.roll(labels, 1))
    np.savez("two.npz", a=teacher, b=student)
    np.savez("three.npz", a=teacher, b=student, labels=labels)
    np.savez("objects.npz", np.array([{}], dtype=object))
    np.save("objects.npy", np.array([{}], dtype=object))
    np.save("shorter.npy", teacher[:50])
    np.save("probabilities.npy", np.full((200, 4), 0.25))
    (tmp_path / "checkpoint.pt").write_bytes(b"not numpy")
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY\x01\x00v")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04" + bytes(40))
    with zipfile.ZipFile("torch.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    (tmp_path / "names.txt").write_text("cat\ndog\n\nowl\nfox\n")
    (tmp_path / "empty.npy").write_bytes(b"")
    return tmp_path


def run(*words):
    return main(["compare", *words])


def test_tables_figures_and_a_result(files, capsys):
    words = ["teacher.npy", "student.npz", "--labels", "labels.npy", "--control", "control.npz"]
    assert run(*words, "--name", "pets", "--class-names", "names.txt") == 0
    said = capsys.readouterr().out
    for part in (
        "comparison: pets, 200 samples of 4 classes", "slope, teacher least sure", "slope less the",
        "Who is right", "ECE, 15 bins", "accuracy (%)", "student less teacher", "owl",
        "figure: out/figures/comparison-pets.svg", "figure: out/figures/comparison-pets.pdf",
        "stored in out/results/comparison/",
    ):  # fmt: skip
        assert part in said
    assert (files / "out/figures/comparison-pets.svg").stat().st_size < 400_000
    stored = results.load("out", "comparison")
    assert stored.label == "pets"
    assert run(*words, "--name", "pets", "--class-names", "cat", "dog", "owl", "fox") == 0
    assert "already finished, from out/results" in capsys.readouterr().out
    assert run(*words, "--name", "pets", "--class-names", "names.txt", "--fresh") == 0
    assert "stored in out/results" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("form", "part"),
    [
        ("markdown", "| accuracy (%) |"),
        ("latex", r"\toprule"),
        ("csv", "network,accuracy,student,"),
    ],
)
def test_tables_in_other_forms(files, capsys, form, part):
    words = ["teacher.npy", "student.npz", "--labels", "labels.npz"]
    assert run(*words, "--table", form, "--no-figures") == 0
    said = capsys.readouterr()
    assert part in said.out
    assert "stored in" in said.err  # what is no table would spoil a file of them
    assert "stored in" not in said.out
    assert not (files / "out/figures").exists()


def test_a_csv_is_one_table_of_numbers(files, capsys):
    words = ["teacher.npy", "student.npz", "--labels", "labels.npz"]
    assert run(*words, "--table", "csv", "--no-figures") == 0
    rows = list(csv.reader(capsys.readouterr().out.splitlines()))
    assert rows[0] == ["table", "what", "of", "value", "low", "high"]
    assert {len(row) for row in rows} == {6}
    assert all(cell == "" or np.isfinite(float(cell)) for row in rows[1:] for cell in row[3:])


def test_titles_are_comments_in_latex(files, capsys):
    assert run("teacher.npy", "student.npz", "--table", "latex", "--no-figures") == 0
    said = capsys.readouterr().out
    outside = said.replace("\\end{tabular}", "\\begin{tabular}").split("\\begin{tabular}")[::2]
    assert all(line[:1] in ("", "%") for part in outside for line in part.splitlines())


def test_labels_may_lie_beside_the_logits(files, capsys):
    assert run("teacher.npy", "with_labels.npz", "--no-figures") == 0
    assert "accuracy (%)" in capsys.readouterr().out
    assert run("other_labels.npz", "with_labels.npz", "--no-figures") == 2
    assert "the rows are not the same samples" in capsys.readouterr().err


def test_several_comparisons_are_drawn_and_told(files, capsys):
    for name, student in (("one", "student.npz"), ("two", "control.npz"), ("", "control.npz")):
        assert run("teacher.npy", student, "--name", name, "--no-figures") == 0
    assert main(["report"]) == 0
    page = (files / "out/report/index.html").read_text()
    for title in ("Your networks: one", "Your networks: two", "Your networks<"):
        assert title in page
    for anchor in ("experiment-comparison-one", "experiment-comparison-two", "comparison-two"):
        assert page.count(f'id="{anchor}"') == 1
    assert "slope, teacher least sure" in page
    assert "stillroom sim comparison" not in page
    assert main(["figures", "comparison", "--formats", "svg"]) == 0
    drawn = sorted(path.name for path in (files / "out/figures").iterdir())
    assert drawn == ["comparison-one.svg", "comparison-two.svg", "comparison.svg"]
    capsys.readouterr()
    assert main(["figures", "comparison", "--out", "elsewhere"]) == 2
    assert "run `stillroom compare TEACHER STUDENT`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["teacher.npy"], "the following arguments are required: STUDENT"),
        (
            ["teacher.npy", "absent.npy"],
            "student must be an npy or npz file, but absent.npy is not",
        ),
        (["teacher.npy", "."], "but . is a folder"),
        (["teacher.npy", "two.npz"], "student two.npz must hold one array, or one called 'logits'"),
        (["teacher.npy", "three.npz"], "one called 'logits'; it holds a, b"),
        (["teacher.npy", "objects.npy"], "holds Python objects, which are not unpickled"),
        (["teacher.npy", "objects.npz"], "holds Python objects, which are not unpickled"),
        (["teacher.npy", "checkpoint.pt"], "save it from PyTorch by np.save"),
        (["teacher.npy", "torch.pt"], "must hold an array, but there is none in it; save it from"),
        (["teacher.npy", "broken.npy"], "student must be an npy or npz file, but broken.npy"),
        (["teacher.npy", "broken.npz"], "but broken.npz is none"),
        (["teacher.npy", "empty.npy"], "student must be an npy or npz file, but empty.npy"),
        (["teacher.npy", "names.txt"], "but names.txt is none; write it by np.save"),
        (["teacher.npy", "shorter.npy"], "same shape, got teacher (200, 4), student (50, 4)"),
        (["teacher.npy", "probabilities.npy"], "every row sums to 1 (or 100)"),
        (["teacher.npy", "labels.npy"], "student must have shape (samples, classes)"),
        (["teacher.npy", "student.npz", "--labels", "two.npz"], "labels two.npz must hold one"),
        (["teacher.npy", "student.npz", "--labels", "student.npz"], "one class a sample"),
        (["teacher.npy", "student.npz", "--control", "absent"], "control must be an npy or npz"),
        (["teacher.npy", "student.npz", "--name", "a/b"], "name must be up to 60 letters"),
        (
            ["teacher.npy", "student.npz", "--class-names", "a"],
            "got 'a', and there is no such file",
        ),
        (["teacher.npy", "student.npz", "--class-names", "a", "b"], "one for each of 4 classes"),
        (["teacher.npy", "student.npz", "--fraction", "0"], "fraction must be in (0, 0.5]"),
        (["teacher.npy", "student.npz", "--bins", "x"], "argument --bins: invalid int value"),
        (["teacher.npy", "student.npz", "--table", "html"], "argument --table: invalid choice"),
        (["teacher.npy", "student.npz", "--out", "teacher.npy"], "which is a file"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(files, capsys, words, says):
    before = sorted(files.iterdir())
    assert run(*words) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert said.err.startswith("stillroom: error: ")
    assert said.out == ""
    left = [path for path in sorted(files.iterdir()) if path not in before]
    assert [path for folder in left for path in folder.rglob("*.npz")] == []


def test_help_says_how_to_make_the_files(capsys):
    with pytest.raises(SystemExit) as end:
        run("--help")
    assert end.value.code == 0
    said = capsys.readouterr().out
    for part in (
        "TEACHER",
        "--labels",
        "--control",
        "np.save",
        "(seeds, samples, classes)",
        "slope",
    ):
        assert part in said


@pytest.mark.slow
def test_killed_at_any_moment_it_leaves_a_whole_result_or_none(files):
    command = [sys.executable, "-m", "stillroom.main", "compare", "teacher.npy", "student.npz"]
    begin = time.perf_counter()
    subprocess.run([*command, "--out", "whole"], check=True, capture_output=True)
    length = time.perf_counter() - begin
    for share in np.linspace(0.3, 1.0, 8):
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ
        )
        time.sleep(share * length)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for result in results.latest("out").values():
            assert result.findings
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "figure: out/figures/comparison.svg" in done.stdout
