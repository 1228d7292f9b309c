"""Label smoothing in every convention: one strength, four numbers, no digits lost between them."""

import mpmath as mp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.reference import relative_error
from tests.strategies import powers_of_ten
from theory.labels import smoothing as s
from theory.labels.losses import dirichlet_map_loss
from theory.labels.losses.base import tempered_cross_entropy
from theory.labels.softmax import surprisal

classes = st.integers(2, 39) | st.sampled_from((100, 1000, 10**6))


@pytest.mark.theorem("labels:map-smoothing")
@given(
    powers_of_ten(-3, 2), st.integers(2, 39), st.integers(0, 2**32 - 1), st.sampled_from((1, 300))
)
def test_p51_the_map_loss_is_one_plus_beta_times_smoothed_cross_entropy(beta, k, seed, scale):
    rng = np.random.default_rng(seed)
    z, y = scale * rng.standard_normal(k), int(rng.integers(k))
    eps = s.smoothing_from_beta(beta, k)
    label = np.eye(k)[y]
    want = (1 + beta) * tempered_cross_entropy(z, s.smooth(y, k, eps)).value
    got = dirichlet_map_loss(z, label, s.smoothing_concentration(beta, k)).value
    # the concentration 1 + beta/K is rounded, and a surprisal multiplies what it has lost
    assert got == pytest.approx(want, rel=1e-13, abs=2e-16 * surprisal(z).sum())
    mode = s.dirichlet_map(label, 1 + beta / k)
    np.testing.assert_allclose(mode, s.smooth(y, k, eps), rtol=1e-14, atol=1e-15)
    assert mode[y] == pytest.approx((k + beta) / (k * (1 + beta)), rel=1e-14, abs=0)
    assert mode[y] == pytest.approx(s.mass_from_beta(beta, k), rel=1e-14, abs=0)


@given(powers_of_ten(-300, 300), classes)
@example(1e-300, 2)
@example(1e17, 2)
@example(1e300, 10**6)
def test_p52_strengths_go_round_without_cancellation(beta, k):
    for convention in ("mix", "true"):
        eps = s.smoothing_from_beta(beta, k, convention)
        rest = s.smoothing_from_beta(beta, k, convention, complement=True)
        with mp.workdps(700):
            b = mp.mpf(beta)
            most = mp.mpf(1) if convention == "mix" else mp.mpf(k - 1) / k
            want = b / (1 + b) * most
            assert relative_error(eps, want) < 1e-15
            assert relative_error(rest, 1 - want) < 1e-15
        if convention == "mix":  # whichever of the two is small tells the strength
            use = {"complement": beta > 1}
            back = s.beta_from_smoothing(rest if beta > 1 else eps, k, convention, **use)
            assert back == pytest.approx(beta, rel=1e-14, abs=0)
        elif beta <= 1e2:
            assert s.beta_from_smoothing(eps, k, convention) == pytest.approx(
                beta, rel=1e-12, abs=0
            )
            assert s.beta_from_mass(rest, k) == pytest.approx(beta, rel=1e-12, abs=1e-15)
            assert s.beta_from_mass(eps, k, complement=True) == pytest.approx(
                beta, rel=1e-12, abs=0
            )


@given(st.floats(0, 1, allow_subnormal=False) | powers_of_ten(-300, 0), classes)
def test_conventions_convert_into_each_other(eps, k):
    true = s.convert_smoothing(eps, k, "mix", "true")
    assert s.convert_smoothing(true, k, "true", "mix") == pytest.approx(eps, rel=1e-14, abs=0)
    assert s.convert_smoothing(eps, k, "mix", "mix") == eps
    np.testing.assert_allclose(s.smooth(1, k, eps), s.smooth(1, k, true, "true"), atol=1e-15)
    mass = s.mass_from_smoothing(eps, k)
    assert mass == s.smooth(1, k, eps)[1]
    assert mass == pytest.approx(s.mass_from_smoothing(true, k, "true"), rel=1e-14, abs=4e-16)
    assert s.smoothing_from_mass(mass, k) == pytest.approx(eps, abs=4e-16)
    assert s.smoothing_from_mass(true, k, complement=True) == pytest.approx(eps, rel=1e-14, abs=0)
    assert s.smoothing_from_mass(true, k, "true", complement=True) == true


@given(st.floats(0, 1), st.integers(2, 50), st.sampled_from(("mix", "true")), st.data())
def test_smoothed_labels_are_distributions_of_two_levels(eps, k, convention, data):
    y = data.draw(st.integers(0, k - 1))
    q = s.smooth(y, k, eps, convention)
    assert q.sum() == pytest.approx(1, abs=1e-14)
    assert (q >= 0).all()
    assert len(np.unique(np.delete(q, y))) == 1


def test_published_strengths():
    # Zhang and Sabuncu's 0.15, as torch would have it
    for k, want in ((100, 0.151515), (200, 0.150754)):
        assert s.convert_smoothing(0.15, k, "true", "mix") == pytest.approx(want, abs=5e-7)
    assert s.mass_from_beta(0.1, 10) == pytest.approx(0.918, abs=5e-4)
    torch = pytest.importorskip("torch")
    z = torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.arange(7) % 5
    want = torch.nn.functional.cross_entropy(z, y, label_smoothing=0.1, reduction="none")
    got = tempered_cross_entropy(z.numpy(), s.smooth(y.numpy(), 5, 0.1)).value
    np.testing.assert_allclose(got, want.numpy(), rtol=1e-14)


def test_ends_of_the_range():
    np.testing.assert_array_equal(s.smooth([2], 3, 0.0), [[0, 0, 1]])
    np.testing.assert_allclose(s.smooth([2], 3, 1.0), [[1 / 3] * 3])
    np.testing.assert_array_equal(s.smooth([2], 3, 1.0, "true"), [[0.5, 0.5, 0]])
    assert s.smooth([[0, 1], [2, 0]], 3, [0.1, 0.2]).shape == (2, 2, 3)
    assert s.smooth(0, 3, [[0.1], [0.2]]).shape == (2, 1, 3)
    assert s.beta_from_mass([1.0, 1 / 49], 49).tolist() == [0.0, np.inf]
    assert s.mass_from_beta(np.inf, 4) == 0.25
    assert s.beta_from_smoothing(2 / 3, 3, "true") == np.inf


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: s.smooth([0, 5], 5, 0.1), "labels must be integers from 0 to 4, got 5"),
        (lambda: s.smooth([-1], 5, 0.1), "labels must be integers"),
        (lambda: s.smooth([0.5], 5, 0.1), "labels must be integers"),
        (lambda: s.smooth([], 5, 0.1), "at least one sample"),
        (lambda: s.smooth([0], 1, 0.1), "classes must be an integer >= 2"),
        (lambda: s.smooth([0], 3, 1.1), r"epsilon must be in \[0, 1\]"),
        (lambda: s.smooth([0], 3, np.nan), "epsilon must be finite"),
        (lambda: s.smooth([0], 3, 0.1, "torch"), "convention must be one of 'mix', 'true'"),
        (lambda: s.smooth([0, 1], 3, [0.1, 0.2, 0.3]), "must broadcast"),
        (lambda: s.smoothing_from_beta(-1.0, 3), "beta must be >= 0"),
        (lambda: s.beta_from_mass(0.2, 3), "mass must leave at least 1/classes = 0.333333"),
        (lambda: s.beta_from_smoothing(0.7, 3, "true"), "epsilon must leave at least"),
        (lambda: s.convert_smoothing(0.7, 3, "true", "mix"), "epsilon must leave at least"),
        (lambda: s.smoothing_from_mass(0.2, 3), "mass must leave at least"),
    ],
)
def test_bad_strengths_are_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()
