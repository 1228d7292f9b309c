import io
from pathlib import Path

import huggingface_hub
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet as pq

from deep import data
from deep.data import DataSpec
from deep.data.prepared import prepare


@pytest.fixture(autouse=True)
def _no_root(monkeypatch):
    monkeypatch.delenv("STILLROOM_DATA", raising=False)


def png(value):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (value, 0, 255 - value)).save(buffer, format="PNG")
    return buffer.getvalue()


def write(folder: Path, label="fine_label", *, splits=("train", "test")):
    """A little CIFAR-100 as it lies in a snapshot of the Hub."""
    folder.mkdir(parents=True, exist_ok=True)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for split in splits:
        images = pa.array([{"bytes": png(row), "path": None} for row in range(20)], type=kind)
        labels = pa.array([row % 2 for row in range(20)], type=pa.int64())
        pq.write_table(
            pa.table({"img": images, label: labels}), folder / f"{split}-00000-of-00001.parquet"
        )


class Hub:
    """Stands for the client: ``cached`` says what a snapshot in its cache has before any call."""

    def __init__(self, snapshot, *, cached=None, online=True):
        self.snapshot, self.cached, self.online, self.calls = snapshot, cached, online, []

    def __call__(self, repo, *, repo_type, allow_patterns, local_files_only):
        self.calls.append((repo, repo_type, tuple(allow_patterns), local_files_only))
        folder = self.snapshot / allow_patterns[0].partition("/")[0]
        if local_files_only:
            if self.cached is None:
                raise FileNotFoundError
            write(folder, splits=self.cached)
        elif self.online:
            write(folder)
        else:
            msg = "name resolution failed\nand more"
            raise ConnectionError(msg)
        return str(self.snapshot)


def test_files_are_fetched_where_no_root_is_given(tmp_path, monkeypatch):
    hub = Hub(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    images = data.load("cifar100", split="train")
    assert len(images) == 20
    np.testing.assert_array_equal(images.images[:, 0, 0, 0], np.arange(20))
    want = ("uoft-cs/cifar100", "dataset", ("cifar100/*.parquet",))
    assert hub.calls == [(*want, True), (*want, False)]


def test_what_the_cache_has_is_not_asked_for(tmp_path, monkeypatch):
    hub = Hub(tmp_path, cached=("train", "test"), online=False)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    assert len(prepare(DataSpec(name="cifar100")).train) == 20
    assert {call[3] for call in hub.calls} == {True}


def test_a_cache_that_has_other_files_is_filled(tmp_path, monkeypatch):
    hub = Hub(tmp_path, cached=("train",))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    assert len(data.load_labels("cifar100", split="test")) == 20
    assert [call[3] for call in hub.calls] == [True, False]


@pytest.mark.parametrize(
    ("name", "folder"), [("cifar10", "cifar10/plain_text"), ("mnist", "mnist/mnist")]
)
def test_without_a_network_the_message_says_what_to_do(name, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", Hub(tmp_path, online=False))
    message = (
        rf"{name} could not be fetched from .*/{name} on the Hugging Face Hub \(ConnectionError: "
        rf"name resolution failed\); give a folder that holds {folder}/train-00000-of-\*.parquet "
        "by --data-root or STILLROOM_DATA"
    )
    with pytest.raises(ValueError, match=message):
        prepare(DataSpec(name=name))


@pytest.mark.parametrize("given", ["argument", "environment"])
def test_a_root_that_lacks_the_files_asks_no_network(given, tmp_path, monkeypatch):
    hub = Hub(tmp_path / "snapshot")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    if given == "environment":
        monkeypatch.setenv("STILLROOM_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"no file .*cifar100/cifar100/train-00000-of"):
        data.load("cifar100", split="train", root=tmp_path if given == "argument" else None)
    assert not hub.calls


def test_digits_ask_nobody(monkeypatch, tmp_path):
    hub = Hub(tmp_path, online=False)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    prepare(DataSpec(samples=20))
    assert not hub.calls
