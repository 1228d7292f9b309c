from dataclasses import replace

import numpy as np
import pytest
import torch

from deep import models
from deep.data.spec import DataSpec
from deep.losses import FACTORS, temperature_factor, tempered_cross_entropy
from deep.training.fixed_targets.config import RunConfig, Supervision
from deep.training.fixed_targets.ensembles import train_together
from deep.training.fixed_targets.loop import initial_network, train
from deep.training.fixed_targets.task import make_targets, make_task, softmax
from deep.training.optimizers import Optimizer

DATA = DataSpec(samples=40, test_samples=30, noise=0.25)
SMALL = RunConfig(
    model=models.spec("mlp", width=9),
    data=DATA,
    optimizer=Optimizer(batch=16, learning_rate=1e-2),
    epochs=4,
    precision="float64",
)
TEACHER = replace(SMALL, stream="teacher")
STUDENT = replace(
    SMALL,
    teacher=TEACHER,
    student_init="teacher",
    supervision=Supervision(kind="teacher", temperature=4.0),
)


def test_equal_configs_give_equal_numbers():
    first, again = train(STUDENT), train(STUDENT)
    np.testing.assert_array_equal(first.train_logits, again.train_logits)
    np.testing.assert_array_equal(first.history["loss"], again.history["loss"])


def test_a_given_teacher_is_the_nested_one():
    teacher = train(TEACHER)
    np.testing.assert_array_equal(
        train(STUDENT, teacher=teacher).train_logits, train(STUDENT).train_logits
    )


def test_training_lowers_the_loss():
    losses = train(replace(SMALL, epochs=40)).history["loss"]
    assert losses.shape == (40,)
    assert losses[-1] < 0.7 * losses[0]


def test_longer_training_shares_its_beginning():
    short, long = train(replace(SMALL, epochs=2)), train(SMALL)
    np.testing.assert_array_equal(short.history["loss"], long.history["loss"][:2])


def test_one_step_of_gradient_descent_by_hand():
    """A linear softmax classifier: W <- W - eta c / (tau n) (p - q)^T x."""
    tau, eta = 3.0, 0.05
    config = replace(
        SMALL,
        model=models.spec("mlp", depth=0),
        supervision=Supervision(kind="smooth", smoothing=0.2, temperature=tau, factor="tau"),
        optimizer=Optimizer(name="gd", learning_rate=eta),
        epochs=1,
    )
    task = make_task(DATA)
    before = initial_network(config, task).layers[0].weight.detach().numpy().astype(float)
    x, q = task.train_inputs, 0.8 * np.eye(10)[task.train_labels] + 0.02
    p = softmax(x @ before.T / tau)
    expected = before - eta * tau / tau * (p - q).T @ x / len(x)
    np.testing.assert_allclose(train(config).weights["layers.0.weight"], expected, rtol=1e-12)


def test_recorders_see_every_update():
    seen = {}
    train(SMALL, recorders=[lambda step, weights: seen.update({step: weights["layers.0.weight"]})])
    assert sorted(seen) == list(range(4 * 3 + 1))


def test_streams_decide_init_and_order():
    task = make_task(DATA)

    def start(config):
        return initial_network(config, task).layers[0].weight.detach().numpy()

    np.testing.assert_array_equal(start(STUDENT), start(TEACHER))
    assert not np.array_equal(start(replace(STUDENT, student_init="own")), start(TEACHER))
    null = replace(SMALL, stream="null", student_init="teacher")
    np.testing.assert_array_equal(start(null), start(TEACHER))
    assert not np.array_equal(train(null).train_logits, train(TEACHER).train_logits)
    twin = replace(null, order="teacher")
    np.testing.assert_array_equal(train(twin).train_logits, train(TEACHER).train_logits)


def test_a_student_with_the_teachers_order_has_the_teachers_key():
    assert replace(STUDENT, order="teacher").order_key == TEACHER.order_key
    other = replace(STUDENT, teacher=replace(TEACHER, seed=7), seed=3)
    assert other.init_key == ("teacher", 7)
    grandchild = replace(STUDENT, teacher=replace(STUDENT, order="own"), order="teacher")
    assert grandchild.init_key == TEACHER.init_key
    assert grandchild.order_key == STUDENT.order_key
    assert replace(other, teacher=None, supervision=Supervision()).init_key == ("teacher", 3)


def test_in_pure_distillation_adam_ignores_the_factor():
    """Only epsilon tells the factors apart."""
    logits = {}
    for factor in FACTORS:
        supervision = Supervision(kind="teacher", temperature=4.0, factor=factor)
        logits[factor] = train(replace(STUDENT, supervision=supervision)).train_logits
    for factor in FACTORS:
        apart = np.linalg.norm(logits[factor] - logits["tau2"]) / np.linalg.norm(logits["tau2"])
        assert apart < 3e-3


def test_momentum_and_weight_decay_are_torchs():
    optimizer = Optimizer(
        name="sgd", learning_rate=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2, batch=40
    )
    config = replace(SMALL, model=models.spec("mlp", depth=0), optimizer=optimizer, epochs=5)
    task = make_task(DATA)
    weight = torch.nn.Parameter(initial_network(config, task).layers[0].weight.detach().double())
    reference = torch.optim.SGD([weight], lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2)
    x, y = torch.from_numpy(task.train_inputs), torch.from_numpy(task.train_labels)
    for _ in range(5):
        reference.zero_grad()
        torch.nn.functional.cross_entropy(x @ weight.T, y).backward()
        reference.step()
    got = train(config).weights["layers.0.weight"]
    np.testing.assert_allclose(got, weight.detach().numpy(), rtol=1e-10, atol=1e-13)


def test_the_softness_control_has_the_teachers_confidence():
    logits = np.random.default_rng(0).normal(size=(40, 10))
    labels = np.arange(40) % 10
    supervision = Supervision(kind="teacher_confidence", temperature=4.0)
    targets = make_targets(supervision, labels, 10, logits)
    np.testing.assert_allclose(targets.sum(1), 1.0)
    assert targets.max(1).mean() == pytest.approx(softmax(logits / 4).max(1).mean())
    np.testing.assert_array_equal(targets.argmax(1), labels)


def test_equal_data_specs_give_equal_tasks():
    first, again = make_task(DATA), make_task(DATA)
    np.testing.assert_array_equal(first.train_inputs, again.train_inputs)
    np.testing.assert_array_equal(first.train_labels, again.train_labels)
    clean = make_task(replace(DATA, noise=0.0))
    np.testing.assert_array_equal(clean.train_inputs, first.train_inputs)
    np.testing.assert_array_equal(clean.train_labels, first.true_labels)
    assert (first.train_labels != first.true_labels).sum() == 10
    assert not np.array_equal(make_task(replace(DATA, seed=1)).train_inputs, first.train_inputs)


def test_losses_are_per_sample_and_the_factor_scales():
    logits, targets = torch.randn(2, 3, 5), torch.full((2, 3, 5), 0.2)
    base = tempered_cross_entropy(logits, targets, temperature=3.0, factor="1")
    assert base.shape == (2, 3)
    for name, scale in (("tau", 3), ("tau2", 9), ("2tau2", 18)):
        got = tempered_cross_entropy(logits, targets, temperature=3.0, factor=name)
        torch.testing.assert_close(got, scale * base)
    extreme = tempered_cross_entropy(torch.tensor([[1e4, -1e4]]), torch.tensor([[0.0, 1.0]]))
    assert float(extreme) == 2e4
    with pytest.raises(ValueError, match="factor must be one of"):
        temperature_factor("tau3", 1.0)


def test_divergence_is_refused():
    config = replace(SMALL, optimizer=Optimizer(name="sgd", learning_rate=1e300, batch=16))
    with pytest.raises(ValueError, match=r"learning_rate must be small enough for mlp"):
        train(config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"supervision": Supervision(kind="teacher")}, "teacher must be given for supervision"),
        ({"student_init": "mine"}, "student_init must be one of"),
        ({"order": "mine"}, "order must be one of"),
        ({"precision": "half"}, "precision must be one of"),
        ({"epochs": -1}, "epochs must be an integer >= 0"),
        ({"epochs": 2.5}, "epochs must be an integer >= 0, got 2.5"),
        ({"seed": "x"}, "seed must be"),
        ({"seed": np.nan}, "seed must be"),
        ({"stream": ""}, "stream must be a name, got ''"),
        ({"stream": 3}, "stream must be a name, got 3"),
        ({"model": "mlp"}, "model must be of type ModelSpec, got 'mlp'"),
        ({"data": "digits"}, "data must be of type DataSpec"),
        ({"optimizer": "adam"}, "optimizer must be of type Optimizer"),
        ({"teacher": "a big one"}, "teacher must be a RunConfig or None, got 'a big one'"),
        ({"teacher": replace(TEACHER, data=DataSpec())}, "must be the same samples"),
        (
            {
                "teacher": replace(TEACHER, model=models.spec("mlp", width=8)),
                "student_init": "teacher",
            },
            "student_init must be 'own' where the student is another network",
        ),
    ],
)
def test_bad_runs(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Supervision(kind="hints"), "kind of supervision must be one of"),
        (lambda: Supervision(temperature=0.0), "temperature must be > 0"),
        (lambda: Supervision(smoothing=2.0), "smoothing must be in"),
        (lambda: Optimizer(name="lion"), "optimizer must be one of"),
        (lambda: Optimizer(learning_rate=-1.0), "learning_rate must be > 0"),
        (lambda: Optimizer(momentum=0.9), "momentum must be 0 with adam"),
        (lambda: Optimizer(name="sgd", nesterov=True), "momentum must be > 0 with nesterov"),
        (lambda: DataSpec(samples=0), "samples must be an integer >= 1"),
        (lambda: DataSpec(noise=1.1), "noise must be in"),
        (lambda: DataSpec(name="zz"), "name of the image set must be one of 'digits'"),
        (lambda: DataSpec(choice="zz"), "choice must be one of 'stratified'"),
        (lambda: DataSpec(seed="x"), "seed must be"),
        (lambda: DataSpec(seed=np.nan), "seed must be"),
        (lambda: DataSpec(seed=-1), "seed must be an integer >= 0, got -1"),
        (lambda: DataSpec(samples=20.0), "samples must be an integer >= 1, got 20.0"),
        (lambda: DataSpec(noise_includes_same="no"), "noise_includes_same must be True or False"),
        (lambda: Optimizer(name="sgd", momentum=1.0), r"momentum must be in \[0, 1\), got 1.0"),
        (lambda: Optimizer(name="sgd", momentum=np.nan), "momentum must be finite"),
        (lambda: Optimizer(batch=2.5), "batch must be an integer >= 1"),
        (lambda: Optimizer(learning_rate=[0.1, 0.2]), "learning_rate must be one number"),
        (lambda: Optimizer(weight_decay=-1.0), "weight_decay must be >= 0"),
        (lambda: Optimizer(nesterov=1), "nesterov must be True or False, got 1"),
        (lambda: Supervision(smoothing=0.1), "smoothing must be 0 unless kind is 'smooth'"),
        (lambda: Supervision(temperature=np.inf), "temperature must be finite"),
        (lambda: make_task(DataSpec(samples=2000)), "at most the 1442 samples there are"),
        (
            lambda: make_targets(Supervision(kind="teacher"), np.array([0]), 3, None),
            "teacher_logits must be given",
        ),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (replace(DATA, samples=30), r"logits of shape \(40, 10\), got \(30, 10\)"),
        (replace(DATA, seed=1), "same samples in the same order"),
    ],
)
def test_a_teacher_of_other_samples_is_refused(data, message):
    other = train(replace(TEACHER, data=data))
    for make in (
        lambda: train(STUDENT, teacher=other),
        lambda: train_together([STUDENT], teachers=[other]),
    ):
        with pytest.raises(ValueError, match=message):
            make()


def test_another_network_may_learn_from_the_teacher_with_its_own_start():
    taught = replace(STUDENT, model=models.spec("mlp", width=4), student_init="own")
    assert train(taught, teacher=train(TEACHER)).train_logits.shape == (40, 10)


@pytest.mark.gpu
def test_the_same_on_a_gpu():
    here, there = train(STUDENT), train(STUDENT, device="cuda")
    np.testing.assert_allclose(there.train_logits, here.train_logits, rtol=1e-6, atol=1e-8)
