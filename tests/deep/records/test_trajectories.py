from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from deep.records.store import Store
from deep.records.trajectories import (
    Trajectories,
    correction,
    first_learned,
    forgetting_events,
)
from theory.labels.paths import low_pass, zigzag_score

KEY = "abcdef0123456789"


def course(*, epochs=4, samples=11, classes=3, rows=(0, 7, 3), share=0.8, seed=0):
    """Trajectories of random predictions, and the labels."""
    rng = np.random.default_rng(seed)
    logits = 3 * rng.standard_normal((epochs, samples, classes))
    q = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    labels = rng.integers(classes, size=samples)
    held = Trajectories(
        confidence=q.max(-1),
        prediction=q.argmax(-1),
        label_probability=q[:, np.arange(samples), labels],
        visited=rng.random((epochs, samples)) < share,
        rows=np.array(rows, dtype=int),
        probabilities=q[:, list(rows)].astype(np.float32),
    )
    return held, labels


def slow_forgetting(prediction, labels):
    """Toneva et al. 2019, sample by sample, over the epochs that saw it."""
    counts = []
    for path, label in zip(np.transpose(prediction), labels, strict=True):
        right = [p == label for p in path if p >= 0]
        counts.append(sum(a and not b for a, b in pairwise(right)))
    return counts


predictions = st.tuples(st.integers(0, 6), st.integers(0, 5)).flatmap(
    lambda shape: hnp.arrays(np.int16, shape, elements=st.integers(-1, 2))
)


@given(prediction=predictions, data=st.data())
def test_forgetting_and_learning_are_those_of_the_definition(prediction, data):
    samples = prediction.shape[1]
    labels = data.draw(hnp.arrays(np.int64, samples, elements=st.integers(0, 2)))
    np.testing.assert_array_equal(
        forgetting_events(prediction, labels), slow_forgetting(prediction, labels)
    )
    for path, label, first in zip(
        prediction.T, labels, first_learned(prediction, labels), strict=True
    ):
        assert first == next((t for t, p in enumerate(path) if p == label), -1)


@given(prediction=predictions, data=st.data())
def test_corrections_are_those_of_the_definition(prediction, data):
    classes = hnp.arrays(np.int64, prediction.shape[1], elements=st.integers(0, 2))
    labels, truth = data.draw(classes), data.draw(classes)
    found = correction(prediction, labels, truth)
    for t, row in enumerate(prediction):
        wrong = [(p, y, z) for p, y, z in zip(row, labels, truth, strict=True) if y != z and p >= 0]
        if not wrong:
            assert np.isnan(found.to_truth[t])
            assert np.isnan(found.to_label[t])
            continue
        assert found.to_truth[t] == sum(p == z for p, _, z in wrong) / len(wrong)
        assert found.to_label[t] == sum(p == y for p, y, _ in wrong) / len(wrong)


@pytest.mark.parametrize("samples", [8, 11])
@pytest.mark.parametrize("rows", [(), (0, 7, 3)])
def test_they_come_back_from_the_store_as_they_were(tmp_path, samples, rows):
    held, _ = course(samples=samples, rows=rows)
    entry = Store(tmp_path).put(KEY, arrays={**held.to_arrays(), "other": 1}, record={})
    assert entry.arrays["trajectory/visited"].shape == (4, -(-samples // 8))
    again = Trajectories.from_arrays(Store(tmp_path).get(KEY).arrays)
    dtypes = {
        "confidence": np.float16,
        "prediction": np.int16,
        "label_probability": np.float16,
        "visited": np.bool_,
        "rows": np.int64,
        "probabilities": np.float32,
    }
    for name, dtype in dtypes.items():
        assert getattr(again, name).dtype == dtype
        np.testing.assert_array_equal(getattr(again, name), getattr(held, name))
    assert (again.epochs, again.samples) == (4, samples)


def test_visited_may_be_stored_as_booleans_and_unchosen_samples_need_no_probabilities():
    held, _ = course(rows=())
    arrays = held.to_arrays() | {"trajectory/visited": held.visited}
    del arrays["trajectory/probabilities"]
    again = Trajectories.from_arrays(arrays)
    np.testing.assert_array_equal(again.visited, held.visited)
    assert again.paths().shape == (4, 0, 0)


def test_what_is_missing_is_named():
    arrays = course()[0].to_arrays()
    del arrays["trajectory/probabilities"]
    with pytest.raises(ValueError, match="got none named trajectory/probabilities"):
        Trajectories.from_arrays(arrays)


def test_what_was_not_seen_is_blotted_out():
    held, _ = course()
    assert not held.visited.all()
    for name in ("confidence", "label_probability"):
        np.testing.assert_array_equal(np.isnan(getattr(held, name)), ~held.visited)
    np.testing.assert_array_equal(held.prediction == -1, ~held.visited)
    np.testing.assert_array_equal(np.isnan(held.probabilities).all(-1), ~held.visited[:, held.rows])


def test_paths_repeat_what_was_last_seen():
    q = np.array([[[0.1, 0.9]], [[0.2, 0.8]], [[0.3, 0.7]], [[0.4, 0.6]]], np.float32)
    plain = np.zeros((4, 1))

    def paths(*seen):
        return Trajectories(
            confidence=plain,
            prediction=plain.astype(int),
            label_probability=plain,
            visited=np.array(seen)[:, None],
            rows=[0],
            probabilities=q,
        ).paths()[:, 0, 0]

    np.testing.assert_array_equal(paths(1, 1, 1, 1), q[:, 0, 0])
    np.testing.assert_array_equal(paths(0, 1, 0, 1), q[[1, 1, 1, 3], 0, 0])
    np.testing.assert_array_equal(paths(1, 0, 0, 0), q[[0, 0, 0, 0], 0, 0])
    assert np.isnan(paths(0, 0, 0, 0)).all()


def test_paths_of_one_label_and_their_zigzag():
    held, labels = course(samples=30, rows=range(30), epochs=9)
    of_one = held.paths(1, labels=labels)
    np.testing.assert_array_equal(of_one, held.paths()[:, labels == 1])
    score = zigzag_score(held.paths(), labels)
    others = held.paths().astype(np.float64).sum(0)
    others[np.arange(30), labels] = 0
    np.testing.assert_allclose(score, others.max(-1), rtol=1e-6)
    assert low_pass(held.paths(), 0.1).shape == held.paths().shape
    with pytest.raises(ValueError, match="labels must be given"):
        held.paths(1)
    with pytest.raises(ValueError, match="one class for each of 30 samples"):
        held.paths(1, labels=labels[:3])


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"visited": np.ones(4)}, r"visited must have shape .epochs, samples., got .4,"),
        ({"confidence": np.ones((4, 2))}, "confidence must have the shape of visited"),
        ({"label_probability": np.ones(3)}, "label_probability must have the shape of visited"),
        ({"prediction": np.ones((2, 11), int)}, "prediction must have the shape of visited"),
        ({"prediction": np.ones((4, 11))}, "prediction must be integers, got dtype float64"),
        ({"prediction": np.full((4, 11), 40_000)}, "classes from 0 to 32767, got 40000"),
        ({"prediction": np.full((4, 11), -2)}, "classes from 0 to 32767, got -2"),
        ({"rows": [0, 7, 11]}, "rows must be samples from 0 to 10"),
        ({"rows": [0, 7, -1]}, "rows must be samples from 0 to 10"),
        ({"rows": [0, 7]}, "probabilities must have shape .4, 2. and classes"),
    ],
)
def test_refuses_what_does_not_fit(change, what):
    held, _ = course(share=1.0)
    given = {name: getattr(held, name) for name in held.__slots__}
    with pytest.raises(ValueError, match=what):
        Trajectories(**given | change)


@pytest.mark.parametrize("f", [forgetting_events, first_learned])
def test_refuses_labels_that_do_not_fit(f):
    with pytest.raises(ValueError, match="one class for each of 2 samples"):
        f([[0, 1]], [0])
    with pytest.raises(ValueError, match="prediction must have shape"):
        f([0, 1], [0, 1])
    with pytest.raises(ValueError, match="labels must be integers"):
        f([[0, 1]], [0.5, 1])
