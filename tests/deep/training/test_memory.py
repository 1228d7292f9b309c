"""What a run keeps beside its network, against the closed forms of the theory."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from deep.method import FilterTable, PastCopies, WeightAverage
from deep.training.best import Best
from deep.training.config import Keeps
from deep.training.memory import Average, Past, Table
from deep.training.runner import Runner
from deep.training.trainer import initial_network
from tests.deep.training.small_runs import assert_same, small, stepped, trainer_of
from theory.labels.filtering import fallback_rows, filter_table
from theory.labels.smoothing.replay import interval_steps, ring_updates


def counting(value=0.0):
    """A network whose weight tells how many updates it has had."""
    network = nn.Linear(1, 2, bias=False)
    nn.init.constant_(network.weight, value)
    network.register_buffer("seen", torch.tensor(value))
    return network


@given(
    copies=st.integers(1, 5),
    interval=st.integers(1, 7),
    steps=st.integers(1, 40),
)
def test_copies_are_as_old_as_the_closed_form_says(copies, interval, steps):
    network = counting()
    past = Past(PastCopies(copies=copies, interval=interval), network, 1.0)
    for step in range(1, steps + 1):
        past.before(network, step)
        ages = [float(copy.weight[0, 0]) for copy in past.networks]
        want = ring_updates(step, interval, copies)
        assert ages == want.tolist()
        assert [float(copy.seen) for copy in past.networks] == ages
        assert past.trained(step) == np.count_nonzero(want)
        with torch.no_grad():
            network.weight += 1
            network.seen += 1


@given(interval=st.floats(1e-4, 30), per_epoch=st.integers(1, 800))
def test_intervals_are_rounded_as_in_theory(interval, per_epoch):
    past = Past(PastCopies(interval=interval), counting(), float(per_epoch))
    assert abs(past.interval - interval_steps(interval, per_epoch)) <= (
        # a product within rounding of a half
        abs((interval * per_epoch) % 1 - 0.5) < 1e-9
    )


@pytest.mark.parametrize(("scale", "interval"), [(1.0, 9), (0.5, 5), (1 / 3, 3), (0.01, 1)])
def test_intervals_scale_with_the_run(scale, interval):
    trainer = trainer_of(small("mrkd", scale=scale, options={"interval": 1.5}))
    assert trainer.plan.per_epoch == 6
    assert trainer.past.interval == interval  # 9, 4.5, 3 and .09 steps


def test_the_loss_sees_copies_of_the_very_weights_of_that_time():
    trainer = trainer_of(small("mrkd", options={"copies": 3, "interval": 0.5}, epochs=2))
    kept, seen = [], []

    def weights(network):
        return torch.cat([one.detach().flatten().clone() for one in network.parameters()])

    heard = trainer.past.logits

    def logits(inputs):
        step = trainer.updates + 1
        for copy, updates in zip(trainer.past.networks, ring_updates(step, 3, 3), strict=True):
            assert torch.equal(weights(copy), kept[updates])
            seen.append(updates)
        return heard(inputs)

    trainer.past.logits = logits
    while not trainer.done:
        kept.append(weights(trainer.network))
        trainer.step()
    assert sorted({*seen}) == [0, 2, 5, 8, 11]


def test_what_copies_predict_does_not_depend_on_the_batch_unless_asked():
    said = {}
    for statistics in ("stored", "batch"):
        trainer = trainer_of(small("mrkd", model="resnet8", options={"statistics": statistics}))
        inputs = trainer.plain_inputs(trainer.data.train, torch.arange(8))
        said[statistics] = trainer.past.logits(inputs)
        fewer = trainer.past.logits(inputs[:4])[:, :4]
        same = torch.allclose(fewer, said[statistics][:, :4], atol=1e-5)
        assert same == (statistics == "stored")


class Recorded:
    """Predictions of a run, as they enter its table: (epochs, samples, classes), and when."""

    def __init__(self, config):
        self.trainer = trainer = trainer_of(config)
        self.rule = config.keeps.table
        shape = (trainer.plan.epochs, *trainer.table.rows.shape)
        self.path = np.full(shape, 1 / shape[2])
        self.visited = np.zeros(shape[:2], dtype=bool)
        self.initial = np.full(shape[1:], 1 / shape[2])
        untrained = initial_network([config], trainer.data).train()
        enter = trainer.table.update

        def update(index, logits):
            epoch = (trainer.updates - 1) // trainer.plan.per_epoch
            self.path[epoch, index] = self.tempered(logits)
            fresh = ~self.visited[:epoch, index].any(0)
            with torch.no_grad():
                begun = self.tempered(untrained(self.inputs))
            self.initial[index[fresh]] = begun[fresh]
            self.visited[epoch, index] = True
            enter(index, logits)

        after = trainer._after

        def remember(visit, inputs, logits):
            self.inputs = inputs
            after(visit, inputs, logits)

        trainer.table.update, trainer._after = update, remember

    def tempered(self, logits):
        return torch.softmax(logits.double() / self.rule.temperature, -1).numpy()

    def expected(self, epochs=None):
        initial = {"initial": self.initial} if self.rule.init == "pass" else {}
        return filter_table(
            self.path[:epochs],
            self.rule.smoothing,
            init=self.rule.init,
            visited=self.visited[:epochs],
            labels=self.trainer.data.train.labels.numpy(),
            **initial,
        )


def teacher(table, **options):
    return replace(small(**options), keeps=Keeps(table=table))


@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize("init", ["pass", "first", "debias"])
def test_the_table_is_the_filter_of_the_recorded_predictions(init, dropped):
    table = FilterTable(smoothing=0.3, init=init, temperature=2.0)
    config = teacher(
        table, model="resnet8", views="crop_flip", recipe_options={"drop_last": dropped}
    )
    seen = Recorded(config)
    trainer = stepped(seen.trainer)
    want = seen.expected()
    assert trainer.table.visits.tolist() == want.updates.tolist()
    assert (want.updates < trainer.plan.epochs).any() == dropped
    rows = trainer.table.read(trainer.data.train.labels).numpy()
    np.testing.assert_allclose(rows, want.rows, rtol=0, atol=2e-6)
    np.testing.assert_allclose(rows.sum(-1), 1, atol=1e-6)


@pytest.mark.parametrize("init", ["pass", "first", "debias"])
def test_a_sample_never_visited_has_nine_tenths_on_its_label(init):
    config = teacher(FilterTable(init=init), scale=1 / 6)  # half an epoch
    trainer = stepped(trainer_of(config))
    labels = trainer.data.train.labels
    unseen = (trainer.table.visits == 0).numpy()
    assert unseen.sum() == len(labels) - 3 * 16
    want = fallback_rows(labels.numpy(), 10)
    rows = trainer.table.read(labels).numpy()
    np.testing.assert_allclose(rows[unseen], want[unseen], atol=1e-7)
    assert (np.abs(rows - want).max(-1)[~unseen] > 1e-3).all()


@pytest.mark.parametrize("smoothing", [1e-9, 1e-3, 0.5, 1.0])
def test_debiased_rows_are_means_also_for_tiny_filters(smoothing):
    table = Table(FilterTable(smoothing=smoothing, init="debias"), (2, 3))
    for _ in range(4):
        table.update(torch.tensor([0]), torch.tensor([[1.0, 2.0, 3.0]]))
    table.update(torch.tensor([1]), torch.tensor([[1.0, 2.0, 3.0]]))
    want = torch.softmax(torch.tensor([1.0, 2.0, 3.0]), -1).expand(2, 3)
    torch.testing.assert_close(table.read(torch.tensor([0, 0])), want)


def test_a_table_taken_up_again_begins_no_row_twice():
    rule = FilterTable(smoothing=0.5)
    table, again = Table(rule, (3, 2)), Table(rule, (3, 2))
    index, zeros = torch.tensor([0, 2]), torch.zeros(2, 2)
    table.begin(index, index, lambda: zeros)
    table.update(index, zeros)
    again.load({name: value.clone() for name, value in table.tensors().items()})
    again.begin(index, index, lambda: pytest.fail("begun before"))
    both = torch.tensor([0, 1])
    far = torch.tensor([[50.0, 0.0]] * 2)
    again.begin(both, both, lambda: far)
    torch.testing.assert_close(again.rows, torch.tensor([[0.5, 0.5], [1.0, 0.0], [0.5, 0.5]]))


def test_tables_of_members_are_those_of_each_alone():
    table = FilterTable(smoothing=0.3)
    configs = [replace(teacher(table), seed=seed) for seed in (0, 1)]
    together = stepped(trainer_of(*configs)).table
    for member, config in enumerate(configs):
        alone = stepped(trainer_of(config)).table
        torch.testing.assert_close(together.rows[member], alone.rows, rtol=0, atol=1e-5)
        assert torch.equal(together.visits[member], alone.visits)


@given(
    decay=st.floats(0, 1),
    warmup=st.booleans(),
    steps=st.integers(1, 30),
    start=st.sampled_from(["copy", "own"]),
)
def test_the_average_is_its_closed_form(decay, warmup, steps, start):
    rng = np.random.default_rng(steps)
    values = rng.normal(size=steps + 1)
    network = counting(float(values[0]))
    own = 7.0 if start == "own" else float(values[0])
    rule = WeightAverage(decay=decay, warmup=warmup, start=start)
    average = Average(rule, network, counting(own) if start == "own" else None)
    for step, value in enumerate(values[1:], 1):
        nn.init.constant_(network.weight, float(value))
        network.seen.fill_(step)
        average.update(network, step)
    decays = np.full(steps, decay)
    if warmup:
        decays = np.minimum(decays, 1 - 1 / np.arange(2, steps + 2))
    kept = np.append(np.cumprod(decays[::-1])[::-1], 1.0)  # of what was there before step i
    want = own * kept[0] + ((1 - decays) * kept[1:] * values[1:]).sum()
    assert float(average.network.weight[0, 0].detach()) == pytest.approx(want, abs=1e-5)
    assert float(average.network.seen) == steps
    assert not average.network.weight.requires_grad


def test_the_warm_up_is_the_plain_mean():
    network = counting(3.0)
    average = Average(WeightAverage(decay=0.999, warmup=True), network)
    for step, value in enumerate([5.0, 1.0, 7.0], 1):
        nn.init.constant_(network.weight, value)
        average.update(network, step)
    assert float(average.network.weight[0, 0].detach()) == pytest.approx((3 + 5 + 1 + 7) / 4)


@pytest.mark.parametrize("start", ["copy", "own"])
@pytest.mark.parametrize("kept", [False, True])
def test_a_trainer_averages_from_where_it_is_told(kept, start):
    if kept:  # for a student
        rule = WeightAverage(decay=0.5, start=start)
        config = replace(small(), keeps=Keeps(average=rule))
    else:
        config = small("beta_smoothing", options={"start": start, "decay": 0.5})
    trainer = trainer_of(config)
    purpose = {"copy": "initial weights", "own": "average"}[start]
    begun = initial_network([config], trainer.data, purpose=purpose)
    trainer.step()
    average = (trainer.kept_average if kept else trainer.average).network
    triples = zip(*(one.parameters() for one in (average, begun, trainer.network)), strict=True)
    for own, before, now in triples:  # the first step of a warm-up has the decay 1/2 as well
        torch.testing.assert_close(own, (before + now) / 2)


@pytest.mark.parametrize("statistics", ["stored", "batch"])
def test_the_averaged_teacher_predicts_with_the_statistics_that_are_asked_for(statistics):
    config = small(
        "parameter_average",
        model="resnet8",
        views="crop_flip",
        options={"statistics": statistics, "decay": 0.5},
    )
    runner = Runner()
    taught_by = runner.run(config.teacher)
    prepared = runner.prepared(config)
    network = taught_by.network("average", prepared)
    # statistics are copied, not averaged
    held, last = taught_by.state("average"), taught_by.state()
    for name in held:
        assert torch.equal(held[name], last[name]) == ("running" in name or "batches" in name)
    trainer = trainer_of(config)
    said = []
    hear = trainer.teacher.logits
    trainer.teacher.logits = lambda *view: said.append(hear(*view)) or said[-1]
    visit = trainer.plan.visit(0)
    inputs = trainer.viewer(visit.index, visit.view)
    trainer.step()
    inputs = inputs.reshape(16, -1) / 16
    network.train(mode=statistics == "batch")
    torch.testing.assert_close(said[0], network(inputs).detach(), rtol=0, atol=1e-4)


class Candidate:
    """As much of a trainer as `Best` looks at."""

    def __init__(self, members=()):
        self.members, self.device, self.table = members, "cpu", None
        self.configs = (small(),)
        self.network = nn.Linear(1, 1, bias=False)
        self.network.weight = nn.Parameter(torch.zeros(*members, 1, 1))


def test_of_equal_epochs_the_earlier_is_best():
    trainer = Candidate()
    best = Best(trainer)
    for epoch, accuracy in enumerate([0.2, 0.5, 0.5, 0.4], 1):
        nn.init.constant_(trainer.network.weight, epoch)
        best.offer(torch.tensor(accuracy), torch.full((3,), float(epoch)), epoch=epoch)
    assert (int(best.epoch), float(best.accuracy)) == (2, 0.5)
    assert float(best.held["network.weight"]) == 2
    assert best.held["test_logits"].tolist() == [2, 2, 2]


def test_each_member_has_its_own_best_epoch():
    trainer = Candidate((2,))
    best = Best(trainer)
    for epoch, accuracy in enumerate([[0.0, 0.5], [0.5, 0.5], [0.1, 0.6]], 1):
        nn.init.constant_(trainer.network.weight, epoch)
        best.offer(torch.tensor(accuracy), torch.full((2, 3), float(epoch)), epoch=epoch)
    assert best.epoch.tolist() == [2, 3]
    assert best.held["network.weight"].flatten().tolist() == [2, 3]
    again = Best(Candidate((2,)))
    again.load(best.tensors())
    assert_same(again.tensors(), best.tensors())


def test_the_table_that_teaches_is_that_of_the_best_epoch():
    config = replace(small(epochs=6), keeps=Keeps(table=FilterTable(smoothing=0.3)))
    tables, accuracy = [], []

    def watch(trainer):
        if trainer.plan.ends_epoch(trainer.updates - 1):
            tables.append(trainer.table.read(trainer.data.train.labels).clone())
            held = trainer.data.validation
            right = trainer.logits(held).argmax(-1) == held.labels
            accuracy.append(float(right.double().mean()))

    done = Runner(watch=watch).run(config)
    first = accuracy.index(max(accuracy))
    assert done.measures["best"]["epoch"] == first + 1
    torch.testing.assert_close(done.table("best"), tables[first], rtol=0, atol=0)
    torch.testing.assert_close(done.table("last"), tables[-1], rtol=0, atol=0)
    assert math.isclose(accuracy[first], done.arrays["history/validation_accuracy"].max())


def test_without_held_out_samples_only_the_last_table_is_there():
    done = Runner().run(teacher(FilterTable(), recipe_options={"validation": 0.0}, epochs=1))
    assert done.table("last").shape == (96, 10)
    with pytest.raises(ValueError, match="stop must be one of 'last' for a teacher without"):
        done.table("best")
    with pytest.raises(ValueError, match=r"must have kept its best; it has tables\.safetensors, w"):
        done.state("best")
