import errno
import json
import math
import multiprocessing
import os
import resource
import time
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import linear

from deep.records.store import Corrupt
from deep.training.streams import stream
from deep.training.teacher_views import (
    Layout,
    NotStored,
    ViewTable,
    expected_share,
    storage_error,
    table_key,
)

# children do no more than look up and write; Python 3.12 warns of any fork beside a thread
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

SAMPLES, VIEWS, CLASSES = 40, 6, 5
KEY = "ab12"
TRUTH = torch.from_numpy(
    stream("test_teacher_views").standard_normal((SAMPLES, VIEWS, CLASSES))
).float()


class Teacher:
    """Says what stands in an array, and remembers what it was asked."""

    def __init__(self, truth=TRUTH):
        self.truth, self.asked = truth, []

    def __call__(self, index, view):
        assert index.dtype == view.dtype == torch.int64
        assert not torch.is_grad_enabled()
        self.asked.append(torch.stack([index, view], dim=1))
        return self.truth[index, view]

    @property
    def cells(self):
        """Different cells that were asked for."""
        return {tuple(cell) for cell in torch.cat(self.asked).tolist()} if self.asked else set()


def make(folder, **changed):
    shape = {"key": KEY, "samples": SAMPLES, "views": VIEWS, "classes": CLASSES}
    return ViewTable.open(folder, **{**shape, **changed})


def draw(seed, *shape):
    rng = stream("test_draw", seed)
    i, v = rng.integers(SAMPLES, size=shape), rng.integers(VIEWS, size=shape)
    return torch.from_numpy(i), torch.from_numpy(v)


@pytest.fixture(params=["memory", "file"])
def folder(request, tmp_path):
    return None if request.param == "memory" else tmp_path / "teacher_views"


def test_lookups_are_what_the_teacher_says(folder):
    teacher, seen = Teacher(), set()
    table = make(folder)
    for seed in range(12):
        index, view = draw(seed, 16)
        before = len(teacher.asked)
        assert torch.equal(table.lookup(index, view, teacher), TRUTH[index, view])
        new = set(zip(index.tolist(), view.tolist(), strict=True)) - seen
        asked = {tuple(c) for part in teacher.asked[before:] for c in part.tolist()}
        assert asked == new  # those that are missing, and no others
        seen |= new
        assert table.filled == len(seen)
        assert table.share == len(seen) / (SAMPLES * VIEWS)
    assert table.damaged == 0


def test_members_and_duplicates_are_computed_once(folder):
    index, view = torch.tensor([[3, 3, 4], [4, 3, 9]]), torch.tensor([[1, 1, 0], [0, 2, 5]])
    teacher, table = Teacher(), make(folder)
    got = table.lookup(index, view, teacher)
    assert got.shape == (2, 3, CLASSES)
    assert torch.equal(got, TRUTH[index, view])
    assert teacher.cells == {(3, 1), (4, 0), (3, 2), (9, 5)}
    assert table.filled == 4
    assert torch.equal(table.lookup(index, view, teacher), got)
    assert len(teacher.asked) == 1

    many = torch.arange(20, 36).repeat(5, 1)  # five members with the same sixteen cells
    assert torch.equal(table.lookup(many, many % VIEWS, teacher), TRUTH[many, many % VIEWS])
    assert len(teacher.asked[1]) == 16


@pytest.mark.parametrize("shape", [(0,), (3, 0)])
def test_an_empty_batch_asks_nothing(folder, shape):
    teacher = Teacher()
    empty = torch.empty(shape, dtype=torch.int64)
    assert make(folder).lookup(empty, empty, teacher).shape == (*shape, CLASSES)
    assert not teacher.asked


@pytest.mark.parametrize(("missing", "asked"), [(1, 16), (16, 16), (17, 24), (40, 40)])
def test_the_teacher_is_never_given_few_cells(missing, asked):
    teacher = Teacher()
    index = torch.arange(missing)
    make(None).lookup(index, torch.zeros_like(index), teacher)
    assert [len(part) for part in teacher.asked] == [asked]


def test_many_cells_are_computed_in_parts():
    teacher = Teacher(torch.arange(2000.0)[:, None, None].expand(2000, 1, 2))
    table = ViewTable.open(None, key=KEY, samples=2000, views=1, classes=2)
    index = torch.arange(2000).flip(0)
    got = table.lookup(index, torch.zeros_like(index), teacher)
    assert torch.equal(got[:, 0], index.float())
    assert [len(part) for part in teacher.asked] == [512, 512, 512, 464]


def test_stored_logits_do_not_depend_on_what_was_missing_with_them():
    torch.set_num_threads(1)
    rng = stream("test_network")
    a, b = (torch.from_numpy(rng.standard_normal(s)).float() for s in ((96, 64), (10, 96)))
    x = torch.from_numpy(rng.standard_normal((64, 64))).float()

    def teacher(index, view):
        return linear(torch.relu(linear(x[index], a)), b)

    def filled(parts):
        table = ViewTable.open(None, key=KEY, samples=64, views=1, classes=10)
        for part in parts:
            table.lookup(part, torch.zeros_like(part), teacher)
        index = torch.arange(64)
        return table.lookup(index, torch.zeros_like(index), teacher)

    whole = filled([])
    for size in (1, 2, 3, 5, 17):
        assert torch.equal(filled(torch.arange(64).split(size)), whole), size


def test_a_file_is_read_again(tmp_path):
    index, view = draw(0, 30)
    with make(tmp_path) as table:
        table.lookup(index, view, Teacher())
    teacher = Teacher()
    with make(tmp_path) as table:
        assert table.filled == len(torch.unique(index * VIEWS + view))
        assert torch.equal(table.lookup(index, view, teacher), TRUTH[index, view])
    assert not teacher.asked


def test_two_open_tables_see_each_other(tmp_path):
    one, two = make(tmp_path), make(tmp_path)
    index, view = draw(1, 30)
    one.lookup(index, view, Teacher())
    teacher = Teacher()
    assert torch.equal(two.lookup(index, view, teacher), TRUTH[index, view])
    assert not teacher.asked


def test_only_what_is_filled_takes_up_space(tmp_path):
    size = {"samples": 50_000, "views": 162, "classes": 100}
    table = make(tmp_path, **size)
    index = torch.arange(64) * 700
    truth = torch.zeros(1, 1, 100).expand(50_000, 162, 100)
    table.lookup(index, index % 162, Teacher(truth))
    paths = [tmp_path / KEY / name for name in ("logits.bin", "marks.bin")]
    assert sum(path.stat().st_size for path in paths) == Layout(key=KEY, **size).bytes
    assert sum(512 * path.stat().st_blocks for path in paths) < 2**20
    assert table.filled == 64


def test_a_sweep_fills_what_is_missing(folder):
    table, teacher, told = make(folder), Teacher(), []
    index, view = draw(2, 30)
    table.lookup(index, view, Teacher())
    table.sweep(teacher, batch=32, advance=told.append)
    assert sum(told) == SAMPLES * VIEWS == table.filled
    assert teacher.cells.isdisjoint(zip(index.tolist(), view.tolist(), strict=True))
    index = torch.arange(SAMPLES)[:, None].expand(-1, VIEWS)
    view = torch.arange(VIEWS).expand(SAMPLES, -1)
    silent = Teacher()
    assert torch.equal(table.lookup(index, view, silent), TRUTH)
    assert not silent.asked


BIG = {"samples": 4000, "classes": 64}


def forked(work, *arguments):
    """A process that does ``work``; a fork, for it has torch already."""
    process = multiprocessing.get_context("fork").Process(target=work, args=arguments)
    process.start()
    return process


def fill(folder, seed):
    """Look up at random, and sweep at times, until all is filled."""
    truth, rng = big_truth(), stream("test_child", seed)
    table = make(folder, **BIG)
    while table.share < 1:
        index = torch.from_numpy(rng.integers(4000, size=64))
        view = torch.from_numpy(rng.integers(VIEWS, size=64))
        assert torch.equal(table.lookup(index, view, Teacher(truth)), truth[index, view])
        if rng.random() < 0.02:
            table.sweep(Teacher(truth), batch=100)


def big_truth():
    return torch.arange(4000.0 * VIEWS * 64).view(4000, VIEWS, 64)


def everything(table, truth):
    """Rows that are marked, and whether each is right."""
    cells = table._shelf.held()
    rows = table._shelf.rows[cells]
    sound = table._shelf.marks[cells] == table._shelf.checksum(cells, rows)
    right = (torch.from_numpy(rows) == truth.flatten(0, 1)[torch.from_numpy(cells)]).all(1)
    return len(cells), sound, right.numpy()


def test_two_processes_fill_one_table(tmp_path):
    children = [forked(fill, tmp_path, seed) for seed in range(2)]
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    count, sound, right = everything(make(tmp_path, **BIG), big_truth())
    assert count == 4000 * VIEWS
    assert sound.all()
    assert right.all()


def killed_while_filling(folder, times, purpose):
    """Two processes each time, killed at random moments; what they left must be right."""
    rng, counts = stream(purpose), [0]
    for moment in range(times):
        children = [forked(fill, folder, 2 * moment + k) for k in range(2)]
        for child in children:
            time.sleep(float(rng.uniform(0, 0.02)))
            child.kill()
            child.join()
            assert child.exitcode in (-9, 0)
        count, sound, right = everything(make(folder, **BIG), big_truth())
        assert sound.all()
        assert right.all()
        assert count >= counts[-1]
        counts.append(count)
    return counts


def test_what_killed_processes_marked_is_right(tmp_path):
    assert killed_while_filling(tmp_path, 12, "test_kill")[-1] > 0


@pytest.mark.slow
def test_what_many_killed_processes_marked_is_right(tmp_path):
    for table in range(20):
        counts = killed_while_filling(tmp_path / str(table), 12, f"test_kill_{table}")
        assert counts[-1] > 0


def damage(path, cell, row_bytes):
    with path.open("r+b") as file:
        file.seek(cell * row_bytes + 3)
        byte = file.read(1)[0]
        file.seek(cell * row_bytes + 3)
        file.write(bytes([byte ^ 4]))


@pytest.mark.parametrize("what", ["changed", "lost", "unmarked"])
def test_a_spoiled_row_is_computed_again(tmp_path, what):
    table = make(tmp_path)
    table.sweep(Teacher())
    logits, marks = tmp_path / KEY / "logits.bin", tmp_path / KEY / "marks.bin"
    cell = 17 * VIEWS + 2
    if what == "changed":
        damage(logits, cell, 4 * CLASSES)
    else:  # as a power cut does: pages of one file are on the disk, those of the other are not
        path, size = (logits, 4 * CLASSES) if what == "lost" else (marks, 4)
        with path.open("r+b") as file:
            file.seek(cell * size)
            file.write(bytes(size))
    teacher = Teacher()
    index, view = torch.tensor([16, 17, 17]), torch.tensor([2, 2, 3])
    reopened = make(tmp_path)
    assert torch.equal(reopened.lookup(index, view, teacher), TRUTH[index, view])
    assert teacher.cells == {(17, 2)}
    assert reopened.damaged == (what != "unmarked")
    assert torch.equal(reopened.lookup(index, view, teacher), TRUTH[index, view])
    assert len(teacher.asked) == 1


@given(st.integers(0, 4), st.integers(0, 31), st.integers(0, SAMPLES * VIEWS - 1))
def test_every_changed_bit_is_noticed(word, bit, cell):
    table = make(None)
    shelf = table._shelf
    row = TRUTH.flatten(0, 1)[cell : cell + 1].numpy().copy()
    cells = np.array([cell])
    mark = shelf.checksum(cells, row)
    assert mark != 0
    assert shelf.checksum(np.array([(cell + 1) % (SAMPLES * VIEWS)]), row) != mark
    row.view(np.uint32)[0, word] ^= np.uint32(1 << bit)
    # a change of the lowest bit of the mark is lost, and only a factor this small would be
    assert shelf.checksum(cells, row) != mark


def test_verification_of_a_right_table(folder):
    table = make(folder)
    assert table.verify(Teacher(), rng=stream("test")) == 0.0
    table.sweep(Teacher())
    teacher = Teacher(TRUTH + 1e-6)
    assert 0 < table.verify(teacher, cells=50, rng=stream("test")) < 2e-6
    assert len(teacher.cells) == 50
    assert table.filled == SAMPLES * VIEWS


def test_verification_sets_another_teachers_table_aside(folder):
    table = make(folder)
    table.sweep(Teacher())
    other = TRUTH.clone()
    other[5, 1, 2] += 0.1
    with pytest.warns(Corrupt, match=r"it differs by 1.0e-01 from what the teacher says"):
        assert table.verify(Teacher(other), rng=stream("test")) == pytest.approx(0.1)
    assert table.filled == 0
    index = torch.tensor([5])
    assert torch.equal(table.lookup(index, torch.tensor([1]), Teacher(other))[0], other[5, 1])
    if folder is not None:
        assert len(list((folder / "set-aside").iterdir())) == 1
        assert make(folder).filled == 1


def test_verification_with_a_nan_and_a_spoiled_row(tmp_path):
    truth = TRUTH.clone()
    truth[0, 0, 0], truth[1, 1, 1] = math.nan, -math.inf
    table = make(tmp_path)
    table.sweep(Teacher(truth))
    damage(tmp_path / KEY / "logits.bin", 100, 4 * CLASSES)
    assert table.verify(Teacher(truth), rng=stream("test")) == 0.0
    _, sound, _ = everything(table, truth)
    assert sound.all()
    with pytest.warns(Corrupt, match="it differs by inf"):
        assert table.verify(Teacher(), rng=stream("test")) == math.inf


def spoil_header(place):
    (place / "header.json").write_text("{")


def lose_header(place):
    (place / "header.json").unlink()


def other_shape(place):
    header = json.loads((place / "header.json").read_text())
    (place / "header.json").write_text(json.dumps({**header, "classes": CLASSES + 1}))


def cut_short(place):
    os.truncate(place / "logits.bin", 100)


def lose_marks(place):
    (place / "marks.bin").unlink()


def overwrite(place):
    size = (place / "logits.bin").stat().st_size
    (place / "logits.bin").write_bytes(bytes(size))


FAULTS = [spoil_header, lose_header, other_shape, cut_short, lose_marks, overwrite]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_damaged_table_is_set_aside_and_begun_anew(tmp_path, fault):
    with make(tmp_path) as table:
        table.sweep(Teacher())
    fault(tmp_path / KEY)
    with pytest.warns(Corrupt, match=r"set aside, and begun anew: .*moved to .*set-aside"):
        table = make(tmp_path)
    assert table.filled == 0
    index, view = draw(3, 20)
    assert torch.equal(table.lookup(index, view, Teacher()), TRUTH[index, view])
    make(tmp_path)  # without a warning


def test_a_table_of_other_numbers_is_another(tmp_path):
    make(tmp_path).sweep(Teacher())
    with pytest.warns(Corrupt, match="another table than its name and shape say"):
        assert make(tmp_path, dtype="float16").filled == 0


def test_what_was_being_begun_when_killed_is_no_hindrance(tmp_path):
    (tmp_path / f".new-{KEY}").mkdir(parents=True)
    (tmp_path / f".new-{KEY}" / "logits.bin").write_bytes(b"x")
    table = make(tmp_path)
    table.sweep(Teacher())
    assert table.filled == SAMPLES * VIEWS


def test_a_full_disk_stops_the_storing_alone(tmp_path, monkeypatch):
    table = make(tmp_path)
    index, view = draw(4, 20)
    table.lookup(index, view, Teacher())
    held = table.filled
    real, left = os.pwrite, [25 * CLASSES]

    def full(handle, content, offset):
        if left[0] <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        part = content[: left[0]]  # as the last write on a full disk: a part of a row
        left[0] -= len(part)
        return real(handle, part, offset)

    monkeypatch.setattr(os, "pwrite", full)
    index, view = draw(5, 40)
    teacher = Teacher()
    with pytest.warns(NotStored, match=r"\(No space left on device\).*each time"):
        assert torch.equal(table.lookup(index, view, teacher), TRUTH[index, view])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is said once
        assert torch.equal(table.lookup(index, view, teacher), TRUTH[index, view])
    monkeypatch.undo()
    assert table.filled == held
    with pytest.raises(OSError, match="cannot be stored") as caught:
        table.sweep(teacher)
    assert caught.value.errno == errno.ENOSPC
    fresh = make(tmp_path)
    assert torch.equal(fresh.lookup(index, view, Teacher()), TRUTH[index, view])


def test_short_writes_are_continued(tmp_path, monkeypatch):
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda handle, content, at: real(handle, content[:3], at))
    with make(tmp_path) as table:
        table.sweep(Teacher())
    count, sound, right = everything(make(tmp_path), TRUTH)
    assert count == SAMPLES * VIEWS
    assert sound.all()
    assert right.all()


def test_space_is_left_to_others(tmp_path, monkeypatch):
    table = make(tmp_path)
    monkeypatch.setattr("deep.training.teacher_views.shelves._RESERVE", 2**60)
    index, view = draw(4, 20)
    with pytest.warns(NotStored, match="MiB of the disk are free"):
        assert torch.equal(table.lookup(index, view, Teacher()), TRUTH[index, view])
    assert table.filled == 0


def work_with_limited_files(folder):
    table = make(folder)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, hard))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for seed in range(20):
            index, view = draw(seed, 20)
            assert torch.equal(table.lookup(index, view, Teacher()), TRUTH[index, view])
    assert [warning.category for warning in caught] == [NotStored]
    with pytest.raises(OSError, match="File too large") as error:
        make(folder, key="99", samples=4000)
    assert error.value.errno == errno.EFBIG
    assert error.value.filename == str(folder / "99")


def test_a_limit_on_the_size_of_files(tmp_path):
    child = forked(work_with_limited_files, tmp_path)
    child.join(60)
    assert child.exitcode == 0
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != ".locks") == [KEY]


def test_half_precision_gives_what_it_stores(folder):
    table = make(folder, dtype="float16")
    index, view = draw(6, 30)
    first = table.lookup(index, view, Teacher())
    assert first.dtype == torch.float32
    assert torch.equal(first, TRUTH[index, view].half().float())
    assert torch.equal(table.lookup(index, view, Teacher()), first)
    table.sweep(Teacher())
    gap = table.verify(Teacher(), rng=stream("test"))
    assert 0 < gap <= 2.0**-11 * float(TRUTH.abs().max())


def test_half_precision_refuses_what_it_cannot_hold():
    index = torch.tensor([0])
    with pytest.raises(ValueError, match=r"logits must be at most 65504 .* use float32"):
        make(None, dtype="float16").lookup(index, index, Teacher(TRUTH * 1e6))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_storage_error_against_direct_computation(temperature):
    z = stream("test").standard_normal((500, 100)) * 6
    p = torch.softmax(torch.from_numpy(z) / temperature, -1)
    rounded = torch.from_numpy(z).half().double()
    q = torch.softmax(rounded / temperature, -1)
    got = storage_error(z, "float16", temperature)
    assert got.largest == pytest.approx(float((p - q).abs().max()), rel=1e-9)
    mean = float((p * (p / q).log()).sum(1).mean())
    assert got.divergence == pytest.approx(mean, rel=1e-6)
    # the figures are PROTOCOL.md's, for logits of this deviation
    assert got.largest == pytest.approx(2.5e-3 if temperature == 1 else 5e-4, rel=0.1)
    assert storage_error(z, "float32", temperature).largest < 1e-6
    coarse = storage_error(z, "bfloat16", temperature)
    assert 5 < coarse.largest / got.largest < 12


@pytest.mark.parametrize(("epochs", "views", "want"), [(0, 5, 0), (1, 4, 0.25), (2, 4, 0.4375)])
def test_expected_share(epochs, views, want):
    assert expected_share(epochs, views) == pytest.approx(want, abs=1e-15)


def test_expected_share_of_one_view_and_of_lookups():
    assert [expected_share(epochs, 1) for epochs in (0, 0.5, 1, 9)] == [0, 0.5, 1, 1]
    table, rng, epochs = make(None), stream("test_share"), 4
    for _ in range(epochs):
        view = torch.from_numpy(rng.integers(VIEWS, size=SAMPLES))
        table.lookup(torch.arange(SAMPLES), view, Teacher())
    want = expected_share(epochs, VIEWS)
    # 5 standard errors of a mean of 40: one false alarm in a million, and the stream is fixed
    assert abs(table.share - want) < 5 * 0.5 / VIEWS**0.5 / SAMPLES**0.5


def test_keys_tell_tables_apart():
    base = {"weights": "aa", "normalization": "cifar100", "images": "bb", "views": ("crop_flip", 4)}
    other = [
        {"weights": "ab"},
        {"normalization": "cifar10"},
        {"images": "bc"},
        {"views": ("crop_flip", 3)},
        {"dtype": "float16"},
        {"tf32": True},
        {"network": "resnet20"},
    ]
    keys = {table_key(**{**base, **change}) for change in [{}, *other]}
    assert len(keys) == len(other) + 1
    assert all(len(key) == 64 for key in keys)
    assert table_key(**base) == table_key(**base)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": "Zz"}, "key must be lower-case hexadecimal"),
        ({"key": ""}, "key must be lower-case hexadecimal"),
        ({"samples": 0}, "samples must be an integer >= 1, got 0"),
        ({"views": 1.5}, "views must be an integer"),
        ({"classes": -1}, "classes must be an integer"),
        ({"dtype": "bfloat16"}, "8 times as coarsely as float16"),
        ({"dtype": "int8"}, "dtype must be one of 'float32', 'float16'"),
    ],
)
def test_bad_tables_are_refused(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        make(tmp_path, **change)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("index", "view", "message"),
    [
        ([SAMPLES], [0], f"index must be from 0 to {SAMPLES - 1}, got {SAMPLES}"),
        ([-1], [1], "index must be from 0 to 39, got -1"),
        ([0], [VIEWS], "view must be from 0 to 5, got 6"),
        ([1], [-1], "view must be from 0 to 5, got -1"),
        ([0, 1], [0], "view must have the shape of index"),
        ([0.0], [0], "index must be integers on the CPU"),
    ],
)
def test_bad_cells_are_refused(index, view, message):
    table = make(None)
    with pytest.raises(ValueError, match=message):
        table.lookup(torch.tensor(index), torch.tensor(view), Teacher())
    assert table.filled == 0


@pytest.mark.parametrize(
    "answer", [lambda i, v: TRUTH[i, v, :3], lambda i, v: TRUTH[i, v][:1], lambda i, v: i[:, None]]
)
def test_bad_teachers_are_refused(answer):
    index = torch.arange(20)
    with pytest.raises(ValueError, match=r"compute must return logits of shape \(24, 5\), got"):
        make(None).lookup(index, index % VIEWS, answer)


@pytest.mark.gpu
def test_on_a_gpu(tmp_path):
    table = make(tmp_path, device="cuda")
    truth = TRUTH.cuda()

    def teacher(index, view):
        return truth[index.cuda(), view.cuda()]

    for seed in range(12):
        index, view = draw(seed, 2, 16)
        got = table.lookup(index, view, teacher)
        assert got.is_cuda
        assert torch.equal(got.cpu(), TRUTH[index, view])
    held = table.filled
    table.close()
    reopened = make(tmp_path)
    assert reopened.filled == held
    silent = Teacher()
    assert torch.equal(reopened.lookup(index, view, silent), TRUTH[index, view])
    assert not silent.asked
