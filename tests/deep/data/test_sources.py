import io
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from deep import data
from deep.data import parquet, sources


def encoded(pixels):
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def write_shards(root, *, images=None, shards=2, split="train", group=3, labels=None):
    """A little MNIST of 10 images in the Hub's layout; image i has the constant value 10 i."""
    folder = root / "mnist" / "mnist"
    folder.mkdir(parents=True, exist_ok=True)
    if images is None:
        images = [encoded(np.full((4, 5), 10 * row, dtype=np.uint8)) for row in range(10)]
    labels = list(range(10)) if labels is None else labels
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for shard, rows in enumerate(np.array_split(np.arange(10), shards)):
        table = pa.table(
            {
                "image": pa.array([{"bytes": images[r], "path": None} for r in rows], type=kind),
                "label": pa.array([labels[r] for r in rows], type=pa.int64()),
            }
        )
        path = folder / f"{split}-{shard:05d}-of-{shards:05d}.parquet"
        pq.write_table(table, path, row_group_size=group)
    return folder


def test_digits_split_is_fixed_and_stratified():
    train, test = data.load("digits", split="train"), data.load("digits", split="test")
    assert len(train) == 1442
    assert len(test) == 355
    assert train.images.shape[1:] == (8, 8, 1)
    assert train.pixels().min() == 0.0
    assert train.pixels().max() == 1.0
    shares = np.bincount(test.labels) / (np.bincount(test.labels) + np.bincount(train.labels))
    assert np.all(np.abs(shares - 0.2) < 0.006)


def test_rows_are_returned_in_the_order_asked_for(tmp_path):
    write_shards(tmp_path)
    rows = np.array([9, 0, 4, 4])
    got = data.load("mnist", split="train", root=tmp_path, rows=rows)
    assert got.images.shape == (4, 4, 5, 1)
    np.testing.assert_array_equal(got.images[:, 0, 0, 0], 10 * rows)
    np.testing.assert_array_equal(got.labels, rows)
    everything = data.load("mnist", split="train", root=tmp_path)
    np.testing.assert_array_equal(everything.images[:, 0, 0, 0], 10 * np.arange(10))


def test_only_the_row_groups_asked_for_are_read(tmp_path):
    """A damaged image elsewhere in the file does not matter."""
    images = [encoded(np.full((4, 5), row, dtype=np.uint8)) for row in range(10)]
    images[9] = b"no image"
    write_shards(tmp_path, images=images)
    data.load("mnist", split="train", root=tmp_path, rows=np.array([0]))
    with pytest.raises(ValueError, match=r"row 9 of .*must hold a PNG"):
        data.load("mnist", split="train", root=tmp_path, rows=np.array([9]))


def test_root_comes_from_the_environment(tmp_path, monkeypatch):
    write_shards(tmp_path)
    monkeypatch.setenv("STILLROOM_DATA", str(tmp_path))
    assert len(data.load_labels("mnist", split="train")) == 10


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no file .*mnist/mnist/test-00000-of-\*\.parquet"):
        data.load("mnist", split="test", root=tmp_path)


def test_missing_shard(tmp_path):
    folder = write_shards(tmp_path)
    (folder / "train-00000-of-00002.parquet").unlink()
    with pytest.raises(ValueError, match=r"must be complete, got train-00001-of-00002"):
        data.load("mnist", split="train", root=tmp_path)


@pytest.mark.parametrize("kept", [0, 3, 0.5, 0.98])
def test_truncated_file(tmp_path, kept):
    folder = write_shards(tmp_path, shards=1)
    path = folder / "train-00000-of-00001.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[: kept if isinstance(kept, int) else int(kept * len(whole))])
    with pytest.raises(ValueError, match="must be a whole Parquet file"):
        data.load("mnist", split="train", root=tmp_path)


def test_wrong_schema(tmp_path):
    folder = write_shards(tmp_path, shards=1)
    pq.write_table(pa.table({"label": ["a"]}), folder / "train-00000-of-00001.parquet")
    with pytest.raises(ValueError, match="'label' of type int64, got label string"):
        data.load("mnist", split="train", root=tmp_path)


def test_missing_label(tmp_path):
    write_shards(tmp_path, labels=[None] * 10)
    with pytest.raises(ValueError, match="a class in every row, 10 do not"):
        data.load("mnist", split="train", root=tmp_path)


@pytest.mark.parametrize("rows", [[10], [-1], []])
@pytest.mark.parametrize("name", ["mnist", "digits"])
def test_rows_out_of_range(tmp_path, rows, name):
    write_shards(tmp_path)
    rows = np.array([2000 if row == 10 else row for row in rows], dtype=np.int64)
    with pytest.raises(ValueError, match="rows must be at least one number in 0"):
        data.load(name, split="train", root=tmp_path, rows=rows)


def test_images_of_different_shapes(tmp_path):
    images = [encoded(np.zeros((4, 5 + row), dtype=np.uint8)) for row in range(10)]
    write_shards(tmp_path, images=images)
    with pytest.raises(ValueError, match="must have one shape"):
        data.load("mnist", split="train", root=tmp_path)


def test_unknown_names():
    with pytest.raises(ValueError, match=r"one of 'digits', .*got 'svhn'"):
        data.load("svhn", split="train")
    with pytest.raises(ValueError, match="got 'mnit'; did you mean 'mnist'"):
        data.load_labels("mnit", split="train")
    with pytest.raises(ValueError, match="split must be one of 'train', 'test', got 'val'"):
        data.load("digits", split="val")


def test_an_image_set_checks_itself():
    images, labels = np.zeros((2, 1, 1, 1), dtype=np.uint8), np.array([0, 1])
    with pytest.raises(ValueError, match="images must be uint8"):
        data.ImageSet(images[:, :, 0], labels, ("a", "b"), name="x", split="train")
    with pytest.raises(ValueError, match="labels must be int64 of shape"):
        data.ImageSet(images, labels[:1], ("a", "b"), name="x", split="train")
    with pytest.raises(ValueError, match=r"labels must lie in 0 \.\. 0"):
        data.ImageSet(images, labels, ("a",), name="x", split="train")


def test_importing_is_light():
    code = (
        "import deep.data, sys; print(*({'torch', 'sklearn', 'pyarrow', 'PIL'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    ("name", "shape", "first", "classes"),
    [
        ("mnist", (28, 28, 1), [5, 0, 4], 10),
        ("cifar10", (32, 32, 3), [6, 9, 9], 10),
        ("cifar100", (32, 32, 3), [19, 29, 0], 100),
    ],
)
def test_real_files(data_root, name, shape, first, classes):
    rows = np.array([0, 1, 2, 49_999])
    images = data.load(name, split="train", root=data_root, rows=rows)
    assert images.images.shape == (4, *shape)
    assert images.labels[:3].tolist() == first
    assert images.classes == classes


def test_real_mnist_has_its_known_mean(data_root):
    images = data.load("mnist", split="test", root=data_root)
    assert len(images) == 10_000
    assert abs(images.pixels().mean() - 0.1325) < 5e-4


def test_shard_names_must_be_the_hubs(tmp_path):
    (tmp_path / "train-a.parquet").touch()
    with pytest.raises(ValueError, match=r"must end in -NNNNN-of-NNNNN\.parquet, got train-a"):
        parquet.shards(tmp_path, "train")


@pytest.mark.parametrize("installed", [True, False])
def test_digits_are_scikit_learns(installed, monkeypatch):
    from sklearn.datasets import load_digits

    if not installed:
        monkeypatch.setattr(sources, "find_spec", lambda name: None)
    images, labels = sources._digits_table()
    bunch = load_digits()
    np.testing.assert_array_equal(images[:, :, :, 0], bunch.images)
    np.testing.assert_array_equal(labels, bunch.target)


def test_a_fingerprint_tells_files_apart_and_not_where_they_lie(tmp_path):
    images = [encoded(np.full((4, 5), row, dtype=np.uint8)) for row in range(10)]
    folders = {}
    for name, changed in (("a", {}), ("same", {}), ("b", {"images": images}), ("c", {"shards": 1})):
        for split in ("train", "test"):
            write_shards(tmp_path / name, split=split, **changed)
        folders[name] = data.fingerprint("mnist", root=tmp_path / name)
    assert folders["a"] == folders["same"]
    assert len(set(folders.values())) == 3


def test_a_fingerprint_needs_all_files(tmp_path):
    write_shards(tmp_path)
    with pytest.raises(ValueError, match=r"no file .*test-00000-of"):
        data.fingerprint("mnist", root=tmp_path)
    with pytest.raises(ValueError, match="must be one of 'digits'"):
        data.fingerprint("svhn", root=tmp_path)
