"""Zhou et al. 2021: what is printed, and what is so. Published numbers are its tables'."""

import numpy as np
import pytest
import torch

from theory.labels import divergences
from theory.labels.bias_variance import (
    heskes,
    label_gradients,
    regularization_samples,
    same_sign_share,
    soft_label_weights,
    telescope,
    weight_of_ratio,
)
from theory.labels.losses import (
    distillation,
    kept_at_random,
    masked_distillation,
    one_hot,
    pair_weights,
    weighted_distillation,
)
from theory.labels.softmax import log_softmax, softmax

KD = {"WRN-16-2": 74.92, "WRN-40-1": 73.54}  # Tables 2 and 3
TABLE_7 = {
    "kd": {"excluded": (74.59, 74.63, 74.72, 74.87), "added": (73.86, 74.12, 74.47, 74.71)},
    "wsl": {"excluded": (75.35, 75.48, 75.61, 75.72), "added": (74.46, 74.79, 75.18, 75.53)},
}
TABLE_9 = {"sigmoid": (74.13, 73.97, 73.29), "exponential": (74.38, 74.12, 73.46)}


def synthetic(samples=5_000, classes=100, margin=(4.0, 8.0)):
    """Logits of a student and a surer teacher that share what they see besides the label."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, samples)
    shared = rng.standard_normal((samples, classes))
    own = np.eye(classes)[labels]
    student, teacher = (shared + m * own + rng.standard_normal((samples, classes)) for m in margin)
    return student, teacher, labels


def test_z1_the_difference_is_constant_and_not_the_quotient():
    """After eq. 2: ln ybar - E ln yhat = -ln Z for every class; the printed quotient varies."""
    models = np.random.default_rng(0).standard_normal((4, 5))
    mean = log_softmax(models).mean(axis=0)
    parts = heskes(models, 0)
    log_bar = np.log(parts.geometric_mean)
    quotient, difference = log_bar / mean, log_bar - mean
    assert np.ptp(quotient) > 0.04
    assert np.ptp(difference) < 1e-14
    assert difference[0] == pytest.approx(parts.variance, rel=1e-13)
    # what sums to 1 are the classes of one input; the mean over inputs of a class does not
    labels = np.eye(5)[[0, 0, 3]]
    assert (labels.sum(axis=1) == 1).all()
    assert not (labels.mean(axis=0) == 1).any()


def test_z1_the_divergences_are_means_over_inputs_too():
    """Eq. 2 averages its noise over inputs, and must average bias and variance alike."""
    rng = np.random.default_rng(1)
    models, target = rng.standard_normal((4, 50, 5)), softmax(rng.standard_normal((50, 5)))
    parts = heskes(models, target)
    assert np.ptp(parts.bias) > 0.1
    whole = parts.noise.mean() + parts.bias.mean() + parts.variance.mean()
    assert parts.error.mean() == pytest.approx(whole, rel=1e-13)
    assert parts.error.mean() != pytest.approx(whole - parts.bias.mean() + parts.bias[0], rel=1e-3)


def test_z2_equation_3_is_of_the_test_error_and_not_of_the_distillation_loss():
    rng = np.random.default_rng(2)
    direct, distilled = rng.standard_normal((2, 6, 5))
    parts = telescope(direct, distilled, 1)
    total = parts.noise + parts.bias_direct + parts.cross + parts.variance
    assert total == pytest.approx(one_hot(distilled, np.full(6, 1)).value.mean(), rel=1e-13)
    taught = distillation(distilled, 3 * rng.standard_normal(5), 4.0).value.mean()
    assert total != pytest.approx(taught, rel=0.5)


def test_z2_nothing_makes_the_cross_term_positive():
    """Students whose mean is nearer to the labels have a negative one, at no higher variance."""
    direct = np.array([[2.0, 0.0], [-2.0, 0.0]])
    parts = telescope(direct, direct + np.array([1.5, 0.0]), 0)
    assert parts.cross < -0.4
    # and those of one teacher may vary more, against Assumption 1
    assert heskes([[5.0, 0.0], [-5.0, 0.0]], 0).variance > heskes(direct, 0).variance


@pytest.mark.parametrize("tau", [2.0, 4.0, 6.0])
def test_z3_signs_differ_always_at_temperature_one_only(tau):
    student, teacher, labels = synthetic(margin=(6.0, 12.0))
    assert same_sign_share(student, teacher, labels, 1.0) == 0
    assert same_sign_share(student, teacher, labels, tau) > 0.3  # of 100 classes, as the paper's
    a, b = label_gradients([[1.0, 0.0]], [[9.0, 0.0]], [0], tau)
    assert a < 0
    assert b < 0


@pytest.mark.parametrize("tau", [2.0, 4.0])
def test_z4_many_regularization_samples_are_pulled_up(tau):
    """Where |b| > |a| the teacher may push the label up, harder than the label does."""
    student, teacher, labels = synthetic(margin=(6.0, 12.0))
    counted = regularization_samples(student, teacher, labels, tau)
    held_back = regularization_samples(student, teacher, labels, tau, "signed")
    assert (counted | ~held_back).all()
    pulled = counted & ~held_back
    assert pulled.sum() > counted.sum() / 2
    _, b = label_gradients(student, teacher, labels, tau)
    assert (b[pulled] < 0).all()
    assert (b[held_back] > 0).all()


def test_z5_the_printed_mask_leaves_a_gradient_on_the_label():
    """As printed the loss even has the wrong sign: it falls as student and teacher part."""
    student, teacher, labels = synthetic(200, 10)
    rows, tau = np.arange(200), 4.0
    s, t = softmax(student, tau), softmax(teacher, tau)
    without = np.where(np.arange(10) == labels[:, None], 0.0, t)
    as_printed = (without * np.log(s)).sum(axis=1)  # no minus, no tau^2
    restored = masked_distillation(student, teacher, labels, tau, "printed")
    np.testing.assert_allclose(restored.value, -(tau**2) * as_printed, rtol=1e-12)
    assert (as_printed < 0).all()
    pull = restored.gradient[rows, labels]
    assert (pull > 0).all()
    np.testing.assert_allclose(
        pull, tau * (1 - t[rows, labels]) * s[rows, labels], rtol=1e-9, atol=1e-12
    )
    for variant in ("detach", "renormalized"):
        other = masked_distillation(student, teacher, labels, tau, variant)
        assert (other.gradient[rows, labels] == 0).all()


def test_z6_the_ratio_of_losses_is_not_always_above_one():
    student, teacher, labels = synthetic()
    student_loss, teacher_loss = one_hot(student, labels).value, one_hot(teacher, labels).value
    below = (student_loss < teacher_loss).mean()
    assert 0 < below < 1
    # all that the scaled sigmoid needs is a ratio >= 0
    ratio = np.linspace(0, 5, 50)
    printed = 2 / (1 + np.exp(-ratio)) - 1
    np.testing.assert_allclose(weight_of_ratio(ratio, "sigmoid"), printed, atol=1e-15)
    w = weight_of_ratio(ratio, "exponential")
    np.testing.assert_allclose(w / (2 - w), printed, atol=1e-15)


def test_z6_not_every_weighting_beats_distillation():
    """Table 9 against the 73.54 of Table 3: at alpha = 4 neither form does."""
    for row in TABLE_9.values():
        assert [value > KD["WRN-40-1"] for value in row] == [True, True, False]


def test_z7_table_7_is_of_another_network_than_its_caption_says():
    """Its ends are Table 2's of WRN-16-2, and exceed what WRN-40-1 reaches in Table 3."""
    excluding, only = 74.59, 73.86  # Table 2
    assert TABLE_7["kd"]["excluded"][0] == excluding
    assert TABLE_7["kd"]["added"][0] == only
    assert min(*TABLE_7["kd"]["excluded"], *TABLE_7["kd"]["added"]) > KD["WRN-40-1"]
    assert min(TABLE_7["wsl"]["excluded"]) > 74.48  # Table 3, weighted soft labels on WRN-40-1


def test_z7_probability_one_half_excludes_one_half():
    chosen = np.ones(100_000, dtype=bool)
    kept = kept_at_random(chosen, np.random.default_rng(0), excluded=0.5)
    # five standard errors; the text's 75 % are 158 of them away
    assert 1 - kept.mean() == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(100_000))


def test_z8_a_teacher_in_train_mode_is_another_teacher():
    """Batch statistics: its answer to an image depends on the others of the batch."""
    torch.manual_seed(0)
    teacher = torch.nn.Sequential(
        torch.nn.Linear(5, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 3)
    )
    batch = torch.randn(16, 5)
    with torch.no_grad():
        teacher.eval()
        alone, among = teacher(batch[:4]), teacher(batch)[:4]
        torch.testing.assert_close(alone, among)
        teacher.train()
        assert (teacher(batch[:4]) - teacher(batch)[:4]).abs().max() > 0.05


def test_z8_the_codes_ratio_ignores_what_both_know():
    """L_s / (L_t + 1e-7): two networks that agree get weight 0.63 by eq. 5, and 0 by the code."""
    known = [[20.0, 0.0]], [[20.0, 0.0]], [0]
    assert soft_label_weights(*known) == pytest.approx(1 - np.exp(-1))
    assert soft_label_weights(*known, eps=1e-7) < 0.03


def test_z8_holding_the_weight_fixed_matters():
    student, teacher, labels = synthetic(500)
    held = weighted_distillation(student, teacher, labels).gradient
    moving = weighted_distillation(student, teacher, labels, detached=False).gradient
    change = np.linalg.norm(moving - held, axis=1) / np.linalg.norm(held, axis=1)
    assert change.max() > 3


def test_z9_baselines_of_two_losses_are_compared():
    """RepDistiller's is .1 CE + .9 tau^2 KL; the weighted runs are CE + 2.25 w L_kd."""
    student, teacher, labels = synthetic(500)
    label, soft = one_hot(student, labels), distillation(student, teacher, 4.0)
    quoted = (0.1 * label + 0.9 * soft).gradient
    text = (label + soft).gradient
    own = (label + 2.25 * soft).gradient  # the weighted loss where the weight is 1
    norms = [float(np.linalg.norm(g, axis=1).mean()) for g in (quoted, text, own)]
    assert norms[2] > 2 * norms[0]
    assert norms[1] > 1.2 * norms[0]
    np.testing.assert_allclose(
        weighted_distillation(student, teacher, labels).gradient,
        (label + 2.25 * soft_label_weights(student, teacher, labels) * soft).gradient,
        atol=1e-12,
    )


def test_z9_two_baselines_of_relational_distillation():
    """Table 8's own baseline is higher than what Table 3 quotes for the same pairs."""
    table_3 = {"WRN-40-1": 72.22, "resnet20": 69.61}
    table_8 = {"WRN-40-1": 73.34, "resnet20": 70.25}
    assert all(table_8[name] > quoted for name, quoted in table_3.items())
    assert (pair_weights([1.0, 1.0]) == 1).all()  # with weights 1 the loss is the baseline's


def test_the_kl_form_differs_by_what_no_student_changes():
    student, teacher, _ = synthetic(50, 10)
    ce, kl = distillation(student, teacher), distillation(student, teacher, value="kl")
    np.testing.assert_array_equal(ce.gradient, kl.gradient)
    entropy = 16 * divergences.entropy(softmax(teacher, 4.0))
    np.testing.assert_allclose(ce.value - kl.value, entropy, rtol=1e-9)
