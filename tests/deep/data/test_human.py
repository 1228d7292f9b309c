import shutil

import numpy as np
import pytest

from deep import data
from deep.data import DataSpec, human
from deep.data.prepared import prepare

TRUTH = np.arange(60) % 10


def rng():
    return np.random.default_rng(0)


def answers(root, **changed):
    """A CIFAR-10N of 60 images: the raters agree on all but the first ten."""
    folder = root / "cifar10n"
    folder.mkdir(exist_ok=True)
    others = {f"random{rater}": TRUTH.copy() for rater in (1, 2, 3)}
    for rater, array in enumerate(others.values(), start=1):
        array[:10] = (array[:10] + rater) % 10
    arrays = {"clean": TRUTH, "aggre": TRUTH, "worse": others["random1"], **others, **changed}
    np.savez(folder / "cifar10n.npz", **{name: a for name, a in arrays.items() if a is not None})
    return others


def read(root, kind, truth=TRUTH):
    labels = f"cifar10n-{kind}"
    return human.training_labels(labels, "cifar10", truth, root=root, rng=rng())


def test_posterior_is_the_mean_of_three_answers(tmp_path):
    others = answers(tmp_path)
    for rater in (1, 2, 3):
        got = read(tmp_path, f"random{rater}")
        np.testing.assert_array_equal(got.given, others[f"random{rater}"])
        np.testing.assert_allclose(got.posterior.sum(axis=1), 1)
        assert got.posterior[0].round(3).tolist() == [0, 0.333, 0.333, 0.333, 0, 0, 0, 0, 0, 0]
        np.testing.assert_array_equal(got.posterior[10:], np.eye(10)[TRUTH[10:]])


def test_a_drawn_answer_is_one_of_the_three(tmp_path):
    others = np.stack(list(answers(tmp_path).values()))
    got = read(tmp_path, "mean")
    assert np.all((others == got.given).any(axis=0))
    assert len({tuple(column.tolist()) for column in (others == got.given)[:, :10].T}) > 1


@pytest.mark.parametrize("kind", ["aggre", "worse"])
def test_other_labels_have_no_known_law(tmp_path, kind):
    answers(tmp_path)
    assert read(tmp_path, kind).posterior is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"clean": np.roll(TRUTH, 1)},
            "must equal the classes .* 60 of 60 differ: .*another order",
        ),
        ({"worse": None}, "must hold clean, worse; it holds clean, aggre"),
        ({"worse": TRUTH[:5]}, r"must be int64 of shape \(60,\) in 0 \.\. 9, got int64 \(5,\)"),
        ({"worse": TRUTH + 1}, r"must be int64 of shape \(60,\) in 0 \.\. 9"),
        ({"worse": TRUTH - 1}, r"must be int64 of shape \(60,\) in 0 \.\. 9"),
        ({"worse": TRUTH + 0.0}, "got float64"),
        ({"worse": np.array([{}] * 60)}, "must be a whole file of NumPy arrays"),
    ],
)
def test_bad_answers(tmp_path, changed, message):
    answers(tmp_path, **changed)
    with pytest.raises(ValueError, match=message):
        read(tmp_path, "worse")


@pytest.mark.parametrize("kept", [0, 0.5, 0.95])
def test_truncated_answers(tmp_path, kept):
    answers(tmp_path)
    path = tmp_path / "cifar10n/cifar10n.npz"
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(ValueError, match="must be a whole file of NumPy arrays; it is damaged"):
        read(tmp_path, "worse")


def test_answers_that_are_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"cifar10n/cifar10n\.npz in .*--data-root or STILLROOM"):
        read(tmp_path, "worse")
    with pytest.raises(ValueError, match=r"cifar10n/cifar10n\.npz in a folder of image sets"):
        read(None, "worse")


def counts(root, table):
    folder = root / "cifar10h"
    folder.mkdir(exist_ok=True)
    np.save(folder / "counts.npy", table)


def test_counts_become_shares(tmp_path):
    table = 40 * np.eye(10, dtype=np.int64)[TRUTH] + 1
    counts(tmp_path, table)
    got = human.testing_posterior("cifar10", TRUTH, root=tmp_path)
    np.testing.assert_allclose(got, table / 50)
    assert human.testing_posterior("cifar100", TRUTH, root=tmp_path) is None
    assert human.testing_posterior("cifar10", TRUTH, root=None) is None
    assert human.testing_posterior("cifar10", TRUTH, root=tmp_path / "none") is None


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (np.eye(10)[np.roll(TRUTH, 1)], "class of at least 90% .* it is for 0.0%: .*another order"),
        (np.eye(10)[TRUTH[1:]], r"must hold numbers of shape \(60, 10\), got float64 \(59, 10\)"),
        (np.zeros((60, 10)), "must hold counts or shares >= 0"),
        (np.full((60, 10), np.nan), "must hold counts or shares >= 0"),
        (np.full((60, 10), "a"), "must hold numbers of shape"),
    ],
)
def test_bad_counts(tmp_path, table, message):
    counts(tmp_path, table)
    with pytest.raises(ValueError, match=message):
        human.testing_posterior("cifar10", TRUTH, root=tmp_path)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("aggre", 0.0903),
        ("worse", 0.4021),
        ("random1", 0.1723),
        ("random2", 0.1812),
        ("random3", 0.1764),
    ],
)
def test_real_answers_have_their_published_error(data_root, kind, error):
    """Wei et al. 2022, Table 1: noise levels of CIFAR-10N; of the file, ``aggre`` is .0901."""
    truth = data.load_labels("cifar10", split="train", root=data_root)
    got = read(data_root, kind, truth)
    assert abs((got.given != truth).mean() - error) < 3e-4


def test_real_answers_of_cifar100(data_root):
    """Wei et al. 2022, Table 1: 40.20 %."""
    truth = data.load_labels("cifar100", split="train", root=data_root)
    got = human.training_labels("cifar100n-noisy", "cifar100", truth, root=data_root, rng=rng())
    assert abs((got.given != truth).mean() - 0.4020) < 1e-4
    assert got.posterior is None


def test_real_answers_reach_the_tensors(data_root):
    spec = DataSpec(name="cifar10", labels="cifar10n-mean", samples=300, test_samples=50)
    got = prepare(spec, validation=0.1, root=data_root)
    assert got.train.posterior.shape == (270, 10)
    held = got.train.posterior.gather(1, got.train.labels[:, None])
    assert float(held.min()) >= 1 / 3 - 1e-6  # what is given was answered
    wrong = (got.train.labels != got.train.truth).double().mean()
    assert 0.08 < float(wrong) < 0.28  # .177, four standard errors
    assert got.test.posterior.shape == (50, 10)
    assert (got.test.labels == got.test.truth).all()
    own = prepare(DataSpec(name="cifar10", samples=300, test_samples=50), root=data_root)
    assert (own.train.labels == own.train.truth).all()
    assert own.train.posterior is None
    assert (own.test.posterior == got.test.posterior).all()


def test_flips_on_top_of_answers(data_root):
    spec = DataSpec(
        name="cifar10", labels="cifar10n-random1", samples=100, test_samples=5, noise=0.5
    )
    got = prepare(spec, root=data_root)
    assert float(got.train.posterior.min()) > 0.0
    np.testing.assert_allclose(got.train.posterior.sum(1), 1, atol=1e-6)


def images_of(monkeypatch):
    """A CIFAR-10 whose image files are always the same."""
    monkeypatch.setattr("deep.data.sources.fingerprint", lambda *_, **__: "images")


def test_what_people_said_is_part_of_what_a_run_is_known_by(tmp_path, monkeypatch):
    images_of(monkeypatch)
    given, worse = DataSpec(name="cifar10"), DataSpec(name="cifar10", labels="cifar10n-worse")

    def digests():
        return [data.fingerprint_of(spec, root=tmp_path) for spec in (given, worse)]

    with pytest.raises(ValueError, match=r"cifar10n/cifar10n\.npz in .*--data-root"):
        digests()
    answers(tmp_path)
    seen = [digests()]
    assert seen[0][0] == "images" != seen[0][1]
    answers(tmp_path, worse=np.roll(TRUTH, 3))
    seen.append(digests())
    assert seen[1][0] == seen[0][0]
    assert seen[1][1] != seen[0][1]
    table = 40 * np.eye(10, dtype=np.int64)[TRUTH] + 1
    counts(tmp_path, table)
    seen.append(digests())
    counts(tmp_path, table + 1)
    seen.append(digests())
    assert len({pair[0] for pair in seen[1:]}) == 3
    assert len({pair[1] for pair in seen}) == 4
    shutil.copytree(tmp_path, tmp_path / "elsewhere")
    assert [
        data.fingerprint_of(spec, root=tmp_path / "elsewhere") for spec in (given, worse)
    ] == seen[-1]


def test_other_sets_are_known_by_their_images(tmp_path, monkeypatch):
    images_of(monkeypatch)
    counts(tmp_path, np.eye(10))
    assert data.fingerprint_of(DataSpec(name="cifar100"), root=tmp_path) == "images"
