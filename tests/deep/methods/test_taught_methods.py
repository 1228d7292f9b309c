"""Losses of students taught by labels' law, a teacher, a table or an average: values, gradients.

The reference is `theory.labels.losses`, float64, whose gradients are closed forms.
"""

import logging
import math
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from deep import methods
from deep.losses import log_loss, regularization_mask
from deep.matching import matched_temperature
from deep.method import Batch, FilterTable, Outputs, State, WeightAverage
from deep.methods import label_smoothing as label_smoothing_module
from deep.methods import map_distillation as map_module
from deep.methods import pruned_distillation as pruned_module
from deep.methods import wsl as wsl_module
from theory.labels import losses as exact
from theory.labels.bias_variance import (
    label_gradients,
    regularization_samples,
    soft_label_weights,
)
from theory.labels.confidence import confidence
from theory.labels.smoothing import kept_classes, mean_label_mass, prune, smooth
from theory.labels.smoothing import map_distillation as map_prior

SCALES = (0.0, 0.1, 3.0, 30.0, 300.0)


def draw_pair(rng, samples, classes, scale, kind):
    """Student and teacher logits, labels, uniform draws, a posterior."""
    z, v = scale * rng.standard_normal((2, samples, classes))
    y = rng.integers(classes, size=samples)
    if kind == "ties":
        z, v = z.round(), v.round()
    if kind == "equal":
        v = z.copy()
    if kind == "sure":
        z[np.arange(samples), y] += 60.0
        v[np.arange(samples), y] += 50.0
    p = rng.dirichlet(np.full(classes, 0.3), size=samples)
    p[0] = np.eye(classes)[y[0]]
    return {"z": z, "v": v, "y": y, "u": rng.random(samples), "p": p}


@st.composite
def pairs(draw, scales=SCALES, kinds=("usual", "ties", "equal", "sure")):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    samples, classes = draw(st.integers(1, 5)), draw(st.integers(2, 7))
    return draw_pair(
        rng, samples, classes, draw(st.sampled_from(scales)), draw(st.sampled_from(kinds))
    )


def measured(name, options, data, *, dtype=torch.float64, fitted=False):
    """Per-sample loss of a method by its wrapper, and its gradient in the student's logits."""
    method = methods.get(name)
    hyper = method.Hyper(**options)
    if fitted and method.fit is not None:
        hyper = method.fit(hyper, data["v"].reshape(-1, data["v"].shape[-1]), data["y"].ravel())
    z = torch.tensor(data["z"], dtype=dtype, requires_grad=True)
    v = torch.tensor(data["v"], dtype=dtype)
    batch = Batch(
        labels=torch.tensor(data["y"]), draws=torch.tensor(data["u"], dtype=dtype)[..., None]
    )
    state = State(posterior=torch.tensor(data["p"], dtype=dtype))
    terms = method.loss(hyper, Outputs(z), Outputs(v), batch, state)
    value = sum(terms.values())
    assert value.shape == data["y"].shape
    value.sum().backward()
    return value.detach().numpy(), z.grad.numpy()


def plain_kd(w, tau, factor, value, rest=None):
    rest = 1 - w if rest is None else rest
    return lambda d: (
        w * exact.one_hot(d["z"], d["y"])
        + rest * exact.distillation(d["z"], d["v"], tau, factor, value)
    )


def smoothed(epsilon, convention):
    return lambda d: exact.label_smoothing(d["z"], d["y"], epsilon, convention=convention)


def masked(variant, w=1.0, soft=1.0, tau=4.0):
    return lambda d: (
        w * exact.one_hot(d["z"], d["y"])
        + soft * exact.masked_distillation(d["z"], d["v"], d["y"], tau, variant)
    )


def weighted(**options):
    return lambda d: exact.weighted_distillation(d["z"], d["v"], d["y"], **options)


def tempered(a, temperature, **options):
    return lambda d: exact.self_distillation(d["z"], d["v"], d["y"], a, temperature, **options)


def pruned(a, temperature, share):
    def loss(d):
        keep = kept_classes(share, d["v"].shape[-1])
        soft = exact.tempered_cross_entropy(d["z"], prune(d["v"], keep, temperature))
        return a * exact.one_hot(d["z"], d["y"]) + (1 - a) * soft

    return loss


def posterior_map(**options):
    return lambda d: exact.map_distillation_loss(d["z"], d["y"], d["v"], **options)


def rescaled(a, temperature, center):
    return lambda d: exact.rescaled_distillation(
        d["z"], d["y"], d["v"], a, temperature, center=center
    )


REN = ("early_stopped_kd", "filter_kd", "parameter_average")
CASES = {
    "label smoothing": ("label_smoothing", {}, smoothed(0.1, "mix")),
    "label smoothing, none": ("label_smoothing", {"epsilon": 0.0}, smoothed(0.0, "mix")),
    "label smoothing, true": (
        "label_smoothing",
        {"epsilon": 0.15, "convention": "true"},
        smoothed(0.15, "true"),
    ),
    "label smoothing, all of it": (
        "label_smoothing",
        {"epsilon": 1.0, "convention": "true"},
        smoothed(1.0, "true"),
    ),
    "ground truth": ("ground_truth", {}, lambda d: exact.tempered_cross_entropy(d["z"], d["p"])),
    "kd": ("kd", {}, plain_kd(0.1, 4.0, "tau2", "kl")),
    "kd, text of Table 2": (
        "kd",
        {"label_weight": 1.0, "soft_weight": 1.0, "value": "ce"},
        plain_kd(1.0, 4.0, "tau2", "ce", rest=1.0),
    ),
    "kd, tau": ("kd", {"factor": "tau", "temperature": 3.0}, plain_kd(0.1, 3.0, "tau", "kl")),
    **{name: (name, {}, plain_kd(0.0, 1.0, "1", "ce")) for name in REN},
    **{
        f"{name}, released": (
            name,
            {"factor": "2tau2", "value": "kl", "temperature": 2.0, "label_weight": 0.3},
            plain_kd(0.3, 2.0, "2tau2", "kl"),
        )
        for name in REN
    },
    "born again": ("born_again", {}, tempered(0.0, 1.0)),
    "born again, tempered": (
        "born_again",
        {"label_weight": 0.2, "temperature": 2.5, "generation": 4},
        tempered(0.2, 2.5),
    ),
    **{
        f"masked, {variant}": ("masked_kd", {"variant": variant}, masked(variant))
        for variant in ("detach", "printed", "renormalized")
    },
    "masked, weights": (
        "masked_kd",
        {"label_weight": 0.1, "soft_weight": 0.9, "temperature": 2.0},
        masked("detach", 0.1, 0.9, 2.0),
    ),
    "wsl": ("wsl", {}, weighted()),
    "wsl, sigmoid": (
        "wsl",
        {"form": "sigmoid", "alpha": 3.0},
        weighted(form="sigmoid", alpha=3.0),
    ),
    "wsl, released": (
        "wsl",
        {"eps": 1e-7, "temperature": 2.0, "alpha": 2.5},
        weighted(eps=1e-7, temperature=2.0, alpha=2.5),
    ),
    "wsl, kl": ("wsl", {"value": "kl"}, weighted(value="kl")),
    "wsl, attached": ("wsl", {"detached": False}, weighted(detached=False)),
    "wsl, sigmoid attached": (
        "wsl",
        {"detached": False, "form": "sigmoid", "eps": 1e-7, "value": "kl"},
        weighted(detached=False, form="sigmoid", eps=1e-7, value="kl"),
    ),
    "self-distillation": ("self_distillation", {"temperature": 4.0}, tempered(0.6, 4.0)),
    "self-distillation, both": (
        "self_distillation",
        {"temperature": 4.0, "tempered": "both", "label_weight": 0.9},
        tempered(0.9, 4.0, scale="both"),
    ),
    "self-distillation, both, 1": (
        "self_distillation",
        {"temperature": 4.0, "tempered": "both", "factor": "1"},
        tempered(0.6, 4.0, scale="both", factor="1"),
    ),
    "pruned": ("pruned_distillation", {"temperature": 4.0}, pruned(0.6, 4.0, 0.5)),
    "pruned to few": (
        "pruned_distillation",
        {"temperature": 2.0, "share": 0.75, "label_weight": 0.2},
        pruned(0.2, 2.0, 0.75),
    ),
    "map": (
        "map_distillation",
        {"beta": 0.1, "temperature": 1.0},
        posterior_map(beta=0.1, temperature=1.0),
    ),
    "map without a prior": (
        "map_distillation",
        {"beta": 0.0, "temperature": 1.0},
        posterior_map(beta=0.0, temperature=1.0),
    ),
    "map, centered and flat": (
        "map_distillation",
        {"beta": 0.3, "temperature": 3.0, "gamma": 1.05, "center": "mean"},
        posterior_map(beta=0.3, temperature=3.0, gamma=1.05, center="mean"),
    ),
    "map, from the top": (
        "map_distillation",
        {"beta": 2.0, "temperature": 2.0, "center": "max"},
        posterior_map(beta=2.0, temperature=2.0, center="max"),
    ),
    "map, eq. 3": (
        "map_distillation",
        {"reading": "eq3", "temperature": 4.0},
        rescaled(0.6, 4.0, "none"),
    ),
    "map, eq. 3 from the top": (
        "map_distillation",
        {"reading": "eq3", "temperature": 2.0, "center": "max", "label_weight": 0.2},
        rescaled(0.2, 2.0, "max"),
    ),
}
UNBOUNDED = ("map", "map, centered and flat", "map, eq. 3")  # exp(f/T) of any logits is no float
FREE = tuple(key for key in CASES if key not in UNBOUNDED)
SUBSETS = {
    ("exclude_regularization", None): "exclude",
    ("only_regularization", None): "only",
    ("wsl", "exclude"): "exclude",
    ("wsl", "only"): "only",
}
CRITERIA = ("abs", "signed", "tau1")
UNCOUNTED = (
    ("exclude_regularization", {"criterion": "tau1", "value": "kl"}),
    ("only_regularization", {"label_weight": 0.1, "soft_weight": 0.9}),
    ("mixed_regularization", {}),
    ("wsl", {"select": "exclude"}),
    ("wsl", {"select": "mixed", "detached": False}),
)
ALL = [(name, options) for name, options, _ in CASES.values()] + list(UNCOUNTED)
ALL_IDS = [*CASES, *(f"{name} {options}" for name, options in UNCOUNTED)]


def close(got, want, rtol=1e-10):
    """Equal beside the largest number of the batch, from which small ones are differences."""
    scale = 1.0 + float(np.abs(want).max(initial=0.0))
    np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * scale)


def check_case(key, data):
    name, options, reference = CASES[key]
    value, gradient = measured(name, options, data)
    want = reference(data)
    close(value, want.value)
    close(gradient, want.gradient)


@pytest.mark.parametrize("key", FREE)
@given(data=pairs())
def test_loss_and_gradient_are_those_of_the_theory(key, data):
    check_case(key, data)


@pytest.mark.parametrize("key", UNBOUNDED)
@given(data=pairs(scales=(0.0, 0.1, 3.0), kinds=("usual", "ties", "equal")))
def test_posterior_losses_are_those_of_the_theory(key, data):
    check_case(key, data)


def test_every_option_is_tried():
    owned = {name for name, _ in ALL}
    tried = {
        name: {key for owner, given in ALL if owner == name for key in given} for name in owned
    }
    only_needs = {"taught_by", "stop", "init", "smoothing", "filter_temperature", "decay", "warmup"}
    only_needs |= {"start", "statistics", "label_mass"}
    same = {"criterion", "label_weight", "soft_weight", "value", "temperature", "excluded", "added"}
    for name in owned:
        options = {field.name for field in fields(methods.get(name).Hyper)}
        left = options - tried[name] - only_needs
        if name.endswith("regularization") or name == "wsl":
            left -= same  # in tests of their own
        assert not left, (name, left)


# --- regularization samples -----------------------------------------------------------------


def clear(data, temperature):
    """Samples that are not within round-off of being told apart otherwise, or are equal."""
    z, v, y = data["z"], data["v"], data["y"]
    a, b = label_gradients(z, v, y, temperature)
    apart = np.abs(np.abs(b) - np.abs(a)) > 1e-9 * np.maximum(np.abs(a), np.abs(b))
    for tau in (1.0, temperature):
        s, t = confidence(z / tau, y), confidence(v / tau, y)
        apart &= np.abs(s - t) > 1e-9 * (1 + np.abs(s))
    return apart | (z == v).all(-1)


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("temperature", [1.0, 4.0])
@given(data=pairs())
def test_regularization_samples_are_those_of_the_theory(criterion, temperature, data):
    z, v, y = (torch.tensor(data[key]) for key in "zvy")
    found = regularization_mask(z, v, y, temperature=temperature, criterion=criterion).numpy()
    want = regularization_samples(data["z"], data["v"], data["y"], temperature, criterion)
    sure = clear(data, temperature)
    np.testing.assert_array_equal(found[sure], want[sure])


def test_sure_networks_are_told_apart_in_single_precision():
    z, v = torch.tensor([[200.0, 0.0]]), torch.tensor([[208.0, 0.0]])
    y = torch.tensor([0])
    # the teacher pulls by 4 (e^-50 - e^-52), the label by e^-200 alone
    assert regularization_mask(z, v, y, temperature=4.0).item()
    assert not regularization_mask(z, v, y, temperature=4.0, criterion="signed").item()
    assert not regularization_mask(v, v, y, temperature=4.0).item()


@given(st.floats(-700, 800))
@example(30.0)
@example(-20.5)  # where torch's softplus is cut off
def test_logarithm_of_the_loss_keeps_its_digits(phi):
    want = math.log(max(-phi, 0.0) + math.log1p(math.exp(-abs(phi)))) if phi < 37 else -phi
    assert log_loss(torch.tensor(phi, dtype=torch.float64)).item() == pytest.approx(
        want, rel=1e-13, abs=1e-15
    )


@pytest.mark.parametrize(("name", "select"), SUBSETS)
@pytest.mark.parametrize("criterion", CRITERIA)
@given(data=pairs())
def test_subsets_are_those_of_the_theory(name, select, criterion, data):
    options = {"criterion": criterion} | ({"select": select} if select else {})
    value, gradient = measured(name, options, data)
    mask = regularization_samples(data["z"], data["v"], data["y"], 4.0, criterion)
    mask = mask if SUBSETS[name, select] == "only" else ~mask
    if name == "wsl":
        hard = exact.one_hot(data["z"], data["y"])
        soft = weighted()(data) + -1.0 * hard
        want = hard + mask.astype(float) * soft
    else:
        want = exact.filtered_distillation(data["z"], data["v"], data["y"], mask)
    sure = clear(data, 4.0)
    if sure.any():
        close(value[sure], want.value[sure], 1e-9)
        close(gradient[sure], want.gradient[sure], 1e-9)


@pytest.mark.parametrize("name", ["exclude_regularization", "only_regularization"])
def test_weights_and_value_of_subsets(name):
    data = draw_pair(np.random.default_rng(0), 64, 5, 3.0, "usual")
    value, gradient = measured(
        name, {"label_weight": 0.1, "soft_weight": 0.9, "value": "kl", "temperature": 2.0}, data
    )
    mask = regularization_samples(data["z"], data["v"], data["y"], 2.0)
    assert 0 < mask.sum() < 64
    heard = (mask if name.startswith("only") else ~mask).astype(float)
    want = 0.1 * exact.one_hot(data["z"], data["y"]) + 0.9 * heard * exact.distillation(
        data["z"], data["v"], 2.0, value="kl"
    )
    close(value, want.value)
    close(gradient, want.gradient)


@given(data=pairs())
def test_excluding_and_only_add_up(data):
    excluded, only, hard, whole = (
        measured(name, options, data)
        for name, options in (
            ("exclude_regularization", {}),
            ("only_regularization", {}),
            ("one_hot", {}),
            ("kd", {"label_weight": 1.0, "soft_weight": 1.0, "value": "ce"}),
        )
    )
    for left, right, labels, full in zip(excluded, only, hard, whole, strict=True):
        close(left + right, labels + full)


@pytest.mark.parametrize("criterion", CRITERIA)
@given(data=pairs())
def test_mixing_ends_at_excluding_and_only(criterion, data):
    ends = {
        "exclude_regularization": {"excluded": 1.0, "added": 1.0},
        "only_regularization": {"excluded": 0.0, "added": 0.0},
        "kd": {"excluded": 0.0, "added": 1.0},
        "one_hot": {"excluded": 1.0, "added": 0.0},
    }
    for name, mix in ends.items():
        end = {"criterion": criterion} if name.endswith("regularization") else {}
        if name == "kd":
            end = {"label_weight": 1.0, "soft_weight": 1.0, "value": "ce"}
        want = measured(name, end, data)
        got = measured("mixed_regularization", {**mix, "criterion": criterion}, data)
        for left, right in zip(got, want, strict=True):
            np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("name", ["mixed_regularization", "wsl"])
def test_mixing_drops_and_adds_with_its_probabilities(name):
    data = draw_pair(np.random.default_rng(1), 4000, 5, 3.0, "usual")
    mask = regularization_samples(data["z"], data["v"], data["y"], 4.0)
    options = {"excluded": 0.75, "added": 0.3}
    if name == "wsl":
        options |= {"select": "mixed"}
    value, _ = measured(name, options, data)
    heard = value > exact.one_hot(data["z"], data["y"]).value + 1e-12
    np.testing.assert_array_equal(heard, data["u"] < np.where(mask, 0.25, 0.3))


def test_mixed_needs_draws():
    mixed = methods.get("mixed_regularization")
    data = draw_pair(np.random.default_rng(0), 2, 3, 1.0, "usual")
    z, y = torch.tensor(data["z"]), torch.tensor(data["y"])
    with pytest.raises(ValueError, match="draws must be given"):
        mixed.loss(mixed.Hyper(), Outputs(z), Outputs(z), Batch(labels=y), State())
    assert mixed.needs(mixed.Hyper()).draws == 1
    weigh = methods.get("wsl")
    assert weigh.needs(weigh.Hyper()).draws == 0
    assert weigh.needs(weigh.Hyper(select="mixed")).draws == 1


# --- masks ----------------------------------------------------------------------------------


@given(data=pairs(scales=(0.1, 3.0)))
def test_gradients_of_each_mask(data):
    z, v, y = data["z"], data["v"], data["y"]
    row, tau = np.arange(len(y)), 4.0
    s, t = (np.exp(x / tau - np.logaddexp.reduce(x / tau, axis=-1)[:, None]) for x in (z, v))
    only = {"label_weight": 0.0}
    _, detach = measured("masked_kd", {"variant": "detach", **only}, data)
    _, printed = measured("masked_kd", {"variant": "printed", **only}, data)
    _, renormalized = measured("masked_kd", {"variant": "renormalized", **only}, data)
    want = tau * (s - t)
    want[row, y] = 0.0
    close(detach, want)
    close(printed[row, y], tau * (1 - t[row, y]) * s[row, y])
    assert (detach[row, y] == 0).all()
    assert (renormalized[row, y] == 0).all()
    close(renormalized.sum(-1), np.zeros(len(y)))
    close(printed.sum(-1), np.zeros(len(y)))


@given(data=pairs(scales=(3.0,)), shift=st.floats(-50, 50))
def test_renormalized_mask_does_not_see_the_labels_logit(data, shift):
    options = {"variant": "renormalized", "label_weight": 0.0}
    before, _ = measured("masked_kd", options, data)
    moved = {**data, "z": data["z"].copy()}
    moved["z"][np.arange(len(data["y"])), data["y"]] += shift
    after, _ = measured("masked_kd", options, moved)
    close(after, before)


def test_detached_mask_moves_all_logits_together():
    """Which is why dense networks run away under it, and the small data sets have another."""
    data = draw_pair(np.random.default_rng(0), 200, 10, 0.1, "usual")
    data["v"][np.arange(200), data["y"]] += 10.0
    drift = {
        variant: measured("masked_kd", {"variant": variant}, data)[1].sum(-1).mean()
        for variant in ("detach", "printed", "renormalized")
    }
    assert drift["detach"] > 1.0
    assert abs(drift["printed"]) < 1e-12
    assert abs(drift["renormalized"]) < 1e-12
    assert dict(methods.spec("masked_kd", data="digits").options)["variant"] == "renormalized"
    assert dict(methods.spec("masked_kd", data="cifar100").options)["variant"] == "detach"


# --- weighted soft labels -------------------------------------------------------------------


@given(data=pairs(), eps=st.sampled_from((None, 1e-7)))
def test_weights_are_those_of_the_theory(data, eps):
    z, v, y = (torch.tensor(data[key]) for key in "zvy")
    both = {}
    for form in ("exponential", "sigmoid"):
        both[form] = wsl_module.soft_label_weights(z, v, y, form=form, eps=eps).numpy()
        want = soft_label_weights(data["z"], data["v"], data["y"], form, eps)
        np.testing.assert_allclose(both[form], want, rtol=1e-10, atol=1e-300)
    w, sigmoid = both["exponential"], both["sigmoid"]
    assert ((w >= 0) & (w <= 1)).all()
    slack = 1e-12
    assert (sigmoid >= w / 2 * (1 - slack)).all()
    assert (sigmoid <= w * (1 + slack)).all()


def test_weights_where_both_losses_underflow_in_single_precision():
    z, v = (
        torch.tensor([[150.0, 0.0]] * 3),
        torch.tensor([[150.0, 0.0], [149.0, 0.0], [151.0, 0.0]]),
    )
    y = torch.zeros(3, dtype=torch.int64)
    want = -np.expm1(-np.exp([0.0, -1.0, 1.0]))
    np.testing.assert_allclose(wsl_module.soft_label_weights(z, v, y).numpy(), want, rtol=1e-4)
    assert (wsl_module.soft_label_weights(z, v, y, eps=1e-7) == 0).all()


@pytest.mark.parametrize("form", ["exponential", "sigmoid"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_attached_weights_have_finite_gradients_at_saturation(form, dtype):
    margins = (-1e3, -100.0, -20.0, 0.0, 20.0, 89.0, 120.0, 1e3)
    z = np.array([[a, 0.0, -1.0] for a in margins for _ in margins])
    v = np.array([[b, 0.0, -1.0] for _ in margins for b in margins])
    data = {"z": z, "v": v, "y": np.zeros(len(z), int), "u": np.zeros(len(z)), "p": z * 0 + 1 / 3}
    for eps in (None, 1e-7):
        options = {"form": form, "detached": False, "eps": eps}
        value, gradient = measured("wsl", options, data, dtype=dtype)
        assert np.isfinite(value).all()
        assert np.isfinite(gradient).all()
        if dtype == torch.float64:
            want = weighted(**options)(data)
            close(gradient, want.gradient)


@given(data=pairs())
def test_wsl_with_a_student_far_behind_is_plain_distillation(data):
    y = data["y"]
    behind = {**data, "z": data["z"] / 30, "v": data["v"] / 30}
    behind["z"][np.arange(len(y)), y] -= 60.0  # its loss is 60 and more, the teacher's e^-60
    behind["v"][np.arange(len(y)), y] += 120.0
    got = measured("wsl", {"alpha": 0.9}, behind)
    want = measured("kd", {"label_weight": 1.0, "soft_weight": 0.9, "value": "ce"}, behind)
    for left, right in zip(got, want, strict=True):
        close(left, right)


@given(data=pairs(scales=(0.1, 3.0)))
def test_wsl_without_alpha_is_one_hot(data):
    for left, right in zip(
        measured("wsl", {"alpha": 0.0}, data), measured("one_hot", {}, data), strict=True
    ):
        close(left, right)


# --- instance-specific smoothing ------------------------------------------------------------


@given(data=pairs(scales=(0.1, 3.0)))
def test_a_hot_teacher_is_label_smoothing(data):
    got = measured("self_distillation", {"temperature": 1e12}, data)
    want = measured("label_smoothing", {"epsilon": 0.4}, data)
    for left, right in zip(got, want, strict=True):
        close(left, right)


@given(data=pairs(scales=(0.1, 3.0)))
def test_nothing_pruned_is_self_distillation(data):
    got = measured("pruned_distillation", {"temperature": 3.0, "share": 0.0}, data)
    want = measured("self_distillation", {"temperature": 3.0}, data)
    for left, right in zip(got, want, strict=True):
        np.testing.assert_array_equal(left, right)


@given(data=pairs(), share=st.sampled_from((0.0, 0.25, 0.5, 0.7)))
def test_pruned_targets_are_those_of_the_theory(data, share):
    classes = data["v"].shape[-1]
    keep = kept_classes(share, classes)
    got = pruned_module.pruned_probabilities(
        torch.tensor(data["v"]), temperature=2.0, share=share
    ).numpy()
    np.testing.assert_allclose(got, prune(data["v"], keep, 2.0), rtol=1e-12, atol=1e-300)
    assert ((got > 0).sum(-1) <= keep).all()


def test_of_tied_classes_the_lower_stay():
    got = pruned_module.pruned_probabilities(torch.zeros(2, 100), temperature=1.0, share=0.5)
    assert torch.equal(got > 0, (torch.arange(100) < 50).expand(2, 100))


@given(
    data=pairs(scales=(0.1, 3.0), kinds=("usual", "ties", "equal")),
    center=st.sampled_from(("none", "mean", "max")),
    beta=st.floats(1e-3, 10),
)
def test_posterior_is_a_weight_and_a_mix(data, center, beta):
    options = {"beta": beta, "temperature": 2.0, "center": center}
    value, gradient = measured("map_distillation", options, data)
    prior = map_prior(data["v"], beta, 2.0, center=center)
    share = prior.label_share
    np.testing.assert_allclose(prior.weight * share, 1.0)  # 1 + beta S, and 1/(1 + beta S)
    mix = share * exact.one_hot(data["z"], data["y"]) + (1 - share) * (
        exact.teacher_tempered(data["z"], data["v"], 2.0)
    )
    close(value, (prior.weight * mix).value)
    close(gradient, (prior.weight * mix).gradient)


def test_a_shift_changes_the_weight_and_not_the_targets():
    data = draw_pair(np.random.default_rng(3), 5, 4, 1.0, "usual")
    moved = {**data, "v": data["v"] + 1.0}
    options = {"temperature": 1.0, "beta": 0.5}
    hard = exact.one_hot(data["z"], data["y"]).value
    before, after = (measured("map_distillation", options, d)[0] - hard for d in (data, moved))
    close(after, math.e * before)
    for center in ("mean", "max"):
        same = [
            measured("map_distillation", {**options, "center": center}, d)[0] for d in (data, moved)
        ]
        close(*same)


# --- what is solved for ---------------------------------------------------------------------


def teacher_on(rng, samples=400, classes=10, scale=3.0, wrong=0.0):
    y = rng.integers(classes, size=samples)
    v = rng.standard_normal((samples, classes))
    v[np.arange(samples), np.where(rng.random(samples) < wrong, (y + 1) % classes, y)] += scale
    return 2 * v, y


@pytest.mark.parametrize("name", ["self_distillation", "pruned_distillation", "map_distillation"])
@pytest.mark.parametrize("label_weight", [0.4, 0.6])
def test_temperature_leaves_the_label_its_mass(name, label_weight):
    v, y = teacher_on(np.random.default_rng(0))
    method = methods.get(name)
    hyper = method.fit(method.Hyper(label_weight=label_weight), v, y)
    mass = label_weight + (1 - label_weight) * mean_label_mass(v, y, hyper.temperature)
    assert mass == pytest.approx(0.85, abs=1e-9)
    # right of the maximum: more heat leaves less
    assert mean_label_mass(v, y, 1.01 * hyper.temperature) < mean_label_mass(
        v, y, hyper.temperature
    )
    assert method.fit(hyper, v, y) == hyper
    given_one = method.Hyper(temperature=3.0)
    assert method.fit(given_one, v, y).temperature == 3.0
    assert replace(hyper, temperature=None, **({"beta": None} if name[0] == "m" else {})) == (
        method.Hyper(label_weight=label_weight)
    )


@pytest.mark.parametrize("teacher", ["wrong", "flat", "random"])
@pytest.mark.parametrize("name", ["self_distillation", "pruned_distillation", "map_distillation"])
def test_a_teacher_without_the_mass_gives_its_largest_and_says_so(name, teacher, caplog):
    rng = np.random.default_rng(1)
    v, y = teacher_on(rng, wrong=0.6)
    if teacher == "flat":
        v = np.zeros_like(v)
    if teacher == "random":
        v = 1e-3 * rng.standard_normal(v.shape)
    method = methods.get(name)
    with caplog.at_level(logging.WARNING):
        hyper = method.fit(method.Hyper(), v, y)
    assert "no temperature gives the labels a mean mass of 0.625" in caplog.text
    assert math.isfinite(hyper.temperature)
    assert hyper.temperature >= 1
    grid = [mean_label_mass(v, y, t) for t in np.geomspace(1, 1000, 200)]
    assert mean_label_mass(v, y, hyper.temperature) >= max(grid) - 2e-3
    data = {"z": v[:4], "v": v[:4], "y": y[:4], "u": y[:4] / 10, "p": v[:4] * 0 + 0.1}
    value, gradient = measured(name, asdict(hyper), data)
    assert np.isfinite(value).all()
    assert np.isfinite(gradient).all()


def test_of_temperatures_that_leave_as_much_the_highest_is_taken():
    y = np.repeat([0, 1], 50)
    v = np.zeros((100, 10))
    v[:, 0] = 30.0  # sure, and wrong of every second sample
    got = matched_temperature(v, y, label_mass=0.85, label_weight=0.6)
    assert 2.5 < got < 4.5
    assert mean_label_mass(v, y, got) == pytest.approx(0.5, abs=1e-3)


def test_a_mass_below_chance_is_refused():
    v, y = teacher_on(np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"label_mass must exceed 0\.64"):
        matched_temperature(v, y, label_mass=0.61, label_weight=0.6)
    with pytest.raises(ValueError, match="teacher_logits must be finite"):
        matched_temperature(v * np.inf, y, label_mass=0.85, label_weight=0.6)


@pytest.mark.parametrize("name", ["self_distillation", "pruned_distillation", "map_distillation"])
def test_a_loss_waits_for_what_is_solved(name):
    data = draw_pair(np.random.default_rng(0), 3, 4, 1.0, "usual")
    with pytest.raises(ValueError, match="temperature must be a number"):
        measured(name, {}, data)


@pytest.mark.parametrize("center", ["none", "mean", "max"])
@pytest.mark.parametrize(("gamma", "shift"), [(1.0, 0.0), (1.02, 0.0), (1.0, 600.0)])
def test_beta_gives_the_label_its_share(center, gamma, shift):
    v, y = teacher_on(np.random.default_rng(2))
    method = methods.get("map_distillation")
    start = method.Hyper(center=center, gamma=gamma, temperature=2.0)
    hyper = method.fit(start, v + shift, y)
    prior = map_prior(v + shift, hyper.beta, 2.0, gamma=gamma, center=center)
    assert prior.label_share.mean() == pytest.approx(0.6, abs=1e-9)


def test_weights_that_are_no_floats_are_refused_before_training():
    v, y = teacher_on(np.random.default_rng(2))
    method = methods.get("map_distillation")
    with pytest.raises(
        ValueError, match=r"temperature must be high enough.*center='mean' or 'max'"
    ):
        method.fit(method.Hyper(beta=0.1, temperature=0.1), v, y)
    with pytest.raises(ValueError, match="temperature must be high enough"):
        method.fit(method.Hyper(reading="eq3", temperature=0.1), v, y)
    with pytest.raises(ValueError, match="a beta that is a float"):
        method.fit(method.Hyper(temperature=1.0), v + 2000.0, y)
    with pytest.raises(ValueError, match=r"gamma must be less than 1\.067"):
        method.fit(method.Hyper(gamma=2.0), v, y)
    method.fit(method.Hyper(reading="eq3", temperature=0.1, center="max"), v, y)


def test_a_mass_too_large_for_single_precision_is_no_obstacle():
    f, z = torch.tensor([[200.0, 195.0]]), torch.tensor([[1.0, 0.0]])
    y = torch.tensor([0])
    got = map_module.map_distillation(z, f, y, beta=math.exp(-200))
    want = map_module.map_distillation(z, f - 200, y, beta=1.0)
    torch.testing.assert_close(got, want)


# --- tables and what else is needed ---------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("value", ["ce", "kl"])
def test_a_table_may_hold_zeros(temperature, value):
    rng = np.random.default_rng(0)
    data = draw_pair(rng, 4, 5, 3.0, "usual")
    table = rng.dirichlet(np.ones(5), size=4)
    table[0, :2] = table[2, 4] = 0.0
    table[3] = np.eye(5)[1]
    table /= table.sum(-1, keepdims=True)
    with np.errstate(divide="ignore"):
        data["v"] = np.log(table)
    options = {"temperature": temperature, "value": value}
    got, gradient = measured("filter_kd", options, data)
    power = table ** (1 / temperature)
    target = power / power.sum(-1, keepdims=True)
    want = exact.tempered_cross_entropy(data["z"], target, temperature, "1", value)
    close(got, want.value)
    close(gradient, want.gradient)


def test_filter_kd_asks_for_its_table():
    method = methods.get("filter_kd")
    needs = method.needs(method.Hyper())
    assert (needs.teacher, needs.stop) == ("table", "best")
    assert needs.table == FilterTable(smoothing=0.05, init="pass", temperature=1.0)
    chosen = method.Hyper(smoothing=0.2, init="first", filter_temperature=2.0, stop="last")
    assert method.needs(chosen).table == FilterTable(smoothing=0.2, init="first", temperature=2.0)
    assert method.needs(chosen).stop == "last"


def test_generations_teach_each_other():
    method, generation = methods.get("born_again"), 3
    hyper = method.Hyper(generation=generation, temperature=2.5, taught_by="final")
    while (needs := method.needs(hyper)).taught_by is not None:
        assert needs.teacher == "final"
        assert needs.taught_by == methods.spec(
            "born_again", generation=generation - 1, temperature=2.5, taught_by="final"
        )
        hyper = methods.hyper(needs.taught_by)
        generation -= 1
    assert generation == hyper.generation == 1
    assert method.needs(method.Hyper()).teacher == "best"


def test_what_teaches():
    teachers = {
        name: method.needs(method.Hyper()).teacher
        for name, method in ((name, methods.get(name)) for name, _ in ALL)
    }
    assert teachers == {
        "label_smoothing": None,
        "ground_truth": None,
        "kd": "final",
        "early_stopped_kd": "best",
        "filter_kd": "table",
        "parameter_average": "average",
        "born_again": "best",
        "masked_kd": "final",
        "wsl": "final",
        "self_distillation": "final",
        "pruned_distillation": "final",
        "map_distillation": "final",
        "exclude_regularization": "final",
        "only_regularization": "final",
        "mixed_regularization": "final",
    }
    for name in ("self_distillation", "pruned_distillation", "map_distillation"):
        method = methods.get(name)
        assert method.needs(method.Hyper(taught_by="best")).teacher == "best"
    truth, average = methods.get("ground_truth"), methods.get("parameter_average")
    assert truth.needs(truth.Hyper()).posterior
    assert average.needs(average.Hyper()).kept_average == WeightAverage(decay=0.95)
    zhang = {"decay": 0.999, "warmup": True, "start": "own", "statistics": "batch"}
    assert average.needs(average.Hyper(**zhang)).kept_average == WeightAverage(**zhang)


def test_ground_truth_and_teachers_must_be_given():
    z, y = torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64)
    for name, match in (("ground_truth", "posterior"), ("early_stopped_kd", "teacher")):
        method = methods.get(name)
        with pytest.raises(ValueError, match=f"{match} must be given"):
            method.loss(method.Hyper(), Outputs(z), None, Batch(labels=y), State())


@pytest.mark.parametrize("convention", ["mix", "true"])
def test_smoothed_labels_are_those_of_the_theory(convention):
    y = torch.tensor([[2, 0], [1, 1]])
    like = torch.zeros(2, 2, 3, dtype=torch.float64, requires_grad=True)
    got = label_smoothing_module.smoothed_labels(y, like, epsilon=0.2, convention=convention)
    np.testing.assert_allclose(got.numpy(), smooth(y.numpy(), 3, 0.2, convention), rtol=1e-15)


# --- shapes and precision -------------------------------------------------------------------


@pytest.mark.parametrize(("name", "options"), ALL, ids=ALL_IDS)
def test_members_of_an_ensemble_know_nothing_of_each_other(name, options):
    rng = np.random.default_rng(0)
    flat = draw_pair(rng, 24, 5, 2.0, "usual")
    stacked = {key: value.reshape(2, 3, 4, *value.shape[1:]) for key, value in flat.items()}
    value, gradient = measured(name, options, stacked)
    for index in np.ndindex(2, 3):
        member = {key: array[index] for key, array in stacked.items()}
        alone, slope = measured(name, options, member)
        np.testing.assert_allclose(value[index], alone, rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(gradient[index], slope, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("name", "options"), ALL, ids=ALL_IDS)
def test_single_precision(name, options):
    rng = np.random.default_rng(5)
    usual = draw_pair(rng, 32, 10, 2.0, "usual")
    usual = {key: a.astype(np.float32) if a.dtype == float else a for key, a in usual.items()}
    double = measured(name, options, usual)
    single = measured(name, options, usual, dtype=torch.float32)
    for left, right in zip(single, double, strict=True):
        assert left.dtype == np.float32
        np.testing.assert_allclose(left, right, rtol=2e-5, atol=2e-5 * (1 + np.abs(right).max()))


@pytest.mark.parametrize(("name", "options"), ALL, ids=ALL_IDS)
def test_nothing_is_infinite_at_logits_of_a_thousand(name, options):
    rng = np.random.default_rng(6)
    data = draw_pair(rng, 64, 10, 1.0, "usual")
    for key in "zv":
        data[key] = 1e3 * rng.choice([-1.0, 0.0, 1.0], size=data[key].shape)
    if name == "map_distillation":  # other weights are no floats, which `fit` says
        options = {"center": "max", **options} | {"center": "max"}
    value, gradient = measured(name, options, data, dtype=torch.float32, fitted=True)
    assert np.isfinite(value).all()
    assert np.isfinite(gradient).all()


# --- bad hyper-parameters -------------------------------------------------------------------

_REN_BAD = {"temperature": 0.0, "label_weight": 1.5, "factor": "tau3", "value": "mse"}
_RS_BAD = {
    "temperature": -1.0,
    "criterion": "both",
    "label_weight": -0.1,
    "soft_weight": math.inf,
    "value": "mse",
}
_MASS_BAD = {"label_weight": -1.0, "temperature": math.inf, "label_mass": 1.0, "taught_by": "worst"}
BAD = {
    "kd": {**_REN_BAD, "soft_weight": -1.0},
    "label_smoothing": {"epsilon": 1.5, "convention": "torch"},
    "early_stopped_kd": _REN_BAD,
    "filter_kd": {
        **_REN_BAD,
        "smoothing": 0.0,
        "init": "zero",
        "filter_temperature": -1.0,
        "stop": "first",
    },
    "parameter_average": {
        **_REN_BAD,
        "decay": 1.5,
        "warmup": 1,
        "start": "other",
        "statistics": "eval",
    },
    "born_again": {"generation": 0, "label_weight": 2.0, "temperature": 0.0, "taught_by": "table"},
    "wsl": {
        "temperature": math.nan,
        "alpha": -1.0,
        "form": "linear",
        "eps": 0.0,
        "detached": 1,
        "value": "mse",
        "select": "some",
        "criterion": "both",
        "excluded": 1.5,
        "added": -0.5,
    },
    "masked_kd": {"variant": "none", "temperature": 0.0, "label_weight": -1.0, "soft_weight": -1.0},
    "exclude_regularization": _RS_BAD,
    "only_regularization": _RS_BAD,
    "mixed_regularization": {**_RS_BAD, "excluded": 1.5, "added": -0.5},
    "self_distillation": {**_MASS_BAD, "tempered": "student", "factor": "3"},
    "pruned_distillation": {**_MASS_BAD, "share": 1.0},
    "map_distillation": {
        **_MASS_BAD,
        "reading": "eq9",
        "beta": -1.0,
        "gamma": 0.5,
        "center": "median",
    },
}


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [(name, option, value) for name, bad in BAD.items() for option, value in bad.items()],
)
def test_bad_options_are_refused_by_name(name, option, value):
    with pytest.raises(ValueError, match=f"^{option} must"):
        methods.get(name).Hyper(**{option: value})


def test_every_option_of_every_method_is_refused_when_bad():
    for name, bad in BAD.items():
        assert {field.name for field in fields(methods.get(name).Hyper)} == set(bad)


@pytest.mark.parametrize("name", ["self_distillation", "pruned_distillation", "map_distillation"])
def test_a_mass_that_labels_alone_exceed_is_refused(name):
    hyper = methods.get(name).Hyper
    with pytest.raises(
        ValueError, match=r"label_mass must exceed label_weight.*give a temperature"
    ):
        hyper(label_weight=0.9)
    assert hyper(label_weight=0.9, temperature=4.0).label_weight == 0.9


def test_papers_values():
    assert methods.get("wsl").paper["imagenet"].alpha == 2.5
    assert dict(methods.spec("wsl", data="imagenet").options)["temperature"] == 2.0
    assert dict(methods.spec("kd", data="imagenet").options)["temperature"] == 2.0
    assert dict(methods.spec("wsl", data="cifar100").options)["alpha"] == 2.25
