import io
import json
import os
import shutil

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet as pq

from deep import data
from deep.data import DataSpec, digests, noise, sources
from deep.data.cache import open_split
from deep.data.prepared import prepare

CLASSES = ("ant", "bee", "cat")


def save(path, value, *, mode="RGB", size=(5, 4), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path, **options)


def folder(root, *, per_class=6):
    for split, count in (("train", per_class), ("test", 2)):
        for place, name in enumerate(CLASSES):
            for row in range(count):
                save(root / split / name / f"{row}.png", (10 * place, row, 200))
    return f"folder:{root}"


def encoded(value, mode="RGB", file="PNG"):
    buffer = io.BytesIO()
    Image.new(mode, (5, 4), value).save(buffer, format=file)
    return buffer.getvalue()


def table(rows, *, image="img", label="fine_label", kind=None, extra=None, names=None):
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {
        image: pa.array(
            [{"bytes": encoded((row, 0, 9)), "path": None} for row in range(rows)], struct
        ),
        label: pa.array([row % 3 for row in range(rows)], type=kind or pa.int64()),
        **(extra or {}),
    }
    made = pa.table(columns)
    if names:
        features = {label: {"names": names, "_type": "ClassLabel"}}
        made = made.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})}
        )
    return made


def test_a_folder_of_images(tmp_path):
    name = folder(tmp_path)
    got = prepare(DataSpec(name=name, choice="first"))
    assert got.class_names == CLASSES
    assert got.train.images.shape == (18, 4, 5, 3)
    assert got.train.labels.tolist() == [0, 1, 2] * 6
    assert got.train.images[:, 0, 0, 0].tolist() == [0, 10, 20] * 6
    assert got.train.images[::3, 0, 0, 1].tolist() == list(range(6))
    assert got.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    some = data.load(name, split="train", rows=np.array([17, 0]))
    assert some.labels.tolist() == [2, 0]
    assert data.load_labels(name, split="test").tolist() == [0, 0, 1, 1, 2, 2]


def test_a_class_may_lack_test_images(tmp_path):
    name = folder(tmp_path)
    (tmp_path / "test/ant").rename(tmp_path / "elsewhere")
    assert prepare(DataSpec(name=name)).test.labels.tolist() == [1, 1, 2, 2]


def test_other_kinds_of_files(tmp_path):
    for place, (name, mode, value) in enumerate(
        [
            ("a.webp", "RGB", (1, 2, 3)),
            ("b.bmp", "RGB", (1, 2, 3)),
            ("c.png", "P", 0),
            ("d.JPG", "RGB", 0),
        ]
    ):
        options = {"lossless": True} if name.endswith("webp") else {}
        for split in ("train", "test"):
            save(tmp_path / split / str(place % 2) / name, value, mode=mode, **options)
    (tmp_path / "train" / ".DS_Store").touch()
    (tmp_path / "train" / "0" / ".hidden").touch()
    got = prepare(DataSpec(name=f"folder:{tmp_path}"))
    assert got.train.images.shape == (4, 4, 5, 3)


def test_gray_images_have_one_channel(tmp_path):
    for split in ("train", "test"):
        for name in CLASSES:
            save(tmp_path / split / name / "0.png", 7, mode="L")
    assert prepare(DataSpec(name=f"folder:{tmp_path}")).train.images.shape == (3, 4, 5, 1)


def test_a_home_folder_is_meant_by_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder(tmp_path / "pictures")
    assert len(prepare(DataSpec(name="folder:~/pictures")).train) == 18


def test_content_and_not_place_counts(tmp_path):
    one, same, other = (folder(tmp_path / name) for name in ("one", "same", "other"))
    save(tmp_path / "other/test/cat/1.png", (20, 1, 201))
    assert data.fingerprint(one) == data.fingerprint(same) != data.fingerprint(other)
    digests = [
        prepare(DataSpec(name=name, choice="first")).fingerprint for name in (one, same, other)
    ]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("count", [3, 4, 6])
def test_the_first_samples_are_of_all_classes(tmp_path, count):
    name = folder(tmp_path)
    got = prepare(DataSpec(name=name, samples=count, test_samples=count, choice="first"))
    assert set(got.train.labels.tolist()) == set(got.test.labels.tolist()) == {0, 1, 2}
    assert len(got.test) == len(got.train) == count
    table_name = f"parquet:{tmp_path}/sorted.parquet"
    by_class = table(45).sort_by("fine_label")
    pq.write_table(by_class, tmp_path / "sorted.parquet")
    sorted_rows = prepare(DataSpec(name=table_name, test_samples=count))
    assert set(sorted_rows.test.labels.tolist()) == {0, 1, 2}


def test_classes_take_turns_in_proportion():
    labels = np.array([0] * 60 + [1] * 30 + [2] * 10)
    order = noise.in_turns(labels)
    assert sorted(order) == list(range(100))
    for count in range(10, 101):
        held = np.bincount(labels[order[:count]], minlength=3)
        np.testing.assert_allclose(held, count * np.array([0.6, 0.3, 0.1]), atol=1)


@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_a_copy_at_another_place_gives_the_same_samples(tmp_path, kind):
    if kind == "folder":
        folder(tmp_path / "one")
        shutil.copytree(tmp_path / "one", tmp_path / "two")
    else:
        for place in ("one", "two"):
            pq.write_table(table(45), tmp_path / place)
    one, two = (
        prepare(
            DataSpec(name=f"{kind}:{tmp_path}/{place}", samples=12, noise=0.4),
            validation=0.25,
            cache=tmp_path / "cache",
        )
        for place in ("one", "two")
    )
    assert one.fingerprint == two.fingerprint
    np.testing.assert_array_equal(one.rows, two.rows)
    assert torch.equal(one.train.labels, two.train.labels)
    assert torch.equal(one.validation.images, two.validation.images)
    assert len(list((tmp_path / "cache/images").glob("[0-9a-f]*"))) <= 2


def test_what_was_decoded_elsewhere_has_the_name_of_its_copy(tmp_path):
    names = [folder(tmp_path / place) for place in ("one", "two")]
    for name in (names[0], names[1], names[1]):  # decoded; found; found
        split = open_split(sources.source(name), "train", tmp_path / "cache")
        assert split.take(np.arange(18)).name == name


def test_other_files_have_other_streams(tmp_path):
    one, other = (folder(tmp_path / name, per_class=12) for name in ("one", "other"))
    save(tmp_path / "other/test/cat/1.png", (20, 1, 201))
    rows = [prepare(DataSpec(name=name, samples=20)).rows.tolist() for name in (one, other)]
    assert rows[0] != rows[1]


def test_a_class_without_images_counts(tmp_path):
    one, other = (folder(tmp_path / name) for name in ("one", "other"))
    (tmp_path / "other/train/dog").mkdir()
    assert data.fingerprint(one) != data.fingerprint(other)


def test_files_are_read_once_as_long_as_they_stay(tmp_path, monkeypatch):
    name, read = folder(tmp_path), []
    content = digests._content
    monkeypatch.setattr(digests, "_content", lambda path: read.append(path) or content(path))
    first = data.fingerprint(name)
    assert len(read) == 24
    assert data.fingerprint(name) == first
    assert len(read) == 24
    changed = tmp_path / "train/ant/0.png"
    save(changed, (99, 99, 99))
    os.utime(changed, ns=(1, 1))
    assert data.fingerprint(name) != first
    assert len(read) == 48


def test_few_digests_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "_KEPT", 3)
    for number in range(6):
        (tmp_path / str(number)).write_bytes(b"x")
        digests.of_files([("x", tmp_path / str(number))])
    assert len(digests._known) == 3


def no_train(root):
    (root / "train").rename(root / "learn")


def other_class(root):
    save(root / "test/dog/0.png", 1)


def text_file(root):
    (root / "train/bee/notes.txt").touch()


def not_an_image(root):
    (root / "train/bee/3.png").write_bytes(b"hello")


def half_an_image(root):
    path = root / "train/bee/3.png"
    path.write_bytes(path.read_bytes()[:-30])


def larger(root):
    save(root / "train/bee/3.png", 1, size=(9, 9))


def larger_test(root):
    for path in (root / "test").glob("*/*"):
        save(path, 1, size=(9, 9))


def transparent(root):
    save(root / "train/bee/3.png", 1, mode="RGBA")


def empty_test(root):
    for path in (root / "test").glob("*/*"):
        path.unlink()


def image_is_folder(root):
    (root / "train/bee/3.png").unlink()
    (root / "train/bee/3.png").mkdir()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_train, r"there must be a folder .*/train; the images stand in train/<class>/"),
        (other_class, "must be among the 3 of the training split, got 'dog'"),
        (text_file, r"notes\.txt must be an image file \(\.png"),
        (not_an_image, r"bee/3\.png must hold a PNG, WebP or JPEG image, got 5 other bytes"),
        (half_an_image, r"bee/3\.png must hold a PNG"),
        (larger, r"must have one shape, got .*\(4, 5, 3\), \(9, 9, 3\).*bee/3\.png"),
        (larger_test, "images of train and test of .* must have one shape"),
        (transparent, r"bee/3\.png must be gray or red, green and blue .*got RGBA"),
        (empty_test, "must hold at least one image, got none"),
        (image_is_folder, r"bee/3\.png must be a file that can be read"),
    ],
)
def test_bad_folders(tmp_path, damage, message):
    name = folder(tmp_path)
    damage(tmp_path)
    with pytest.raises(ValueError, match=message):
        prepare(DataSpec(name=name), cache=tmp_path / "cache")
    assert not list(tmp_path.glob("cache/images/.partial/*"))


@pytest.mark.parametrize(
    ("image", "label", "kind"),
    [
        ("img", "fine_label", pa.int64()),
        ("image", "label", pa.int32()),
        ("photo", "kind", pa.uint8()),
    ],
)
def test_one_file_of_any_column_names(tmp_path, image, label, kind):
    path = tmp_path / "mine.parquet"
    pq.write_table(table(30, image=image, label=label, kind=kind, names=CLASSES), path)
    got = prepare(DataSpec(name=f"parquet:{path}", choice="first"))
    assert got.class_names == CLASSES
    testing = [row for row in range(30) if row // 3 % 5 == 4]
    assert got.test.images[:, 0, 0, 0].tolist() == testing
    training = [row for row in range(30) if row not in testing]
    assert got.train.images[:, 0, 0, 0].tolist() == training
    assert got.train.labels.tolist() == [row % 3 for row in training]
    some = data.load(f"parquet:{path}", split="test", rows=np.array([5, 0]))
    assert some.images[:, 0, 0, 0].tolist() == [testing[5], testing[0]]


def test_a_folder_of_files_for_each_split(tmp_path):
    pq.write_table(table(9), tmp_path / "train-a.parquet")
    pq.write_table(table(6), tmp_path / "train-b.parquet")
    pq.write_table(table(4), tmp_path / "test.parquet")
    got = prepare(DataSpec(name=f"parquet:{tmp_path}", choice="first"))
    assert got.train.images[:, 0, 0, 0].tolist() == [*range(9), *range(6)]
    assert (len(got.test), got.class_names) == (4, ("0", "1", "2"))


def test_several_columns_of_a_kind(tmp_path):
    path = tmp_path / "mine.parquet"
    pq.write_table(table(30, extra={"coarse_label": pa.array([0] * 30, pa.int64())}), path)
    assert prepare(DataSpec(name=f"parquet:{path}")).classes == 3
    pq.write_table(table(30, label="a", extra={"b": pa.array([0] * 30, pa.int64())}), path)
    with pytest.raises(ValueError, match=r"a column of classes .*a int64, b int64; call .*'label'"):
        prepare(DataSpec(name=f"parquet:{path}"))


@pytest.mark.parametrize("kept", [0, 0.4, 0.97])
def test_a_truncated_file(tmp_path, kept):
    path = tmp_path / "mine.parquet"
    pq.write_table(table(30), path)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(ValueError, match="must be a whole Parquet file; it is truncated"):
        prepare(DataSpec(name=f"parquet:{path}"))


def test_a_file_damaged_inside(tmp_path):
    path = tmp_path / "mine.parquet"
    pq.write_table(table(30), path, compression="zstd")
    content = bytearray(path.read_bytes())
    content[4:800] = bytes(796)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="must be a whole Parquet file; it is damaged"):
        prepare(DataSpec(name=f"parquet:{path}"))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (pa.table({"a": [1]}), "must hold a column of images .*got a int64"),
        (table(30).drop_columns("fine_label"), r"must hold a column of classes \(integers\)"),
        (table(30, kind=pa.float64()), r"must hold a column of classes \(integers\)"),
        (table(6), "must hold samples for test, got none; give more of each class"),
        (table(30, names=["only"]), r"labels must lie in 0 \.\. 0"),
        (table(30, label="x", extra={}).set_column(1, "x", [[None] * 30]), "must hold a column of"),
    ],
)
def test_bad_tables(tmp_path, made, message):
    path = tmp_path / "mine.parquet"
    pq.write_table(made, path)
    with pytest.raises(ValueError, match=message):
        prepare(DataSpec(name=f"parquet:{path}"))


def test_negative_labels(tmp_path):
    path = tmp_path / "mine.parquet"
    made = table(30).set_column(1, "label", pa.array([-1] * 30, pa.int64()))
    pq.write_table(made, path)
    with pytest.raises(ValueError, match=r"labels must lie in 0 \.\. 0, got -1 \.\. -1"):
        prepare(DataSpec(name=f"parquet:{path}"))


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"must be a Parquet file, or a folder of train\*.parquet"):
        prepare(DataSpec(name=f"parquet:{tmp_path}/none"))
    with pytest.raises(ValueError, match=r"there must be a folder .*none/train"):
        prepare(DataSpec(name=f"folder:{tmp_path}/none"))
