"""Learning dynamics: the network against torch, the forces where they show, bad configs."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from sims.context import Context
from sims.experiments.learning_dynamics import Config, run
from sims.parts.learning_dynamics_cases import (
    Path,
    Similarity,
    Steps,
    Toy,
    Training,
    path,
    similarity,
    steps,
    training,
)
from sims.parts.learning_dynamics_findings import findings
from sims.parts.learning_dynamics_network import ACTIVATIONS, Mlp
from theory.labels import dynamics
from theory.labels.softmax import softmax

TOY = Toy(seed=0, samples=200, dimensions=30, sigma=2.0, hidden=(32,), activation="tanh")


@pytest.fixture(scope="module")
def smoke():
    with Context.plain() as context:
        return run(Config.smoke(), context)


@pytest.fixture(scope="module")
def forces():
    return training(Training(TOY, rate=0.05, batch=20, epochs=120, tracked=0.05))


def with_torch(network, x):
    """Logits as a function of all weights, flat, and those weights."""
    parts = [*network.weights, *network.biases]
    flat = torch.cat([torch.tensor(part).reshape(-1) for part in parts])

    def logits(w):
        pieces = torch.split(w, [part.size for part in parts])
        shaped = [p.reshape(part.shape) for p, part in zip(pieces, parts, strict=True)]
        count = len(network.weights)
        h = torch.tensor(x)
        for layer in range(count):
            h = h @ shaped[layer].T
            if network.biases:
                h = h + shaped[count + layer]
            if layer < count - 1:
                h = torch.relu(h) if network.activation == "relu" else torch.tanh(h)
        return h

    return logits, flat


def flat_weights(network):
    return np.concatenate([part.ravel() for part in (*network.weights, *network.biases)])


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("biases", [True, False])
def test_kernel_step_and_second_derivative_agree_with_autograd(activation, biases):
    rng = np.random.default_rng(0)
    network = Mlp.draw(rng, (5, 7, 6, 3), activation)
    network = network if biases else Mlp(network.weights, (), activation)
    x, r = rng.standard_normal((4, 5)), rng.standard_normal((4, 3))
    logits, w = with_torch(network, x)
    np.testing.assert_allclose(network.logits(x), logits(w).numpy(), atol=1e-14)
    jacobian = torch.func.jacrev(logits)(w)
    kernel = torch.einsum("okd,uld->oukl", jacobian, jacobian).numpy()
    np.testing.assert_allclose(network.kernel(x, x), kernel, rtol=0, atol=1e-13)
    moved = network.moved(network.forward(x)[0], r, 0.7)
    step = 0.7 / 4 * torch.einsum("uk,ukd->d", torch.tensor(r), jacobian)
    np.testing.assert_allclose(flat_weights(moved), (w + step).numpy(), atol=1e-14)
    first, second = network.along(moved, x)
    np.testing.assert_allclose(first, (jacobian @ step).numpy(), atol=1e-13)
    zero = torch.zeros((), dtype=torch.float64)
    bend = torch.func.jacrev(torch.func.jacrev(lambda s: logits(w + s * step)))(zero)
    np.testing.assert_allclose(second, bend.numpy(), atol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_steps_are_predicted_with_slope_two_and_by_the_second_order(activation):
    job = Steps(replace(TOY, activation=activation), 0.05, 20, 5, trained_on=10, observed=20)
    found = steps(job)
    assert found["slope"] == pytest.approx(2, abs=0.15)
    # a longer step crosses a kink of the ReLU network, which no derivative knows
    small = found["rates"] <= (1e-3 if activation == "tanh" else 3e-4)
    np.testing.assert_allclose(found["remainder"][small], found["second_order"][small], rtol=0.02)
    assert found["measured"].shape == (13, 20, 10, 3)
    size = np.sqrt((found["measured"][0] ** 2).sum(axis=-1).mean())
    assert found["change"][0] == pytest.approx(size)


def test_pulls_add_up_to_the_path(forces):
    total = (forces["own"] + forces["neighbors"]).sum(axis=0)
    way = forces["path"][-1] - forces["path"][0]
    assert np.linalg.norm(total - way) < 0.15 * np.linalg.norm(way)
    assert forces["own"].shape == (120, 20, 3)
    np.testing.assert_allclose(forces["own"].sum(axis=-1), 0.0, atol=1e-14)


def test_pulls_of_one_batch_are_those_of_the_theory():
    """One epoch of one batch of all samples: the pulls at the start, from the kernel."""
    toy = replace(TOY, samples=12, hidden=(5,))
    found = training(Training(toy, rate=0.1, batch=12, epochs=1, tracked=0.2))
    _, x, targets, truth, network = toy.draw()
    order = np.argsort(-np.linalg.norm(targets - truth, axis=1), kind="stable")
    at = np.concatenate([order[:2], order[:-3:-1]])
    q = softmax(network.logits(x))
    want = dynamics.pulls(q, network.kernel(x, x), targets - q, 0.1)
    np.testing.assert_allclose(found["own"][0], want.own[at], atol=1e-15)
    np.testing.assert_allclose(found["neighbors"][0], want.neighbors[at], atol=1e-15)


def test_hard_samples_come_near_the_truth_and_leave_it(forces):
    distance = np.linalg.norm(forces["path"] - forces["truth"], axis=-1)[:, :10]
    assert distance.min(axis=0).mean() < 0.6 * distance[0].mean()
    assert distance.min(axis=0).mean() < 0.4 * distance[-1].mean()
    own, neighbors = (np.linalg.norm(forces[k][:, :10], axis=-1) for k in ("own", "neighbors"))
    assert np.median(own[0] / neighbors[0]) < 0.5
    assert np.median(own[-20:] / neighbors[-20:]) > 1


def test_first_orders_add_up_for_smaller_steps_but_on_kinks():
    """With steps a quarter as long the sum misses a quarter; hard ReLU samples keep missing."""
    toy = replace(TOY, hidden=(16,))
    missed = {
        activation: np.array([
            path(Path(replace(toy, activation=activation), rate, 20.0, 10))["missed"]
            for rate in (0.2, 0.05)
        ])
        for activation in ACTIVATIONS
    }  # fmt: skip
    np.testing.assert_allclose(missed["tanh"][1] / missed["tanh"][0], 0.25, atol=0.06)
    assert missed["relu"][1, 1] / missed["relu"][0, 1] == pytest.approx(0.25, abs=0.1)
    assert missed["relu"][1, 0] > 5 * missed["relu"][1, 1]


def test_units_of_hard_samples_cross_their_kinks_without_end():
    toy = replace(TOY, hidden=(16,), activation="relu")
    often = [path(Path(toy, rate, 20.0, 10))["crossings"] for rate in (0.2, 0.05)]
    assert often[1][0] > 0.7 * often[0][0] > 0.1
    assert often[1][1] < 0.4 * often[0][1]


def test_the_trace_of_the_wide_kernel_rises_with_the_similarity():
    found = similarity(Similarity(0, points=40, width=400, rate=5e-4, epochs=3))
    k = found["kernel_trace"]
    np.testing.assert_allclose(k, k.T, rtol=1e-12)
    by_rank = [np.corrcoef(np.argsort(np.argsort(a)), np.argsort(np.argsort(b)))[0, 1]
               for a, b in zip(found["cosine"], k, strict=True)]  # fmt: skip
    assert min(by_rank) > 0.4
    assert np.mean(by_rank) > 0.8
    assert found["jacobian_trace"][0] == pytest.approx(2 / 3, abs=1e-2)


def test_a_smoke_says_all_and_counts_all(smoke):
    assert len(smoke.findings) == 6
    assert all("nan" not in finding.text for finding in smoke.findings)
    assert smoke.findings[0].holds
    assert smoke.array("force_own").shape == (2, 2, 6)
    for name, array in smoke.arrays.items():
        if array.dtype.kind == "f":
            assert np.isfinite(array).all(), name


def test_findings_follow_the_numbers(smoke):
    """Turned around, the arrays give sentences that say the opposite."""
    arrays = {name: array.copy() for name, array in smoke.arrays.items()}
    arrays["step_slope"] = arrays["step_slope"] - 0.5
    arrays["rank_inner"], arrays["rank_cosine"] = (
        -arrays["rank_inner"],
        -arrays["rank_cosine"] - (np.array([[0.0], [1e-3]])),
    )
    arrays["rank_cosine"] = np.full_like(arrays["rank_cosine"], -0.5)
    arrays["rank_inner"] = np.full_like(arrays["rank_inner"], -0.6)
    arrays["step_miss"] = np.ones_like(arrays["step_miss"])
    said = findings(arrays)
    assert said[0].holds is False
    assert "or more at all learning rates tried" in said[0].text
    assert said[-1].holds is False
    assert "falls with the similarity" in said[-1].text


def test_learning_rates_beyond_reason():
    """Saturated networks do not move, and their findings are finite; diverging ones are refused."""
    with Context.plain() as context:
        result = run(replace(Config.smoke(), rate=100.0, hidden=(50,), epochs=30), context)
        assert all(np.isfinite(a).all() for a in result.arrays.values() if a.dtype.kind == "f")
        assert result.findings[0].holds is False
        for finding in result.findings:
            assert "nan" not in finding.text
            assert " inf" not in finding.text
        single = run(replace(Config.smoke(), path_rates=(0.1,)), context)
        assert "At learning rate 0.1 they miss" in single.findings[1].text
        with pytest.raises(ValueError, match="rate must be smaller for this network"):
            run(replace(Config.smoke(), path_rates=(100.0,), path_time=1e5), context)


def test_intervals_of_cosines_stay_within_one(smoke):
    arrays = dict(smoke.arrays)
    arrays["rank_cosine"] = np.array([[0.0] * 12, [0.9] * 12])
    assert "0.45 [−1.00, 1.00] by cosine" in findings(arrays)[-1].text


def test_the_example_lies_on_the_triangle(smoke):
    corners, way = smoke.array("example_corners"), smoke.array("example_path")
    inside = np.linalg.solve(
        np.vstack([corners.T, np.ones(3)]), np.vstack([way.T, np.ones(len(way))])
    )
    assert (inside >= -1e-12).all()
    longest = [np.linalg.norm(smoke.array(f"example_{who}")[1], axis=1)
               for who in ("own", "neighbors")]  # fmt: skip
    np.testing.assert_allclose(np.max(longest, axis=0), 0.2)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seeds": 1}, "seeds must be at least 2"),
        ({"samples": 5}, "samples must be at least 10"),
        ({"samples": 50}, r"trained_on \+ observed must be at most samples \(50\), got 60"),
        ({"sigma": 0.0}, "sigma must be at least 1e-06"),
        ({"hidden": ()}, "hidden must be one or more widths"),
        ({"activation": "step"}, "activation must be one of tanh, relu"),
        ({"rate": np.nan}, "rate must be at least"),
        ({"path_rates": ()}, "path_rates must be one or more numbers"),
        ({"tracked": 0.6}, "tracked must be at most 0.5"),
        ({"points": 3}, "points must be at least 4"),
        ({"seed": -1}, "seed must be at least 0"),
    ],
)
def test_bad_configs_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        Config(**change)


def test_sizes_differ():
    every = [Config.smoke(), Config.demo(), Config(), Config.paper()]
    assert len({str(asdict(config)) for config in every}) == 4
