import itertools
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from deep.records.disk import locked
from deep.records.store import Corrupt
from deep.training.checkpoint import load, read_facts, read_state, save, weights_file
from tests.deep.records.crashes import die_after

HOUSE = Path(__file__).parents[3]


def same(a, b):
    """Equal in type, shape and every bit, that of nan included."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    a, b = (t.detach().contiguous().reshape(-1).view(torch.uint8) for t in (a, b))
    return torch.equal(a, b)


def state(step):
    """A state from which the step can be told, some of it large enough to be torn."""
    return {"w": torch.full((50_000,), float(step)), "n": torch.tensor(step)}


def step_of(held):
    assert (held.tensors["w"] == held.facts["step"]).all()
    assert held.tensors["n"] == held.facts["step"]
    return held.facts["step"]


def put(folder, step):
    return save(folder, state(step), {"step": step})


# Programs, run in one process each: importing torch takes longer than all that they do.


def points(root):
    """Die at each step of saving, in children; print which of two steps is then there."""
    for point in itertools.count():
        folder = Path(root) / str(point)
        put(folder, 0), put(folder, 1)
        child = os.fork()
        if child == 0:
            die_after(point)
            put(folder, 2)
            os._exit(0)
        died = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        print(step_of(load(folder)), flush=True)
        put(folder, 3)
        if [path for path in folder.iterdir() if not path.name.startswith("checkpoint-")]:
            print("remains", flush=True)
        if len(list(folder.iterdir())) != 2 or step_of(load(folder)) != 3:
            print("wrong", flush=True)
        if not died:
            return


def kills(root, count):
    """Kill a child that saves, at random moments; print (last it had saved, what is there)."""
    rng = np.random.default_rng(5)
    folder, first = Path(root), 0
    for _ in range(int(count)):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            for step in itertools.count(first):
                put(folder, step)
                os.write(writing, f"{step}\n".encode())
        os.close(writing)
        said = os.read(reading, 1 << 16)  # it has saved once, however slow the machine
        time.sleep(rng.uniform(0.002, 0.1))
        held = load(folder)  # while it is being written
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(reading, "rb") as pipe:
            saved = int((said + pipe.read()).split()[-1])
        held = load(folder)
        found = -1 if held is None else step_of(held)
        print(saved, found, flush=True)
        first = found + 1
        there = sorted(path.name[:22] for path in folder.iterdir())
        if len(there) > 3 or not all(name.startswith("checkpoint-") for name in there):
            print("remains:", *there, flush=True)


def full(root):
    """Save on a disk of 1 MB."""
    put(Path(root), 1)
    try:
        save(Path(root), {"w": torch.zeros(1_000_000)}, {})
    except OSError as error:
        print(error)
    print(step_of(load(Path(root))), len(list(Path(root).iterdir())))


def program(*arguments, before=()):
    command = [*before, sys.executable, "-m", "tests.deep.training.test_checkpoint"]
    command += map(str, arguments)
    return subprocess.run(
        command, cwd=HOUSE, text=True, stdout=subprocess.PIPE, check=True
    ).stdout.splitlines()


VALUES = {
    "bool": torch.tensor([True, False]),
    "uint8": torch.arange(256, dtype=torch.uint8),
    "int64": torch.tensor([-(2**63), 2**63 - 1]),
    "int16": torch.tensor([[-1], [2]], dtype=torch.int16),
    "bfloat16": torch.tensor([1e38, -0.0, math.nan], dtype=torch.bfloat16),
    "float16": torch.tensor([6e-8, math.inf], dtype=torch.float16),
    "float64": torch.tensor([math.pi, -math.inf], dtype=torch.float64),
    "scalar": torch.tensor(3, dtype=torch.int32),
    "empty": torch.empty(0, 3),
    "empty int": torch.empty(2, 0, dtype=torch.int64),
    "transposed": torch.arange(6.0).reshape(2, 3).T,
    "expanded": torch.tensor([1.0]).expand(4),
    "strided": torch.arange(10)[::3],
    "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "parameter": nn.Parameter(torch.ones(2)),
    "part": torch.arange(100.0)[17:20],
    "name with / and ü": torch.zeros(1),
}


def test_all_values_come_back_bit_for_bit(tmp_path):
    save(tmp_path, VALUES, {})
    held = load(tmp_path)
    assert held.tensors.keys() == VALUES.keys()
    for name, value in VALUES.items():
        assert same(held.tensors[name], value), name
        assert not held.tensors[name].requires_grad


def test_nan_keeps_its_bits(tmp_path):
    value = torch.tensor([0x7FC00001, 0x7F800001, -1], dtype=torch.int32).view(torch.float32)
    save(tmp_path, {"x": value}, {})
    assert same(load(tmp_path).tensors["x"], value)


def test_tensors_that_share_memory_come_back_apart(tmp_path):
    base = torch.arange(6.0)
    shared = {"a": base, "b": base, "c": base[2:], "d": base.reshape(2, 3).T, "e": base[:2]}
    save(tmp_path, shared, {})
    held = load(tmp_path).tensors
    for name, value in shared.items():
        assert same(held[name], value)
    held["a"].zero_()
    assert same(held["b"], base)
    assert same(held["c"], base[2:])


def test_facts_come_back(tmp_path):
    facts = {
        "step": 3,
        "best": (-math.inf, math.nan),
        "big": 2**127 + 1,
        "path": Path("a/b"),
        "nested": {"none": None, "numpy": np.float32(0.5)},
    }
    save(tmp_path, {}, facts)
    held = load(tmp_path).facts
    assert math.isnan(held["best"].pop())
    assert held == {
        "step": 3,
        "best": [-math.inf],
        "big": 2**127 + 1,
        "path": Path("a/b"),
        "nested": {"none": None, "numpy": 0.5},
    }


@pytest.mark.parametrize(
    ("tensors", "facts", "what"),
    [
        ({"x": np.ones(2)}, {}, "'x' of a checkpoint must be a tensor, got ndarray"),
        ({"x": torch.ones(2).to_sparse()}, {}, "must be a dense tensor"),
        ({"x": torch.ones(2, dtype=torch.complex64)}, {}, "got torch.complex64"),
        ({"x": torch.ones(2, device="meta")}, {}, "on meta"),
        ({"__metadata__": torch.ones(2)}, {}, "name of a tensor must be text other than"),
        ({1: torch.ones(2)}, {}, "name of a tensor must be text"),
        ({}, {"x": object()}, r"record\.facts\.x must be built of"),
    ],
)
def test_refuses_what_cannot_be_stored_and_keeps_what_was(tmp_path, tensors, facts, what):
    put(tmp_path, 1)
    with pytest.raises(ValueError, match=what):
        save(tmp_path, tensors, facts)
    assert step_of(load(tmp_path)) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_the_two_newest_stay(tmp_path):
    paths = [put(tmp_path / "new", step) for step in range(12)]
    assert sorted((tmp_path / "new").iterdir()) == paths[-2:]
    assert step_of(load(tmp_path / "new")) == 11


def test_no_folder_and_an_empty_one_hold_none(tmp_path):
    assert load(tmp_path / "none") is None
    assert load(tmp_path) is None
    assert not (tmp_path / "none").exists()


def test_the_file_is_ordinary_safetensors(tmp_path):
    path = put(tmp_path, 4)
    assert same(safetensors.torch.load_file(path)["w"], state(4)["w"])


def damage(path, where, how):
    content = bytearray(path.read_bytes())
    at = min(len(content) - 1, int(where * len(content)))
    if how == "flip":
        content[at] ^= 1
    elif how == "cut":
        del content[at:]
    else:
        content += b"more"
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["flip", "cut", "lengthen"])
@pytest.mark.parametrize("where", [0.0, 1e-5, 0.001, 0.5, 1.0])
def test_a_damaged_one_is_passed_over(tmp_path, where, how):
    put(tmp_path, 1)
    newest = put(tmp_path, 2)
    damage(newest, where, how)
    with pytest.warns(Corrupt, match=rf"checkpoint .*{newest.name} is damaged"):
        assert step_of(load(tmp_path)) == 1
    assert step_of(load(tmp_path)) == 1  # no second warning
    put(tmp_path, 3), put(tmp_path, 4)
    assert step_of(load(tmp_path)) == 4
    assert (tmp_path / f"damaged-{newest.name}").exists()


def test_any_single_flipped_bit_is_found(tmp_path):
    path = save(tmp_path, {"x": torch.arange(3)}, {"n": 1})
    content = path.read_bytes()
    for at in range(len(content)):
        flipped = bytearray(content)
        flipped[at] ^= 1 << (at % 8)
        path.write_bytes(flipped)
        with pytest.warns(Corrupt):
            assert load(tmp_path) is None
        (tmp_path / f"damaged-{path.name}").rename(path)
    path.write_bytes(content)
    assert load(tmp_path).facts == {"n": 1}


def test_one_that_was_renamed_is_not_trusted(tmp_path):
    first, second = put(tmp_path, 1), put(tmp_path, 2)
    content = second.read_bytes()
    second.write_bytes(first.read_bytes())  # a whole checkpoint under the name of another
    with pytest.warns(Corrupt, match="not those that its name tells"):
        assert step_of(load(tmp_path)) == 1
    (tmp_path / "checkpoint-00000009.safetensors").write_bytes(content)  # not named by us
    assert step_of(load(tmp_path)) == 1


def test_if_all_are_damaged_there_is_none(tmp_path):
    for path in (put(tmp_path, 1), put(tmp_path, 2)):
        damage(path, 0.5, "cut")
    with pytest.warns(Corrupt) as said:
        assert load(tmp_path) is None
    assert len(said) == 2
    put(tmp_path, 3)
    assert step_of(load(tmp_path)) == 3


def test_remains_of_the_dead_are_cleared_and_those_of_the_living_left(tmp_path):
    put(tmp_path, 1)
    dead, living = tmp_path / ".checkpoint-dead", tmp_path / ".checkpoint-living"
    dead.write_bytes(b"half")
    with locked(living):
        assert step_of(load(tmp_path)) == 1
        assert not dead.exists()
        assert living.exists()
    dead.write_bytes(b"half")
    put(tmp_path, 2)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("step", range(2))
def test_a_full_disk_leaves_the_one_before(tmp_path, monkeypatch, step):
    put(tmp_path, 0), put(tmp_path, 1)
    calls, flush = iter(range(step)), os.fsync

    def full(handle):
        if next(calls, None) is None:
            raise OSError(28, "No space left on device")
        flush(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(
            OSError, match=r"nothing that was finished is lost.*checkpoint-00000003"
        ):
            put(tmp_path, 2)
    assert step_of(load(tmp_path)) == (1 if step == 0 else 2)  # step 1: it is in place
    assert not list(tmp_path.glob(".*"))


@pytest.mark.slow
def test_a_disk_that_is_really_full(tmp_path):
    if shutil.which("unshare") is None:
        pytest.skip("no unshare on this machine")
    script = f'mount -t tmpfs -o size=1m none {tmp_path} && exec "$@"'
    before = ["unshare", "-rm", "sh", "-c", script, "sh"]
    if subprocess.run([*before, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets tests mount nothing")
    said = program("full", tmp_path, before=before)
    assert re.match(r"\[Errno 28\] No space left.*finished is lost: '.*checkpoint-0", said[0])
    assert said[1] == "1 1"


def test_newer_ones_that_come_while_reading_are_read(tmp_path, monkeypatch):
    put(tmp_path, 1)
    read, calls = Path.read_bytes, []

    def late(path):
        calls.append(path)
        if len(calls) == 1:  # it was removed since the folder was listed
            put(tmp_path, 2), put(tmp_path, 3)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", late)
    assert step_of(load(tmp_path)) == 3


def test_death_at_any_step_leaves_the_last_or_the_one_before(tmp_path):
    said = program("points", tmp_path)
    assert said == ["1"] * said.count("1") + ["2"] * said.count("2")
    assert said.count("1") >= 4
    assert said.count("2") >= 2


@pytest.mark.parametrize("count", [5, pytest.param(200, marks=pytest.mark.slow)])
def test_kill_at_random_moments_leaves_the_last_or_the_next(tmp_path, count):
    pairs = [tuple(map(int, line.split())) for line in program("kills", tmp_path, count)]
    assert len(pairs) == count
    assert all(found in (saved, saved + 1) for saved, found in pairs)
    assert pairs[-1][1] >= count - 1


def test_weights_come_back_with_what_is_said_of_them(tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(
        memory_format=torch.channels_last
    )
    path = weights_file(tmp_path / "w", network.state_dict(), facts={"classes": 4, "x": math.inf})
    held = read_state(path)
    for name, value in network.state_dict().items():
        assert same(held[name], value)
    assert read_facts(path) == {"classes": 4, "x": math.inf}
    again = weights_file(
        tmp_path / "again", network.state_dict(), facts={"x": math.inf, "classes": 4}
    )
    assert again.read_bytes() == path.read_bytes()
    other = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    other.load_state_dict(held)


def test_safetensors_of_others_are_read_too(tmp_path):
    path = tmp_path / "theirs"
    safetensors.torch.save_file({"x": torch.ones(2)}, path, {"format": "pt"})
    assert same(read_state(path)["x"], torch.ones(2))
    assert read_facts(path) == {}
    safetensors.torch.save_file({"x": torch.ones(2)}, path)
    assert read_facts(path) == {}


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip", b"\xff" * 40, bytes(20)])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    for read in (read_state, read_facts):
        with pytest.raises(ValueError, match=r"file must be a.* safetensors file, got one"):
            read(path)
    with pytest.raises(FileNotFoundError):
        read_state(tmp_path / "absent")


def test_only_the_beginning_of_a_file_is_read_for_its_facts(tmp_path):
    path = weights_file(tmp_path / "w", {"x": torch.zeros(1000)}, facts={"n": 1})
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 3000)
    assert read_facts(path) == {"n": 1}
    with pytest.raises(ValueError, match="whole safetensors file"):
        read_state(path)


@pytest.mark.gpu
def test_tensors_come_from_and_go_to_a_device(tmp_path):
    value = torch.randn(3, device="cuda")
    save(tmp_path, {"x": value}, {})
    assert load(tmp_path).tensors["x"].device.type == "cpu"
    assert same(load(tmp_path, device="cuda").tensors["x"].cpu(), value.cpu())


def test_a_checkpoint_takes_little_time(tmp_path, monkeypatch):
    # As many tensors as ResNet-20 has with momentum and a copy, and more numbers: about 15 ms.
    monkeypatch.setattr(os, "fsync", lambda _: None)
    tensors = {
        f"{part}.{n}": torch.randn(64, 64, 3, 3)[: 4 + 4 * (n % 4)]
        for part in "abc"
        for n in range(65)
    }
    put(tmp_path, 1)
    times = []
    for _ in range(5):
        begin = time.process_time()
        save(tmp_path, tensors, {"step": 1})
        times.append(time.process_time() - begin)
    assert min(times) < 0.05


if __name__ == "__main__":
    warnings.simplefilter("error")  # a damaged checkpoint is only passed over with a warning
    {"points": points, "kills": kills, "full": full}[sys.argv[1]](*sys.argv[2:])
