import numpy as np
import pytest

from sims import inputs


def save(folder, **arrays):
    path = folder / "my.npz"
    np.savez(path, **arrays)
    return path


def test_digits_are_real_and_scaled():
    data = inputs.dataset()
    assert (data.name, data.X.shape, data.classes) == ("digits", (1797, 64), 10)
    assert (data.X.min(), data.X.max()) == (0, 1)
    assert data.targets().shape == (1797, 10)
    np.testing.assert_array_equal(data.targets().argmax(axis=1), data.y)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.uint8, bool])
def test_reads_features_of_any_real_type(tmp_path, dtype):
    data = inputs.dataset(save(tmp_path, X=np.eye(3, 2).astype(dtype), y=np.arange(3.0)))
    assert data.X.dtype == np.float64
    assert (data.name, data.classes) == ("my", None)
    np.testing.assert_array_equal(data.targets(), [0, 1, 2])


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool])
def test_integers_are_labels_whatever_their_values(tmp_path, dtype):
    labels = np.array([0, 1, 0]) if dtype is bool else np.array([7, 3, 7])
    data = inputs.read(save(tmp_path, X=np.eye(3), y=labels.astype(dtype), extra=["unread"]))
    assert data.classes == 2
    assert data.targets().shape == (3, 2)
    np.testing.assert_array_equal(data.targets().sum(axis=1), 1)


def test_several_columns_are_targets(tmp_path):
    data = inputs.read(save(tmp_path, X=np.eye(3), y=np.arange(6).reshape(3, 2)))
    assert data.classes is None
    np.testing.assert_array_equal(data.targets(), np.arange(6).reshape(3, 2))


def test_a_subset_is_drawn_without_replacement_and_in_order():
    data = inputs.digits()
    few = data.subset(50, np.random.default_rng(0))
    again = data.subset(50, np.random.default_rng(0))
    np.testing.assert_array_equal(few.X, again.X)
    assert few.X.shape == (50, 64)
    assert few.y.shape == (50,)
    assert data.subset(10_000, np.random.default_rng(0)) is data


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"X": np.eye(3)}, "must hold arrays X and y, y not found; it holds X"),
        ({"a": [1]}, "X and y not found; it holds a"),
        ({}, "X and y not found; it holds nothing"),
        ({"X": np.ones(3), "y": np.ones(3)}, r"X of .* must be a matrix .* got shape \(3,\)"),
        ({"X": np.ones((0, 3)), "y": []}, r"X of .* must be a matrix .* got shape \(0, 3\)"),
        ({"X": np.ones((1, 3)), "y": [1]}, "at least two rows"),
        ({"X": np.eye(3), "y": [1, 2]}, r"y of .* must have shape \(3,\) .* got shape \(2,\)"),
        ({"X": np.eye(3), "y": np.ones((3, 2, 1))}, r"got shape \(3, 2, 1\)"),
        ({"X": np.eye(3) * np.nan, "y": np.ones(3)}, "X of .* must be finite.* 9 "),
        ({"X": np.eye(3), "y": [1, np.inf, 2]}, "y of .* must be finite.* 1 "),
        ({"X": np.eye(3) * 1j, "y": np.ones(3)}, "X of .* real numbers, got dtype complex"),
        ({"X": np.eye(3), "y": ["a", "b", "c"]}, "y of .* real numbers, got dtype <U1"),
        ({"X": np.array([[None]]), "y": [1]}, "holds Python objects"),
        (
            {"X": np.eye(3) * 1e200, "y": np.ones(3)},
            "X of .* norm between 1e-70 and .* 1.73205e.200",
        ),
        ({"X": np.eye(3) * 1e-200, "y": np.ones(3)}, "X of .* must have a norm between"),
        ({"X": np.eye(3), "y": np.ones(3) * 1e300}, "y of .* must have a norm between"),
    ],
)
def test_says_what_is_wrong_with_the_file(tmp_path, arrays, said):
    with pytest.raises(ValueError, match=said):
        inputs.read(save(tmp_path, **arrays))


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04 and no more"])
def test_says_that_a_file_is_no_npz(tmp_path, content):
    path = tmp_path / "my.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"my\.npz must be an npz file .* cannot be read"):
        inputs.read(path)


def test_a_truncated_file_a_single_array_a_folder_and_no_file(tmp_path):
    path = save(tmp_path, X=np.eye(30), y=np.ones(30))
    path.write_bytes(path.read_bytes()[:500])
    single = tmp_path / "single.npy"
    np.save(single, np.eye(2))
    for bad, said in [
        (path, "cannot be read"),
        (single, "cannot be read"),
        (tmp_path, "which is a folder"),
        (tmp_path / "none.npz", "which is not there"),
    ]:
        with pytest.raises(ValueError, match=said):
            inputs.dataset(bad)


def test_a_flipped_bit_is_noticed(tmp_path):
    path = save(tmp_path, X=np.eye(30), y=np.ones(30))
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read"):
        inputs.read(path)
