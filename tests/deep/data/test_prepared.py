import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deep import data
from deep.data import DataSpec
from deep.data.prepared import prepare
from deep.training.fixed_targets.task import make_task
from theory.labels.targets import corrupted


def test_the_same_samples_and_flips_as_for_fixed_targets():
    spec = DataSpec(samples=50, test_samples=20, noise=0.3, seed=4)
    task, got = make_task(spec), prepare(spec)
    np.testing.assert_array_equal(got.train.images.flatten(1) / 16, task.train_inputs)
    np.testing.assert_array_equal(got.train.labels, task.train_labels)
    np.testing.assert_array_equal(got.train.truth, task.true_labels)
    np.testing.assert_array_equal(got.test.images.flatten(1) / 16, task.test_inputs)
    np.testing.assert_array_equal(got.test.labels, task.test_labels)
    np.testing.assert_array_equal(
        data.load_labels("digits", split="train")[got.rows], task.true_labels
    )
    assert got.validation is None
    assert (got.classes, got.white, len(got.class_names)) == (10, 16, 10)


def test_tensors_have_the_types_that_networks_take():
    got = prepare(DataSpec(samples=30, noise=0.2), validation=0.2)
    for split in (got.train, got.validation, got.test):
        assert split.images.dtype == torch.uint8
        assert split.images.is_contiguous()
        assert split.labels.dtype == split.truth.dtype == torch.int64
        assert len(split) == len(split.labels) == len(split.truth)
    assert got.train.posterior.dtype == got.validation.posterior.dtype == torch.float32
    assert got.rows.dtype == np.int64


@given(samples=st.integers(20, 200), share=st.floats(0.01, 0.9), seed=st.integers(0, 3))
def test_validation_is_disjoint_complete_and_stratified(samples, share, seed):
    spec = DataSpec(samples=samples, noise=0.25, seed=seed)
    whole, got = prepare(spec), prepare(spec, validation=share)
    size = max(1, round(share * samples))
    assert len(got.validation) == size
    assert len(got.train) == len(got.rows) == samples - size
    held = ~np.isin(whole.rows, got.rows)
    assert held.sum() == size
    for name in ("images", "labels", "truth", "posterior"):
        everything = getattr(whole.train, name)
        assert torch.equal(getattr(got.train, name), everything[~held])
        assert torch.equal(getattr(got.validation, name), everything[held])
    counts = np.bincount(whole.train.truth, minlength=10)
    taken = np.bincount(got.validation.truth, minlength=10)
    assert np.all(np.abs(taken - counts * size / samples) < 1.5)


def test_validation_is_as_noisy_as_the_rest():
    """2 standard errors of a hypergeometric share are .05; it is within 5 of them."""
    got = prepare(DataSpec(noise=0.4), validation=0.3)
    share = (got.validation.labels != got.validation.truth).double().mean()
    assert abs(float(share) - 0.4) < 0.1
    together = torch.cat(
        [got.train.labels != got.train.truth, got.validation.labels != got.validation.truth]
    )
    assert int(together.sum()) == round(0.4 * 1442)
    assert torch.equal(got.test.labels, got.test.truth)


def test_no_choice_shifts_another():
    base = DataSpec(samples=100, noise=0.2)
    rows = prepare(base).rows
    np.testing.assert_array_equal(prepare(replace(base, noise=0.5)).rows, rows)
    np.testing.assert_array_equal(prepare(replace(base, test_samples=5)).rows, rows)
    flips = prepare(base).train.labels
    held = prepare(base, validation=0.2)
    assert torch.equal(held.train.labels, flips[np.isin(rows, held.rows)])
    assert not np.array_equal(prepare(replace(base, seed=1)).rows, rows)


@pytest.mark.parametrize("same", [False, True])
def test_posterior_of_noisy_labels_is_the_law_of_the_noise(same):
    """Exactly that of theory, and within 5 standard errors the share of flips over 40 seeds."""
    specs = [
        DataSpec(samples=200, noise=0.3, noise_includes_same=same, choice="first", seed=seed)
        for seed in range(40)
    ]
    runs = [prepare(spec) for spec in specs]
    law = runs[0].train.posterior
    truth = runs[0].train.truth
    want = corrupted(np.eye(10)[truth], 0.3, exclude_true=not same)
    np.testing.assert_allclose(law, want, atol=1e-7)
    kept = np.mean([(run.train.labels == truth).double().mean() for run in runs])
    expected = float(want[0, truth[0]])
    assert abs(kept - expected) < 5 * np.sqrt(0.3 * 0.7 / (200 * 40))
    assert runs[0].test.posterior is None


def test_posterior_of_clean_labels_is_not_known():
    assert prepare(DataSpec(samples=20)).train.posterior is None


@pytest.mark.parametrize("name", ["gaussian", "synthetic"])
def test_posterior_of_synthetic_images_is_calibrated(name):
    """The label has the probability that the posterior gives it: 5 standard errors."""
    got = prepare(DataSpec(name=name, test_samples=5_000))
    law, labels = got.test.posterior.double(), got.test.labels
    np.testing.assert_allclose(law.sum(1), 1, atol=1e-6)
    given_label = torch.nn.functional.one_hot(labels, got.classes)
    residual = given_label - law
    error = (law * (1 - law)).sum(0).sqrt() / len(law)
    assert torch.all(residual.mean(0).abs() < 5 * error)
    top, guess = law.max(1)
    spread = float((top * (1 - top)).sum().sqrt() / len(law))
    assert abs(float((guess == labels).double().mean() - top.mean())) < 5 * spread
    assert 0.8 < float(top.mean()) < 0.95


def test_posterior_of_a_noisy_synthetic_label_is_the_corrupted_posterior():
    spec = DataSpec(name="synthetic", samples=100)
    clean, noisy = prepare(spec), prepare(replace(spec, noise=0.4))
    want = corrupted(clean.train.posterior.double(), 0.4)
    np.testing.assert_allclose(noisy.train.posterior, want, atol=1e-6)


def test_noise_changes_the_law_of_the_given_label_only():
    spec = DataSpec(name="synthetic", samples=100)
    clean = prepare(spec, validation=0.2)
    for split in (clean.train, clean.validation, clean.test):
        assert split.truth_law is split.posterior
    noisy = prepare(replace(spec, noise=0.4), validation=0.2)
    assert torch.equal(noisy.train.truth_law, clean.train.truth_law)
    assert torch.equal(noisy.validation.truth_law, clean.validation.truth_law)
    want = corrupted(noisy.train.truth_law.double(), 0.4)
    np.testing.assert_allclose(noisy.train.posterior, want, atol=1e-6)
    assert noisy.test.truth_law is noisy.test.posterior


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_the_law_of_the_true_label_is_not_known_of_real_images(share):
    got = prepare(DataSpec(samples=40, noise=0.3), validation=share)
    assert got.train.posterior is not None
    assert got.train.truth_law is got.test.truth_law is None


def test_fingerprints_tell_data_apart():
    spec = DataSpec(samples=40)
    base = prepare(spec).fingerprint
    assert prepare(DataSpec(samples=40)).fingerprint == base
    others = [
        prepare(replace(spec, noise=0.1)).fingerprint,
        prepare(replace(spec, noise=0.1, seed=1)).fingerprint,
        prepare(replace(spec, noise=0.1, noise_includes_same=True)).fingerprint,
        prepare(replace(spec, samples=41)).fingerprint,
        prepare(replace(spec, test_samples=41)).fingerprint,
        prepare(spec, validation=0.1).fingerprint,
        prepare(replace(spec, choice="first")).fingerprint,
    ]
    assert len({base, *others}) == len(others) + 1


@pytest.mark.parametrize("change", [{"seed": 1}, {"noise": 0.101}])
def test_fingerprints_count_given_labels_and_their_law(change):
    """The same images: other flips with another seed; the same flips, of a law that is another."""
    spec = DataSpec(samples=40, choice="first", noise=0.1)
    one, two = prepare(spec), prepare(replace(spec, **change))
    assert torch.equal(one.train.images, two.train.images)
    assert torch.equal(one.train.labels, two.train.labels) == ("noise" in change)
    assert one.fingerprint != two.fingerprint


def test_digits_are_ready_at_once_and_load_nothing_heavy():
    code = (
        "import deep.data.prepared, sys, time\n"
        "from deep.data import DataSpec\n"
        "start = time.perf_counter()\n"
        "deep.data.prepared.prepare(DataSpec(noise=0.2), validation=0.1)\n"
        "print(time.perf_counter() - start)\n"
        "heavy = {'pyarrow', 'PIL', 'sklearn', 'huggingface_hub', 'scipy.special'}\n"
        "print(*(heavy & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, loaded = done.stdout.split("\n")[:2]
    assert float(seconds) < 0.2  # .03 when measured alone
    assert loaded == ""
    start = time.perf_counter()
    prepare(DataSpec(noise=0.2), validation=0.1)
    prepare(DataSpec(noise=0.2), validation=0.1)
    assert time.perf_counter() - start < 0.2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: prepare(DataSpec(), validation=1.0), r"validation must be a share in \[0, 1\)"),
        (lambda: prepare(DataSpec(), validation=-0.1), r"validation must be a share in \[0, 1\)"),
        (
            lambda: prepare(DataSpec(samples=2_000)),
            "samples must be at most the 1442 that digits has",
        ),
        (lambda: prepare(DataSpec(samples=1), validation=0.5), "must leave samples to train on"),
        (lambda: prepare(DataSpec(), device="gpu"), "device must be one that torch knows"),
        (
            lambda: DataSpec(name="cifar1000"),
            r"'cifar100'.*got 'cifar1000'; did you mean 'cifar100'",
        ),
        (lambda: DataSpec(name="folder:"), "or 'folder:PATH' or 'parquet:PATH'"),
        (lambda: DataSpec(name="/tmp"), "did you mean 'folder:/tmp'"),
        (lambda: DataSpec(labels="cifar10n-worse"), "labels of digits must be one of 'given', got"),
        (
            lambda: DataSpec(name="cifar10", labels="cifar100n-noisy"),
            "'cifar10n-mean', got 'cifar1",
        ),
    ],
)
def test_bad_requests(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_absent_is_said_before_anything_is_read(tmp_path):
    with pytest.raises(ValueError, match="torch sees no GPU, got 'cuda'; choose 'cpu'"):
        prepare(DataSpec(name="cifar10"), root=tmp_path / "nothing", device="cuda")


def test_real_cifar(data_root):
    """Few samples of each split, decoded alone."""
    spec = DataSpec(name="cifar100", samples=200, test_samples=30, noise=0.2)
    got = prepare(spec, validation=0.1, root=data_root)
    assert got.train.images.shape == (180, 32, 32, 3)
    assert (got.classes, got.white) == (100, 255)
    assert (
        int(
            (got.train.labels != got.train.truth).sum()
            + (got.validation.labels != got.validation.truth).sum()
        )
        == 40
    )
