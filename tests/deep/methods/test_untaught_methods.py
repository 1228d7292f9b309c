"""Methods without a trained teacher, and switches of the loss, against their closed forms."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deep import methods
from deep.losses import beta_shape
from deep.method import Batch, Outputs, State, WeightAverage
from deep.methods import early_kd, late_kd
from deep.methods.beta_smoothing import beta_smoothing, ranked_label_masses, ranking_scores
from deep.methods.early_kd import early_distillation
from deep.methods.entropy_penalty import entropy_penalized
from deep.methods.late_kd import late_distillation
from deep.methods.lsr import label_smoothing_regularization
from deep.methods.lsrkd import uniform_distillation
from deep.methods.lsrkd_tc import corrected_uniform_distillation
from deep.methods.mrkd import memory_replay
from deep.methods.mrkd_tc import corrected_memory_replay, teacher_correction
from deep.methods.random_beta import random_beta_smoothing
from deep.methods.tf_kd import virtual_label_mass, virtual_teacher_distillation
from deep.training.streams import stream
from theory.labels import losses as closed
from theory.labels import smoothing
from theory.labels.smoothing import replay
from theory.labels.switching import teacher_weight

SAMPLES, CLASSES, COPIES = 7, 6, 3
FACTORS = ("1", "tau", "tau2", "2tau2")


def problem(*key, lead=(), classes=CLASSES, scale=3.0):
    """Student, another network, past copies, labels and draws, as arrays in double precision."""
    rng = stream("untaught methods", *key)
    shape = (*lead, SAMPLES, classes)
    return {
        "z": rng.normal(size=shape) * scale,
        "v": rng.normal(size=shape) * scale,
        "past": rng.normal(size=(COPIES, *shape)) * scale,
        "y": rng.integers(classes, size=shape[:-1]),
        "u": rng.uniform(0.001, 0.999, size=shape[:-1]),
    }


def tensors(arrays):
    return {key: torch.from_numpy(np.asarray(value)) for key, value in arrays.items()}


def agree(function, reference, arrays, tolerance=1e-10):
    """Value and gradient in the student's logits are those of theory."""
    t = tensors(arrays)
    z = t["z"].requires_grad_()
    value = function(z, t)
    value.sum().backward()
    expected = reference(arrays)
    np.testing.assert_allclose(
        value.detach().numpy(), expected.value, rtol=tolerance, atol=tolerance
    )
    np.testing.assert_allclose(z.grad.numpy(), expected.gradient, rtol=tolerance, atol=tolerance)


GOLDEN = {
    "lsr": (
        lambda z, t: label_smoothing_regularization(z, t["y"], smoothing=0.3),
        lambda p: closed.label_smoothing(p["z"], p["y"], 0.3),
    ),
    "lsr as a divergence": (
        lambda z, t: label_smoothing_regularization(z, t["y"], value="kl"),
        lambda p: closed.label_smoothing(p["z"], p["y"], 0.1, value="kl"),
    ),
    "entropy penalty": (
        lambda z, t: entropy_penalized(z, t["y"], beta=0.7),
        lambda p: closed.entropy_penalty(p["z"], p["y"], 0.7),
    ),
    "entropy penalty as printed": (
        lambda z, t: entropy_penalized(z, t["y"], beta=0.7, divided_by=7),
        lambda p: closed.entropy_penalty(p["z"], p["y"], 0.7, samples=7),
    ),
    "tf-kd": (
        lambda z, t: virtual_teacher_distillation(z, t["y"]),
        lambda p: closed.tfkd(p["z"], p["y"], weight=0.1),
    ),
    "tf-kd as released": (
        lambda z, t: virtual_teacher_distillation(
            z,
            t["y"],
            temper="prob_as_logit",
            student_temperature=1.0,
            class_mean=True,
            multiplier=100.0,
        ),
        lambda p: closed.tfkd(
            p["z"],
            p["y"],
            weight=0.1,
            temper="prob_as_logit",
            student_temperature=1.0,
            class_mean=True,
            multiplier=100.0,
        ),
    ),
    "tf-kd of a teacher that is sure": (
        lambda z, t: virtual_teacher_distillation(z, t["y"], label_mass=1.0, temperature=2.0),
        lambda p: closed.tfkd(p["z"], p["y"], 1.0, 0.1, 2.0),
    ),
    "random beta": (
        lambda z, t: random_beta_smoothing(z, t["y"], t["u"], label_weight=0.4, shape=3.0),
        lambda p: closed.beta_smoothing(p["z"], p["y"], two_levels(p["u"] ** (1 / 3), p), 0.4),
    ),
    "mrkd with one copy": (
        lambda z, t: memory_replay(z, t["past"][:1], t["y"]),
        lambda p: closed.mrkd(p["z"], p["y"], p["past"][:1]),
    ),
    "mrkd with two of three copies": (
        lambda z, t: memory_replay(z, t["past"], t["y"], trained=2),
        lambda p: closed.mrkd(p["z"], p["y"], p["past"], real=np.arange(3) < 2),
    ),
    "mrkd without a trained copy": (
        lambda z, t: memory_replay(z, t["past"], t["y"], trained=0),
        lambda p: closed.mrkd(p["z"], p["y"], p["past"], real=np.zeros(3, dtype=bool)),
    ),
    "mrkd-tc with one of three copies": (
        lambda z, t: corrected_memory_replay(z, t["past"], t["y"], trained=1, label_mass=0.3),
        lambda p: closed.mrkd_tc(p["z"], p["y"], p["past"], 0.3, real=np.arange(3) < 1),
    ),
    "mrkd-tc without a trained copy": (
        lambda z, t: corrected_memory_replay(z, t["past"], t["y"], trained=0),
        lambda p: 0.75 * closed.one_hot(p["z"], p["y"]),
    ),
}
for factor in FACTORS:
    GOLDEN[f"lsrkd, factor {factor}"] = (
        lambda z, t, c=factor: uniform_distillation(z, t["y"], weight=0.4, factor=c),
        lambda p, c=factor: closed.lsrkd(p["z"], p["y"], 0.4, 3.0, factor=c),
    )
    GOLDEN[f"lsrkd-tc, factor {factor}"] = (
        lambda z, t, c=factor: corrected_uniform_distillation(
            z, t["y"], weight=0.4, label_mass=0.3, factor=c
        ),
        lambda p, c=factor: closed.lsrkd_tc(p["z"], p["y"], 0.3, 0.4, 3.0, factor=c),
    )
    GOLDEN[f"mrkd-3, factor {factor}"] = (
        lambda z, t, c=factor: memory_replay(z, t["past"], t["y"], weight=0.4, factor=c),
        lambda p, c=factor: closed.mrkd(p["z"], p["y"], p["past"], 0.4, 3.0, factor=c),
    )
    for correct, ours in (("each", "each"), ("average", "mean")):
        GOLDEN[f"mrkd-tc, factor {factor}, corrected {ours}"] = (
            lambda z, t, c=factor, how=ours: corrected_memory_replay(
                z, t["past"], t["y"], weight=0.4, label_mass=0.3, factor=c, correct=how
            ),
            lambda p, c=factor, how=correct: closed.mrkd_tc(
                p["z"], p["y"], p["past"], 0.3, 0.4, 3.0, factor=c, correct=how
            ),
        )
for rank_by in ("max", "true"):
    GOLDEN[f"beta smoothing by {rank_by}"] = (
        lambda z, t, by=rank_by: beta_smoothing(
            z, t["v"], t["y"], t["u"], label_weight=0.4, shape=3.0, rank_by=by
        ),
        lambda p, by=rank_by: closed.beta_smoothing(
            p["z"],
            p["y"],
            smoothing.beta_targets(
                p["u"] ** (1 / 3),
                smoothing.ranking_scores(p["v"], p["y"], by),
                p["y"],
                p["z"].shape[-1],
            ),
            0.4,
        ),
    )
for name, switched in (("early", early_distillation), ("late", late_distillation)):
    for value in ("kl", "ce"):
        GOLDEN[f"{name} kd as {value}"] = (
            lambda z, t, f=switched, kind=value: f(
                z, t["v"], t["y"], teacher_share=0.3, label_weight=0.25, value=kind
            ),
            lambda p, kind=value: (
                0.775 * closed.one_hot(p["z"], p["y"])
                + 0.225 * closed.distillation(p["z"], p["v"], value=kind)
            ),
        )


def two_levels(mass, p):
    classes = p["z"].shape[-1]
    rest = np.broadcast_to(((1 - mass) / (classes - 1))[..., None], p["z"].shape)
    return np.where(np.arange(classes) == p["y"][..., None], mass[..., None], rest)


@pytest.mark.parametrize("case", GOLDEN)
@pytest.mark.parametrize("lead", [(), (2, 2)], ids=["one", "members"])
@pytest.mark.parametrize("classes", [2, 6, 100])
def test_values_and_gradients_are_those_of_theory(case, lead, classes):
    agree(*GOLDEN[case], problem(case, lead=lead, classes=classes))


@pytest.mark.parametrize("case", GOLDEN)
@pytest.mark.parametrize("scale", [1e-6, 40.0, 1e3])
def test_they_are_also_for_flat_and_for_sure_networks(case, scale):
    agree(*GOLDEN[case], problem(case, "scale", scale=scale), tolerance=1e-9)


@pytest.mark.parametrize("case", GOLDEN)
def test_sure_networks_have_finite_losses_in_single_precision(case):
    for scale in (40.0, 1e3):
        arrays = problem(case, "single", scale=scale)
        t = tensors(
            {k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in arrays.items()}
        )
        z = t["z"].requires_grad_()
        value = GOLDEN[case][0](z, t)
        value.sum().backward()
        assert value.dtype == torch.float32
        assert value.isfinite().all()
        assert z.grad.isfinite().all()


@pytest.mark.parametrize(
    "case", [name for name in GOLDEN if name.startswith(("mrkd", "beta", "early", "late"))]
)
def test_whoever_teaches_is_a_constant_of_the_plain_functions_too(case):
    t = tensors(problem(case, "constants"))
    for key in ("z", "v", "past", "u"):
        t[key].requires_grad_()
    GOLDEN[case][0](t["z"], t).sum().backward()
    assert t["z"].grad.any()
    for key in ("v", "past"):
        assert t[key].grad is None or not t[key].grad.any()


# ---- what the wrapper makes of the options


def wrapped(name, t, *, step=0, steps=1, trained=COPIES, **options):
    method = methods.get(name)
    found = method.loss(
        method.Hyper(**options),
        Outputs(t["z"]),
        Outputs(t["v"]),
        Batch(labels=t["y"], step=step, steps=steps, draws=t["u"].unsqueeze(-1)),
        State(past=t["past"], trained=trained, average=t["v"]),
    )
    return found["loss"].numpy()


def test_wrappers_hand_every_option_on():
    p = problem("wrappers")
    t = tensors(p)
    z, y, past = p["z"], p["y"], p["past"]
    scores = smoothing.ranking_scores(p["v"], y, "true")
    ranked = smoothing.beta_targets(p["u"] ** (1 / 3), scores, y, CLASSES)
    expected = {
        ("lsr", ("smoothing", 0.2), ("value", "kl")): closed.label_smoothing(z, y, 0.2, value="kl"),
        ("lsrkd", ("weight", 0.2), ("temperature", 2.0), ("factor", "tau2")): closed.lsrkd(
            z, y, 0.2, 2.0, factor="tau2"
        ),
        (
            "lsrkd_tc",
            ("weight", 0.2),
            ("temperature", 2.0),
            ("label_mass", 0.4),
            ("factor", "1"),
        ): closed.lsrkd_tc(z, y, 0.4, 0.2, 2.0, factor="1"),
        (
            "mrkd",
            ("weight", 0.2),
            ("temperature", 2.0),
            ("factor", "tau"),
            ("copies", 3),
        ): closed.mrkd(z, y, past, 0.2, 2.0, factor="tau"),
        (
            "mrkd_tc",
            ("weight", 0.2),
            ("temperature", 2.0),
            ("label_mass", 0.4),
            ("factor", "tau2"),
            ("correct", "mean"),
        ): closed.mrkd_tc(z, y, past, 0.4, 0.2, 2.0, factor="tau2", correct="average"),
        (
            "tf_kd",
            ("label_mass", 0.9),
            ("weight", 0.3),
            ("temperature", 5.0),
            ("temper", "prob_as_logit"),
            ("student_temperature", 2.0),
            ("class_mean", True),
            ("multiplier", 50.0),
        ): closed.tfkd(
            z,
            y,
            0.9,
            0.3,
            5.0,
            temper="prob_as_logit",
            student_temperature=2.0,
            multiplier=50.0,
            class_mean=True,
        ),
        ("entropy_penalty", ("beta", 0.4), ("divided_by", 3)): closed.entropy_penalty(
            z, y, 0.4, samples=3
        ),
        ("beta_smoothing", ("label_weight", 0.4), ("rank_by", "true")): closed.beta_smoothing(
            z, y, ranked, 0.4
        ),
        ("random_beta", ("label_weight", 0.4)): closed.beta_smoothing(
            z, y, two_levels(p["u"] ** (1 / 3), p), 0.4
        ),
        ("random_beta", ("label_weight", 0.4), ("shape", 2.0)): closed.beta_smoothing(
            z, y, two_levels(p["u"] ** 0.5, p), 0.4
        ),
    }
    for (name, *options), reference in expected.items():
        found = wrapped(name, t, **dict(options))
        np.testing.assert_allclose(found, reference.value, rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("name", ["mrkd", "mrkd_tc"])
@pytest.mark.parametrize("trained", [0, 1, 3])
def test_copies_that_hold_no_trained_weights_teach_or_not(name, trained):
    t = tensors(problem("warm"))
    hyper = {"copies": COPIES, "label_mass": 0.3} if name == "mrkd_tc" else {"copies": COPIES}
    init, real = (wrapped(name, t, trained=trained, warm=warm, **hyper) for warm in ("init", "ce"))
    everything = wrapped(name, t, warm="ce", **hyper)
    np.testing.assert_array_equal(init, everything)
    if trained == COPIES:
        np.testing.assert_array_equal(real, everything)
    else:
        # the first in line are the youngest
        fewer = {**t, "past": t["past"][:trained]}
        expected = (
            wrapped(name, fewer, trained=trained, **hyper)
            if trained
            else 0.75 * torch.nn.functional.cross_entropy(t["z"], t["y"], reduction="none").numpy()
        )
        np.testing.assert_allclose(real, expected, rtol=1e-14)


def test_needs_of_copies_and_averages_follow_the_options():
    hyper = methods.get("mrkd").Hyper(copies=5, interval=2.5, statistics="batch")
    past = methods.get("mrkd").needs(hyper).past
    assert (past.copies, past.interval, past.statistics) == (5, 2.5, "batch")
    hyper = methods.get("mrkd_tc").Hyper(copies=2, interval=0.5)
    past = methods.get("mrkd_tc").needs(hyper).past
    assert (past.copies, past.interval, past.statistics) == (2, 0.5, "stored")
    method = methods.get("beta_smoothing")
    needs = method.needs(method.Hyper())
    assert needs.average == WeightAverage(decay=0.999, warmup=True, start="own", statistics="batch")
    assert needs.batch
    assert needs.draws == 1
    needs = method.needs(method.Hyper(decay=0.9, start="copy", statistics="stored"))
    assert needs.average == WeightAverage(decay=0.9, warmup=True, start="copy", statistics="stored")
    needs = methods.get("random_beta").needs(methods.get("random_beta").Hyper())
    assert needs.draws == 1
    assert not needs.batch
    assert needs.average is None


# ---- what the papers set


PAPER_VALUES = [
    ("lsr", None, {"smoothing": 0.1, "value": "ce"}),
    ("lsrkd", None, {"weight": 0.1, "temperature": 3.0, "factor": "tau"}),
    ("lsrkd_tc", None, {"weight": 0.1, "temperature": 3.0, "label_mass": 0.025, "factor": "tau"}),
    ("lsrkd_tc", "cifar100", {"label_mass": 0.025}),
    ("lsrkd_tc", "cifar10", {"weight": 0.1, "temperature": 3.0, "label_mass": 0.25}),
    (
        "mrkd",
        "cifar100",
        {"copies": 1, "interval": 25.0, "weight": 0.25, "temperature": 3.0, "factor": "tau2"},
    ),
    ("mrkd", "cifar10", {"copies": 1, "interval": 25.0, "weight": 0.1}),
    ("mrkd_tc", "cifar100", {"copies": 3, "weight": 0.25, "factor": "tau", "correct": "each"}),
    ("mrkd_tc", "cifar10", {"weight": 0.1, "label_mass": 0.25}),
    ("beta_smoothing", None, {"label_weight": 0.6, "rank_by": "max", "decay": 0.999}),
    ("early_kd", None, {"switch": 0.5, "temperature": 4.0, "label_weight": 0.0, "ramp": "start"}),
    ("late_kd", None, {"switch": 0.5, "temperature": 4.0, "label_weight": 0.0, "ramp": "start"}),
    ("tf_kd", None, {"label_mass": 0.99, "temperature": 20.0, "temper": "power"}),
]


@pytest.mark.parametrize(("name", "data", "expected"), PAPER_VALUES)
def test_defaults_are_the_papers(name, data, expected):
    options = dict(methods.spec(name, data=data).options)
    assert {key: options[key] for key in expected} == expected


@pytest.mark.parametrize(("name", "classes"), [("cifar100", 100), ("cifar10", 10)])
def test_the_entropy_penalty_leaves_the_label_mass_of_the_other_methods(name, classes):
    beta = dict(methods.spec("entropy_penalty", data=name).options)["beta"]
    assert float(smoothing.entropy_penalty_optimum(beta, classes)) == pytest.approx(0.85, abs=1e-4)


@pytest.mark.parametrize("name", ["beta_smoothing", "random_beta"])
def test_the_shape_is_solved_for_the_label_mass(name):
    Hyper = methods.get(name).Hyper
    t = tensors(problem("shape", name))
    for hyper, shape in ((Hyper(), 5 / 3), (Hyper(label_weight=0.4), 3.0)):
        assert float(smoothing.beta_shape_for_mean(0.85, hyper.label_weight)) == pytest.approx(
            shape
        )
        options = {"label_weight": hyper.label_weight}
        np.testing.assert_allclose(
            wrapped(name, t, **options), wrapped(name, t, shape=shape, **options), rtol=1e-12
        )


# ---- equivalences


@given(st.floats(0, 1), st.integers(0, 99))
@settings(max_examples=20)
def test_smoothing_is_distillation_from_the_uniform_distribution(a, seed):
    t = tensors(problem("identity", seed))
    z, y = t["z"], t["y"]
    smoothed = label_smoothing_regularization(z, y, smoothing=a)
    built_in = torch.nn.functional.cross_entropy(z, y, label_smoothing=a, reduction="none")
    distilled = uniform_distillation(z, y, weight=a, temperature=1.0)
    torch.testing.assert_close(smoothed, built_in, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(distilled, smoothed - a * math.log(CLASSES), rtol=1e-12, atol=1e-13)
    as_printed = label_smoothing_regularization(z, y, smoothing=a, value="kl")
    torch.testing.assert_close(distilled, as_printed, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("tau", [0.5, 1.0, 3.0, 20.0])
@pytest.mark.parametrize("factor", FACTORS)
def test_a_uniform_teacher_that_knows_nothing_is_not_corrected(tau, factor):
    t = tensors(problem("uninformed"))
    kind = {"temperature": tau, "factor": factor}
    torch.testing.assert_close(
        corrected_uniform_distillation(t["z"], t["y"], label_mass=1 / CLASSES, **kind),
        uniform_distillation(t["z"], t["y"], **kind),
        rtol=1e-12,
        atol=1e-13,
    )


@pytest.mark.parametrize("gamma", [0.025, 0.25, 1.0])
def test_a_corrected_uniform_teacher_at_temperature_1_smooths(gamma):
    a = 0.3
    p = problem("corrected")
    mass = 1 - a + a * gamma
    target = np.full_like(p["z"], (1 - mass) / (CLASSES - 1))
    np.put_along_axis(target, p["y"][..., None], mass, axis=-1)
    t = tensors(p)
    z = t["z"].requires_grad_()
    corrected_uniform_distillation(
        z, t["y"], weight=a, temperature=1.0, label_mass=gamma
    ).sum().backward()
    expected = closed.tempered_cross_entropy(p["z"], target).gradient
    np.testing.assert_allclose(z.grad.numpy(), expected, rtol=1e-12, atol=1e-14)


def test_correcting_a_teacher_keeps_ratios_and_sets_the_label():
    t = tensors(problem("ratios"))
    for tau in (1.0, 3.0):
        plain = torch.softmax(t["v"] / tau, dim=-1)
        own = plain.gather(-1, t["y"].unsqueeze(-1)).squeeze(-1)
        same = teacher_correction(t["v"], t["y"], label_mass=own, temperature=tau)
        torch.testing.assert_close(same, plain, rtol=1e-12, atol=1e-15)
        once = teacher_correction(t["v"], t["y"], label_mass=0.7, temperature=tau)
        twice = teacher_correction(once.log(), t["y"], label_mass=0.2)
        direct = teacher_correction(t["v"], t["y"], label_mass=0.2, temperature=tau)
        torch.testing.assert_close(twice, direct, rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(once.sum(-1), torch.ones(SAMPLES, dtype=torch.float64))


def test_correcting_a_teacher_that_is_right_already_changes_the_factor_alone():
    """With gamma the copy's own probability MrKD-TC is MrKD, up to tau for tau squared."""
    p = problem("own mass")
    t = {key: value[:1] if key in "zvyu" else value[:1, :1] for key, value in tensors(p).items()}
    own = float(torch.softmax(t["past"][0] / 3.0, -1)[0, t["y"][0]])
    for factor in ("tau", "tau2"):
        torch.testing.assert_close(
            corrected_memory_replay(t["z"], t["past"], t["y"], label_mass=own, factor=factor),
            memory_replay(t["z"], t["past"], t["y"], factor=factor),
            rtol=1e-11,
            atol=1e-13,
        )


@pytest.mark.parametrize("tau", [1.0, 3.0])
def test_several_copies_teach_as_their_mean(tau):
    p = problem("mean copy")
    t = tensors(p)
    mean = torch.softmax(t["past"] / tau, -1).mean(0)
    split = replay.copies_divergence(p["past"], p["z"], tau)
    one, several = [], []
    for teacher, into in ((tau * mean.log()[None], one), (t["past"], several)):
        z = t["z"].clone().requires_grad_()
        value = memory_replay(z, teacher, t["y"], weight=1.0, temperature=tau, factor="1")
        value.sum().backward()
        into += [value.detach(), z.grad]
    spread = torch.from_numpy(split.spread)
    assert spread.min() > 0.01  # the constant is of importance
    torch.testing.assert_close(several[0], one[0] + spread, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(several[1], one[1], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("copies", [1, 3])
def test_copies_of_the_step_before_teach_nothing(copies):
    """An interval of one step: no divergence, no gradient, the labels with a smaller step."""
    t = tensors(problem("one step"))
    z = t["z"].requires_grad_()
    value = memory_replay(z, z.expand(copies, *z.shape), t["y"], weight=0.25)
    value.sum().backward()
    hard = torch.nn.functional.cross_entropy(z, t["y"], reduction="none")
    torch.testing.assert_close(value, 0.75 * hard, rtol=1e-13, atol=1e-14)
    gradient = torch.softmax(z, -1) - torch.nn.functional.one_hot(t["y"], CLASSES)
    torch.testing.assert_close(z.grad, 0.75 * gradient, rtol=1e-12, atol=1e-14)


def test_correcting_copies_or_their_mean_are_two_methods():
    t = tensors(problem("two ways"))
    each, mean = (
        corrected_memory_replay(t["z"], t["past"], t["y"], label_mass=0.3, correct=how)
        for how in ("each", "mean")
    )
    assert (each - mean).abs().max() > 1e-2


def test_copies_of_another_shape_are_refused():
    t = tensors(problem("shapes"))
    for function in (memory_replay, corrected_memory_replay):
        with pytest.raises(ValueError, match=r"past_logits.*\(7, 6\)"):
            function(t["z"], t["v"], t["y"])
        with pytest.raises(ValueError, match="trained must be from 0 to the 3"):
            function(t["z"], t["past"], t["y"], trained=4)


@pytest.mark.parametrize("temper", ["power", "prob_as_logit"])
@pytest.mark.parametrize("mass", [0.0, 0.3, 0.99, 1 - 1e-12, 1.0])
@pytest.mark.parametrize("tau", [1e-3, 1.0, 20.0, 1e6])
def test_the_hand_made_teacher_is_that_of_theory(temper, mass, tau):
    for classes in (2, 100):
        found = virtual_label_mass(classes, label_mass=mass, temperature=tau, temper=temper)
        expected = smoothing.virtual_teacher(0, classes, mass, tau, temper=temper)[0]
        assert found == pytest.approx(float(expected), rel=1e-12, abs=1e-300)


def test_the_released_hand_made_teacher_is_next_to_uniform():
    assert virtual_label_mass(100, temper="prob_as_logit") == pytest.approx(0.0105, abs=5e-5)
    assert virtual_label_mass(100) == pytest.approx(0.0157, abs=5e-5)


# ---- Beta smoothing


@pytest.mark.parametrize("shape", [0.5, 5 / 3, 3.0])
def test_ranked_masses_have_the_means_of_order_statistics(shape):
    size, batches = 8, 20_000
    rng = stream("beta means", int(shape * 100))
    draws = torch.from_numpy(rng.random((batches, size)))
    scores = torch.from_numpy(rng.normal(size=(batches, size)))
    mass = ranked_label_masses(draws, scores, shape=shape)
    ranks = scores.argsort(-1).argsort(-1)
    for rank in range(size):
        of_rank = mass[ranks == rank]
        error = float(of_rank.std()) / math.sqrt(batches)
        expected = float(smoothing.beta_order_mean(rank + 1, size, shape))
        assert abs(float(of_rank.mean()) - expected) < 5 * error


def test_label_mass_of_the_whole_target_is_the_one_asked_for():
    count = 200_000
    draws = torch.from_numpy(stream("beta mean mass").random(count))
    for label_weight in (0.6, 0.4):
        shape = beta_shape(None, label_mass=0.85, label_weight=label_weight)
        b = ranked_label_masses(draws, torch.arange(count), shape=shape)
        whole = label_weight + (1 - label_weight) * b
        assert abs(float(whole.mean()) - 0.85) < 5 * float(whole.std()) / math.sqrt(count)


def test_equal_scores_give_the_lower_index_the_smaller_draw():
    draws = torch.tensor([[0.9, 0.1, 0.5, 0.3], [0.4, 0.3, 0.2, 0.1]])
    scores = torch.tensor([[1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    found = ranked_label_masses(draws, scores, shape=1.0)
    expected = [[0.3, 0.1, 0.5, 0.9], [0.1, 0.2, 0.3, 0.4]]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_samples_are_ranked_where_probabilities_round_to_1():
    z = torch.tensor([[50.0, 0.0], [90.0, 0.0], [0.0, 70.0]])
    assert torch.softmax(z, -1).max(-1).values.unique().numel() == 1
    scores = ranking_scores(z, torch.zeros(3, dtype=torch.int64))
    assert scores.argsort().tolist() == [0, 2, 1]


def test_random_beta_smoothing_gives_each_sample_a_draw_of_its_own():
    """Which is the law of draws permuted at random: the moments of Beta(a, 1), and independence."""
    batches, shape = 40_000, 5 / 3
    draws = torch.from_numpy(stream("random beta law").random((batches, 2)))
    z = torch.tensor([2.0, 0.0, 0.0], dtype=torch.float64).expand(batches, 2, 3)
    y = torch.zeros(batches, 2, dtype=torch.int64)
    value = random_beta_smoothing(z, y, draws, label_weight=0.0, shape=shape)
    # the loss falls by the gap of the logits for each unit of mass that the label is given
    b = (-torch.log_softmax(z, -1)[..., 1] - value) / 2.0
    for moment in (1, 2):
        power = b**moment
        error = float(power.std()) / math.sqrt(power.numel())
        assert abs(float(power.mean()) - shape / (shape + moment)) < 5 * error
    product = (b[:, 0] - b[:, 0].mean()) * (b[:, 1] - b[:, 1].mean())
    assert abs(float(product.mean())) < 5 * float(product.std()) / math.sqrt(batches)


# ---- the entropy penalty


@pytest.mark.parametrize(("beta", "classes"), [(0.1, 10), (0.5, 10), (0.1859, 100), (2.0, 3)])
def test_descent_on_the_entropy_penalty_ends_at_its_optimum(beta, classes):
    z = torch.zeros(1, classes, dtype=torch.float64, requires_grad=True)
    y = torch.tensor([1])
    optimizer = torch.optim.LBFGS(
        [z],
        max_iter=500,
        tolerance_grad=1e-13,
        tolerance_change=1e-16,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimizer.zero_grad()
        value = entropy_penalized(z, y, beta=beta).sum()
        value.backward()
        return value

    optimizer.step(closure)
    p = torch.softmax(z.detach(), -1)[0]
    expected = float(smoothing.entropy_penalty_optimum(beta, classes))
    assert float(p[1]) == pytest.approx(expected, abs=1e-6)
    others = torch.cat([p[:1], p[2:]])
    assert float(others.max() - others.min()) < 1e-6


# ---- switches of the loss


@pytest.mark.parametrize("ramp", ["start", "center"])
@pytest.mark.parametrize(("switch", "window"), [(0.5, 1 / 30), (0.5, 0.0), (0.0, 1.0), (0.7, 0.6)])
def test_shares_are_those_of_theory_and_add_to_1(ramp, switch, window):
    early = early_kd.Hyper(switch=switch, window=window, ramp=ramp)
    late = late_kd.Hyper(switch=switch, window=window, ramp=ramp)
    for t in [*np.linspace(0, 1, 61), switch, 0.5 + 1 / 60]:
        time = float(t)
        shares = early_kd.teacher_share(early, time), late_kd.teacher_share(late, time)
        for share, order in zip(shares, ("teacher-first", "labels-first"), strict=True):
            expected = float(teacher_weight(time, switch, window, order=order, ramp=ramp))
            assert share == pytest.approx(expected, abs=1e-12)
        assert sum(shares) == pytest.approx(1.0, abs=1e-15)


def test_the_papers_switch_takes_a_thousand_of_thirty_thousand_steps():
    shares = [
        late_kd.teacher_share(
            late_kd.Hyper(), Batch(labels=torch.tensor([0]), step=s, steps=30_000).progress
        )
        for s in (14_999, 15_000, 15_500, 16_000, 29_999)
    ]
    assert shares == pytest.approx([0.0, 0.0, 0.5, 1.0, 1.0])


def test_before_and_after_the_switch_one_of_the_two_teaches():
    t = tensors(problem("switch"))
    hard = torch.nn.functional.cross_entropy(t["z"], t["y"], reduction="none").numpy()
    soft = closed.distillation(t["z"].numpy(), t["v"].numpy(), value="kl").value
    for name, order in (("early_kd", (soft, hard)), ("late_kd", (hard, soft))):
        for step, expected in ((0, order[0]), (499, order[0]), (999, order[1])):
            found = wrapped(name, t, step=step, steps=1000)
            np.testing.assert_allclose(found, expected, rtol=1e-12)


# ---- bad hyper-parameters

REFUSED = [
    ("lsr", {"smoothing": 1.5}),
    ("lsr", {"smoothing": -0.1}),
    ("lsrkd", {"weight": 2.0}),
    ("lsrkd", {"temperature": 0.0}),
    ("lsrkd", {"factor": "tau3"}),
    ("lsrkd_tc", {"label_mass": 1.01}),
    ("mrkd", {"copies": 0}),
    ("mrkd", {"interval": 0.0}),
    ("mrkd", {"warm": "cold"}),
    ("mrkd", {"statistics": "running"}),
    ("mrkd_tc", {"correct": "average"}),
    ("mrkd_tc", {"label_mass": -0.1}),
    ("beta_smoothing", {"label_weight": 0.85}),
    ("beta_smoothing", {"label_mass": 1.0}),
    ("beta_smoothing", {"shape": 0.0}),
    ("beta_smoothing", {"rank_by": "label"}),
    ("beta_smoothing", {"decay": 1.5}),
    ("random_beta", {"label_weight": 0.9}),
    ("random_beta", {"shape": -1.0}),
    ("tf_kd", {"label_mass": 1.5}),
    ("tf_kd", {"student_temperature": 0.0}),
    ("tf_kd", {"multiplier": -1.0}),
    ("entropy_penalty", {"beta": -0.1}),
    ("entropy_penalty", {"divided_by": 0}),
    ("early_kd", {"switch": 1.5}),
    ("early_kd", {"window": -0.1}),
    ("late_kd", {"ramp": "end"}),
    ("late_kd", {"temperature": math.inf}),
]


@pytest.mark.parametrize(("name", "options"), REFUSED)
def test_bad_hyper_parameters_are_refused_by_name(name, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        replace(methods.get(name).Hyper(), **options)
