import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deep import data


@given(
    n=st.integers(1, 60), fraction=st.floats(0, 1), classes=st.integers(2, 5), seed=st.integers(0)
)
def test_exactly_the_fraction_gets_another_class(n, fraction, classes, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    before = labels.copy()
    noisy = data.flip_labels(labels, fraction, classes, rng)
    assert (noisy != labels).sum() == round(fraction * n)
    assert noisy.min() >= 0
    assert noisy.max() < classes
    np.testing.assert_array_equal(labels, before)


def test_the_new_class_is_uniform():
    """Each other class 1/9 of the flips: 5 standard errors, false alarm 9 times 6e-7."""
    n = 90_000
    noisy = data.flip_labels(np.zeros(n, dtype=np.int64), 1.0, 10, np.random.default_rng(0))
    counts = np.bincount(noisy, minlength=10)
    assert counts[0] == 0
    assert np.all(np.abs(counts[1:] / n - 1 / 9) < 5 * np.sqrt(1 / 9 * 8 / 9 / n))


def test_the_same_class_may_be_included():
    n = 90_000
    noisy = data.flip_labels(
        np.zeros(n, dtype=np.int64), 1.0, 10, np.random.default_rng(0), include_same=True
    )
    share = np.bincount(noisy, minlength=10) / n
    assert np.all(np.abs(share - 0.1) < 5 * np.sqrt(0.1 * 0.9 / n))


@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=5), part=st.floats(0, 1))
def test_a_stratified_choice_keeps_the_shares_to_about_one(sizes, part):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    size = max(1, round(part * len(labels)))
    rows = data.choose_rows(labels, size, np.random.default_rng(1))
    assert len(set(rows.tolist())) == size
    counts = np.bincount(labels[rows], minlength=len(sizes))
    assert np.all(np.abs(counts - size * np.array(sizes) / len(labels)) < 1.5)


def test_other_choices():
    labels, rng = np.zeros(50, dtype=np.int64), np.random.default_rng(0)
    np.testing.assert_array_equal(data.choose_rows(labels, 5, rng, how="first"), np.arange(5))
    assert len(set(data.choose_rows(labels, 20, rng, how="random").tolist())) == 20


def test_bad_input():
    labels, rng = np.zeros(5, dtype=np.int64), np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"fraction must be in \[0, 1\]"):
        data.flip_labels(labels, 1.5, 10, rng)
    with pytest.raises(ValueError, match="classes must be an integer >= 2"):
        data.flip_labels(labels, 0.5, 1, rng)
    with pytest.raises(ValueError, match="at most the 5 samples there are, got 6"):
        data.choose_rows(labels, 6, rng)
    with pytest.raises(ValueError, match="how must be one of"):
        data.choose_rows(labels, 5, rng, how="best")
