"""Predictions beside networks: exact where they must be, near where the kernel stays."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from sims.context import Context
from sims.experiments import prediction_meets_network as experiment
from sims.experiments.prediction_meets_network import Config, run
from sims.parts import prediction_case as case
from sims.parts import prediction_control as control
from sims.parts import prediction_findings as told
from sims.parts.prediction_findings import findings
from sims.parts.prediction_kernel import Decomposition, KernelLearner, network_kernels, predict
from sims.parts.prediction_network import Networks, ScaledMlp, draw_weights
from sims.parts.prediction_schemes import STAGES, Schemes, conditions
from sims.parts.prediction_scores import Bins, Truth, effective_slope, quantities, slopes
from sims.parts.prediction_statistics import STATISTICS, compared, concordance, interval
from sims.predictions import Lengths, names
from theory.flow.filters import GradientFlow, Ridge
from theory.flow.logits import cross_entropy_flow
from theory.ntk import jacobian_contraction
from theory.ntk.linearized.training import KernelFlow

LENGTHS, READS = Lengths.of(64), (3, 8, 17, 40, 64)


@pytest.fixture(scope="module")
def smoke():
    with Context.plain() as context:
        return run(Config.smoke(), context)


@pytest.fixture(scope="module")
def toy():
    """Inputs, labels of three classes and weights in double precision."""
    rng = np.random.default_rng(0)
    inputs = tuple(torch.from_numpy(rng.random((count, 5))) for count in (12, 7))
    labels = torch.eye(3, dtype=torch.float64)[torch.from_numpy(rng.integers(0, 3, 12))]
    return inputs, labels, draw_weights(rng, (5, 24, 24, 3), torch.float64)


def kernels(toy, kind, parametrization="ntk"):
    inputs, _, weights = toy
    return network_kernels(ScaledMlp(weights, parametrization), inputs, kind)


def errors(toy, width, *, scale=1.0):
    """Relative errors of the training outputs of all schemes in the end."""
    inputs, labels, _ = toy
    weights = draw_weights(np.random.default_rng(1), (5, width, width, 3), torch.float64)
    pair = network_kernels(ScaledMlp(weights, "ntk"), inputs, "full")
    kernel = Decomposition.of(*pair, 3)
    size = 0.5 / kernel.eigenvalues[0]

    def make(members):
        return Networks(
            weights, inputs, members=members, step_size=size / scale**2, parametrization="ntk",
            scale=scale,
        )  # fmt: skip

    found = Schemes(LENGTHS, labels).carry_out(make, (64,), together=True)
    said, _ = predict(kernel, labels, (64,), lambda one, t: one.descent(LENGTHS, t, size), LENGTHS)
    gaps = [(said[k, 0] - found[name][0][0]).norm() for k, name in enumerate(names())]
    return np.array(gaps) / np.array([float(found[name][0][0].norm()) for name in names()])


@pytest.mark.parametrize("kind", ["full", "trace"])
def test_the_linearized_network_learns_what_the_closed_form_says(toy, kind):
    """Every scheme, carried out step by step in the kernel, to rounding."""
    _, labels, _ = toy
    pair = kernels(toy, kind)
    kernel = Decomposition.of(*pair, 3)
    size = 0.5 / kernel.eigenvalues[0]

    def make(members):
        return KernelLearner(*pair, members=members, step_size=size, shape=(12, 3))

    found = Schemes(LENGTHS, labels).carry_out(make, READS, together=True)
    said = predict(kernel, labels, READS, lambda one, t: one.descent(LENGTHS, t, size), LENGTHS)
    for place, name in enumerate(names()):
        for side in (0, 1):
            torch.testing.assert_close(said[side][place], found[name][side], rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", ["full", "trace"])
def test_decomposition_learns_what_the_flow_of_the_kernel_does(toy, kind):
    _, labels, _ = toy
    pair = kernels(toy, kind)
    kernel = Decomposition.of(*pair, 3)
    flow = KernelFlow.of(*pair, outputs=3 if kind == "full" else None)
    filters = [GradientFlow(2.0), Ridge(0.1)]
    want = flow.trained(filters, labels)
    train, test = kernel.learned(filters, [labels] * 2)
    torch.testing.assert_close(train, want.train, rtol=0, atol=1e-12)
    torch.testing.assert_close(test, want.test, rtol=0, atol=1e-12)


@pytest.mark.parametrize("parametrization", ["ntk", "standard"])
def test_kernels_are_those_of_the_network(toy, parametrization):
    inputs, _, weights = toy
    network = ScaledMlp(weights, parametrization)
    parameters = dict(network.named_parameters())

    def call(p, x):
        return torch.func.functional_call(network, p, x)

    full = jacobian_contraction(call, parameters, inputs[1], inputs[0]) / 12
    matrix = full.permute(2, 0, 3, 1).reshape(21, 36)
    torch.testing.assert_close(kernels(toy, "full", parametrization)[1], matrix.detach())
    mean = torch.einsum("nmii->nm", full) / 3
    torch.testing.assert_close(kernels(toy, "trace", parametrization)[1], mean.detach())


@pytest.mark.parametrize("parametrization", ["ntk", "standard"])
@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_networks_step_down_their_gradient(toy, parametrization, scale):
    inputs, labels, weights = toy
    networks = Networks(
        weights, inputs, members=2, step_size=0.2, parametrization=parametrization, scale=scale
    )
    network = ScaledMlp(weights, parametrization)
    start = network(inputs[0]).detach()
    targets = torch.stack([labels, 1 - labels])
    for _ in range(3):
        networks.push(networks.outputs() - targets)
    moved = networks.outputs()
    for _ in range(3):
        loss = ((network(inputs[0]) - start) * scale - labels).square().sum() / 24
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(network.parameters(), gradients, strict=True):
                parameter.sub_(gradient, alpha=0.2)
    want = (network(inputs[0]).detach() - start) * scale
    torch.testing.assert_close(moved[0], want, rtol=1e-11, atol=1e-13)
    assert not torch.allclose(moved[1], moved[0])


def test_wide_and_lazy_networks_do_what_is_predicted(toy):
    narrow, wide = errors(toy, 16), errors(toy, 256)
    assert np.median(wide) < 0.5 * np.median(narrow) < 0.2
    lazy, lazier = errors(toy, 16, scale=100.0), errors(toy, 16, scale=900.0)
    assert lazy.max() < 0.01
    assert lazier.max() < 0.2 * lazy.max()  # first order in one over the scale


def test_cross_entropy_in_small_steps_is_the_dual_flow(toy):
    _, labels, _ = toy
    train, test = kernels(toy, "trace")
    steps, size = 64, 0.02
    long = replace(LENGTHS, steps=steps)

    def make(members):
        return KernelLearner(train, test, members=members, step_size=size, shape=(12, 3))

    found = Schemes(long, labels, cross_entropy=True).carry_out(make, (steps,), together=True)
    flow = cross_entropy_flow(train, labels, [size * steps], test_kernel=test)
    for side, want in ((0, flow.outputs), (1, flow.test_outputs)):
        np.testing.assert_allclose(found["labels"][side][0], want[0], atol=0.01)


def test_together_or_in_turn_is_the_same(toy):
    inputs, labels, weights = toy

    def make(members):
        return Networks(weights, inputs, members=members, step_size=0.1, parametrization="ntk")

    both = [
        Schemes(LENGTHS, labels).carry_out(make, READS, together=together)
        for together in (True, False)
    ]
    for name in names():
        torch.testing.assert_close(both[0][name], both[1][name])


def test_stages_hold_every_method_once():
    assert sorted(name for stage in STAGES for name in stage) == sorted(names())


def test_conditions_leave_out_what_is_another_method():
    found = list(conditions(LENGTHS, (8, 16, 32)))
    assert len(found) == 3 * len(names()) - 4
    assert (names().index("distill_then_labels"), 1) not in found


def test_progress_of_a_prediction_is_its_gain(toy):
    _, labels, _ = toy
    pair = kernels(toy, "full")
    kernel = Decomposition.of(*pair, 3)
    size = 0.5 / kernel.eigenvalues[0]
    said, _ = predict(kernel, labels, (8,), lambda one, t: one.descent(LENGTHS, t, size), LENGTHS)
    bins = Bins.of(kernel, labels, np.array([1.0, 0.1, 0.01, 1e-4]))
    found = bins.progress(said)
    gain = -np.expm1(8 * np.log1p(-size * kernel.eigenvalues))
    energy = bins.labels.square().sum(-1).numpy()
    for group in range(3):
        inside = bins.member == group
        if inside.sum() >= 5:
            want = (gain * energy)[inside].sum() / energy[inside].sum()
            assert found[0, 0, group] == pytest.approx(want, rel=1e-9)
        else:
            assert np.isnan(found[0, 0, group])
    lows = bins.eigenvalues[np.isfinite(bins.eigenvalues)]
    assert np.all(np.diff(lows) < 0)


def test_slope_of_effective_time():
    lam = np.geomspace(1, 1e-2, 6)
    student = -np.expm1(-lam * lam)  # effective time in proportion to the eigenvalue
    assert effective_slope(student, lam, np.full(6, True)) == pytest.approx(1.0)
    both = slopes(student[None], student[None], lam)
    assert both.shape == (2, 1)
    assert both[0] == both[1]
    assert np.isnan(effective_slope(np.array([0.5, 1.2, np.nan]), lam[:3], np.full(3, True)))


def test_quantities_of_known_outputs():
    truth = Truth(torch.tensor([0, 1, 1]), torch.tensor([0, 1]), torch.tensor([2]))
    right = torch.eye(2)[truth.test]
    train = torch.eye(2)[truth.train]
    np.testing.assert_allclose(quantities(train, right, truth, cross_entropy=False), [1, 1, 0])
    np.testing.assert_allclose(quantities(-train, -right, truth, cross_entropy=False), [0, 0, 4])
    crossed = quantities(train, 0 * right, truth, cross_entropy=True)
    assert crossed[2] == pytest.approx(np.log(2))


class TestStatistics:
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((1, 5, 3))
    measured = truth + 0.01 * rng.standard_normal((6, 5, 3))
    every = tuple((s, r) for s in range(5) for r in range(3))

    def said(self, predicted):
        table = compared(self.measured, predicted, self.every)
        return {name: table[k] for k, name in enumerate(STATISTICS)}

    def test_a_perfect_prediction(self):
        found = self.said(self.measured)
        assert found["level"][0] == 0
        for name in ("r2", "slope", "concordance", "spearman", "spearman_at_a_step"):
            assert found[name][0] == pytest.approx(1.0)
        assert found["within_seeds"][0] == pytest.approx(1.0)
        assert 0.9 < found["ceiling"][0] <= 1
        assert found["resolved"][1] == 30

    def test_differences_predicted_too_large(self):
        labels = self.measured[:, :1]
        found = self.said(labels + 2 * (self.measured - labels))
        assert found["slope"][0] == pytest.approx(0.5)
        assert found["r2"][0] == pytest.approx(0.0)
        assert found["concordance"][0] == 1

    def test_a_shifted_level_is_no_wrong_difference(self):
        found = self.said(self.measured + 0.3)
        assert found["level"][0] == pytest.approx(0.3)
        assert found["r2"][0] == pytest.approx(1.0)

    def test_ties_count_one_half_and_reversed_order_nothing(self):
        assert self.said(np.zeros_like(self.measured))["concordance"][0] == 0.5
        assert self.said(-self.measured)["concordance"][0] == 0

    def test_noise_resolves_nothing(self):
        noise = self.rng.standard_normal((6, 5, 3))
        share, count, pairs = concordance(noise, noise, self.every)
        assert count == 0
        assert pairs == 30
        assert np.isnan(share)

    def test_few_seeds_say_little(self):
        table = compared(self.measured[:2], self.measured[:2], self.every)
        assert np.isnan(table[STATISTICS.index("concordance"), 0])
        assert np.isnan(table[STATISTICS.index("level"), 1])
        assert np.isnan(interval(np.array([np.nan]))).all()

    def test_a_predictor_that_is_not_there(self):
        assert np.isnan(compared(self.measured, self.measured * np.nan, self.every)).all()


def test_smoke_finds_what_it_must(smoke):
    arrays = smoke.arrays
    assert arrays["level"].shape == (2, 10, 7, 3, 3)
    squared, crossed = arrays["predictors"].tolist(), arrays["setting_loss"].tolist()
    assert crossed == ["squared", "cross_entropy"]
    error = arrays["error"][0, :, 0, 0]
    assert np.isfinite(error).all()
    assert error[squared.index("full")] < 0.6 * error[squared.index("trace")]
    assert np.isfinite(arrays["error"][1, :2, :, 0]).all()
    # the smaller the outputs, the farther the kernel turns and the more is missed
    assert arrays["scale_movement"][1, 1] > 3 * arrays["scale_movement"][0, 1]
    assert arrays["scale_error"][1, 0, 0] > 1.5 * arrays["scale_error"][0, 0, 0]
    np.testing.assert_allclose(arrays["line"][:, :, -1].max(), 1.0, atol=1e-3)
    assert all(finding.text.endswith(".") for finding in smoke.findings)
    assert not any("nan" in finding.text for finding in smoke.findings)


def test_before_they_switch_networks_are_the_same(smoke):
    level, reads = smoke.array("level"), smoke.array("reads")
    before = reads <= smoke.array("switch_step")
    for one, other in (("distill_then_labels", "student"), ("labels_then_distill", "labels")):
        a, b = (names().index(name) for name in (one, other))
        np.testing.assert_array_equal(level[0, a, before], level[0, b, before])


def test_all_of_a_case_is_seeded(smoke):
    one = experiment._case(Config.smoke(), "ntk", 16, 0)
    again = case.measure(one)
    other = case.measure(replace(one, seed=1))
    np.testing.assert_array_equal(
        np.mean([again["squared_network"], other["squared_network"]], axis=0),
        smoke.array("level")[0, ..., 0],
    )
    assert not np.array_equal(again["squared_network"], other["squared_network"])


def test_trace_kernels_alone_and_a_single_seed():
    config = replace(Config.smoke(), full=(), seeds=(1,), cross_entropy=(), scales=())
    with Context.plain() as context:
        result = run(config, context)
    assert np.isnan(result.array("error")[0, 0]).all()
    assert result.array("scales").tolist() == [1.0]
    assert "trace kernel" in result.findings[0].text
    assert "over seeds" not in result.findings[0].text
    assert "single seed" not in result.findings[0].text
    assert not any("nan" in finding.text for finding in result.findings)


def test_a_scheme_that_must_do_nothing_does_nothing(smoke, monkeypatch):
    assert smoke.array("no_op").shape == (1, 2)
    assert smoke.array("no_op").max() <= 1e-6
    assert smoke.array("no_op_predicted").max() <= 1e-12
    one = replace(experiment._case(Config.smoke(), "ntk", 16, 0), cross_entropy=False)
    still = smoke.findings[-1]
    assert still.holds is True
    monkeypatch.setattr(control, "lengths_of", Lengths.of)  # a teacher that stops before the switch
    moved = control.no_op(one)
    assert moved["moved"].min() > 0.02
    assert moved["predicted"].max() > 0.02
    faulty = dict(smoke.arrays) | {"no_op": moved["moved"][None]}
    assert findings(faulty)[-1].holds is False


def test_the_control_takes_the_steps_of_the_networks():
    one = experiment._case(Config.smoke(), "ntk", 16, 0)
    bench = case.Bench.of(one)
    bench.open()
    assert one.step / control._top(bench) == pytest.approx(bench.step_size, rel=1e-5)


def test_only_what_is_wanted_is_trained(toy):
    inputs, labels, weights = toy
    made = []

    def make(members):
        made.append(members)
        return Networks(weights, inputs, members=members, step_size=0.1, parametrization="ntk")

    every = Schemes(LENGTHS, labels).carry_out(make, READS, together=False)
    assert made == [1] * len(names())
    made.clear()
    some = Schemes(LENGTHS, labels).carry_out(
        make, READS, together=True, among=("labels", "student")
    )
    assert made == [1, 1]
    assert list(some) == ["labels", "student"]
    torch.testing.assert_close(some["student"], every["student"])


class TestPairedVerdicts:
    """What a difference says rests on its interval and on seeds enough."""

    def arrays(self, smoke, gap, seeds):
        arrays = dict(smoke.arrays)
        arrays["error_gap"] = np.broadcast_to(gap, arrays["error_gap"].shape)
        arrays["setting_seeds"] = np.full_like(arrays["setting_seeds"], seeds)
        return arrays

    @pytest.mark.parametrize(
        ("gap", "seeds", "holds"),
        [
            ((0.2, 0.1, 0.3), 4, True),
            ((0.2, 0.1, 0.3), 3, None),
            ((0.2, -0.1, 0.5), 9, None),
            ((-0.2, -0.3, -0.1), 9, False),
            ((0.2, np.nan, np.nan), 9, None),
        ],
    )
    def test_of_kernels(self, smoke, gap, seeds, holds):
        arrays = self.arrays(smoke, gap, seeds)
        for found in (told._generic(arrays, 0), told._bias_of_the_trace(arrays, 0)):
            assert found.holds is holds
            assert found.value == gap[0]
            assert ("(+10.0% to +30.0%)" in found.text) == (gap[1] == 0.1)

    def test_gaps_are_paired_by_seed(self, smoke):
        cases = [experiment._case(Config.smoke(), "ntk", 16, seed) for seed in (0, 1)]
        late = smoke.array("late")
        gaps = []
        for one in cases:
            middle = np.median(case.measure(one)["squared_error"][:, :, late, 0], axis=(1, 2))
            gaps.append(middle - middle[0])
        np.testing.assert_allclose(smoke.array("error_gap")[0, :, 0], np.mean(gaps, axis=0))
        assert smoke.array("error_gap")[0, 0, 0] == 0

    @pytest.mark.parametrize(
        ("ends", "seeds", "holds"),
        [
            ((-0.005, 0.009), 4, True),
            ((-0.005, 0.009), 3, None),
            ((-0.02, 0.02), 9, None),  # no power is no evidence
            ((0.011, 0.03), 9, False),
            ((-0.03, -0.011), 9, False),
        ],
    )
    def test_of_smoothing(self, smoke, ends, seeds, holds):
        arrays = dict(smoke.arrays)
        arrays["setting_seeds"] = np.full_like(arrays["setting_seeds"], seeds)
        difference = arrays["difference"].copy()
        row = names().index("smoothing")
        difference[:, row, -1, 0] = (np.mean(ends), *ends)
        assert told._smoothing(arrays | {"difference": difference}).holds is holds


def test_the_opening_follows_the_ranks(smoke):
    arrays = dict(smoke.arrays)
    row, column = (arrays["quantities"].tolist().index("recovery"), STATISTICS.index("spearman"))
    own = told.best(arrays, 0)
    for other, mine, said in (
        (0.9, 0.9, "Ranks are easy: "),
        (-0.61, 0.9, "Here not even the order is reached without the network's own kernel: "),
        (-0.61, 0.3, "Here the order is reached neither "),
    ):
        table = arrays["table"].copy()
        table[0, :, row, column, 0] = other
        table[0, own, row, column, 0] = mine
        text = told._generic(arrays | {"table": table}, 0).text
        assert text.startswith(said)
        assert ("−0.61" in text) == (other < 0)


def test_the_yardstick_is_read_at_the_same_steps(smoke):
    late, other = smoke.array("late"), []
    for seed in (0, 1):
        one = case.measure(experiment._case(Config.smoke(), "ntk", 16, seed))
        other.append(np.median(one["other"][late], axis=0))
    np.testing.assert_allclose(smoke.array("yardstick")[0, :, 0], np.mean(other, axis=0))


def test_the_motion_of_the_full_kernel_is_told(smoke):
    arrays = dict(smoke.arrays) | {"full_movement": np.full((1, 3), 0.123)}
    assert "The full kernel moves by 12.3%" in told._bias_of_the_trace(arrays, 0).text


def test_counted_conditions_are_late_and_none_is_there_twice(smoke):
    counted, reads = smoke.array("counted"), smoke.array("reads")
    assert not counted[:, ~smoke.array("late")].any()
    for name in ("distill_then_labels", "labels_then_distill"):
        before = reads <= smoke.array("switch_step")
        assert not counted[names().index(name), before].any()
    assert counted[0, smoke.array("late")].all()


def test_slopes_count_no_method_under_two_names(smoke):
    """Until step 16 the teacher's student and the one that then turns to labels are the same."""
    arrays, counted = dict(smoke.arrays), smoke.array("counted")
    places = [smoke.array("reads").tolist().index(int(smoke.array("teacher_step"))), -1]
    said = np.abs(smoke.array("slope")[0, 1, 1:, places, 0].T) > 0.05
    assert (said & ~counted[1:, places]).any()
    expected = int((said & counted[1:, places]).sum())
    assert f" of {expected} cases" in told._slopes(arrays, 0).text


def test_slopes_are_told_of_every_parametrization():
    config = replace(
        Config.smoke(), parametrizations=("ntk", "standard"), full=(), cross_entropy=(), scales=()
    )
    with Context.plain() as context:
        result = run(config, context)
    slopes_of = [one.text for one in result.findings if "effective training times" in one.text]
    assert len(slopes_of) == 2
    assert "standard parametrization" in slopes_of[1]
    assert result.array("no_op").shape == (2, 2)


@pytest.mark.parametrize(
    ("value", "form", "shown"),
    [
        (-0.284, ".2f", "−0.28"),
        (-0.001, ".0%", "0%"),
        (-0.001, "+.1f", "+0.0"),
        (9e-5, ".2g", "9e−05"),
    ],
)
def test_numbers_have_a_true_minus_and_no_negative_zero(value, form, shown):
    assert told._number(value, form) == shown


def test_no_finding_has_a_hyphen_for_a_minus(smoke):
    for finding in smoke.findings:
        assert not re.search(r"(?<![\w)])-\d", finding.text), finding.text


def test_findings_hold_where_numbers_do(smoke):
    arrays = dict(smoke.arrays) | {"training_samples": np.array(500)}
    arrays["setting_seeds"] = arrays["setting_seeds"] + 2
    arrays["error"] = arrays["error"] * 0
    arrays["table"] = arrays["table"] * 0
    assert findings(arrays)[0].holds is True
    arrays["error"] = arrays["error"] + 0.3
    assert findings(arrays)[0].holds is False
    assert findings(smoke.arrays)[0].holds is None  # fewer samples than the goals are for


@pytest.mark.parametrize("size", ["demo", "paper"])
def test_sizes_are_legal(size):
    config = getattr(Config, size)()
    assert config.reads[-1] == config.steps
    assert Lengths.of(config.steps).teacher in config.reads


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"seeds": (2,)}, "seeds must be one number for each of the widths"),
        ({"widths": (1,), "seeds": (1,), "full": (), "cross_entropy": ()}, "widths must be from 2"),
        ({"full": (65,)}, "full must be among 64, 512, got 65"),
        ({"cross_entropy": (3,)}, "cross_entropy must be among"),
        ({"parametrizations": ("mup",)}, "parametrizations must be among ntk, standard, got mup"),
        ({"scales": (0.0,)}, "scales must be from 0.001 to 1,000, got 0.0"),
        ({"scales": (0.2, 0.2)}, "scales must not repeat, got 0.2, 0.2"),
        ({"parametrizations": ()}, "parametrizations must name one of ntk, standard, got none"),
        ({"parametrizations": ("ntk", "ntk")}, "parametrizations must not repeat, got ntk, ntk"),
        ({"widths": (64, 64)}, "widths must not repeat, got 64, 64"),
        ({"full": (64, 64)}, "full must not repeat"),
        ({"samples": 20, "noise": 0.02}, "noise times samples must be at least 1"),
        ({"samples": 900, "test_samples": 900}, "at most the 1797 digits"),
        (
            {"samples": 801, "test_samples": 100},
            "samples must be at most 800 for a full kernel, got 801; give --full without values",
        ),
        ({"steps": 100}, "multiple of 16"),
        ({"step": 1.0}, "step must be at most 0.95"),
        ({"noise": 0.0}, "noise must be at least 0.02"),
    ],
)
def test_bad_configs_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        Config(**wrong)
