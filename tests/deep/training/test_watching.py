import math
import sys
import time
from types import SimpleNamespace

import pytest
import torch

from deep.training.watching import Moment, Progress, TensorBoard, each


class Fake:
    """As much of a trainer as a watch looks at: 10 steps an epoch."""

    def __init__(self, *, steps=30, updates=0, members=1):
        self.configs = tuple(SimpleNamespace(seed=seed) for seed in range(members))
        self.members = members
        self.updates = updates
        self.plan = SimpleNamespace(
            steps=steps,
            per_epoch=10,
            epochs=-(-steps // 10),
            ends_epoch=lambda step: (step + 1) % 10 == 0 or step + 1 == steps,
        )
        self.course = self
        self.asked = 0

    @property
    def epochs(self):
        whole = self.updates // 10
        return whole + (self.updates == self.plan.steps and self.updates % 10 > 0)

    def history(self):
        self.asked += 1
        shape = (self.epochs, self.members) if self.members > 1 else (self.epochs,)
        steps = torch.arange(1.0, self.epochs + 1).reshape(-1, *[1] * (len(shape) - 1))
        return {"train_loss": (1 / steps).expand(shape), "test_accuracy": torch.full(shape, 0.5)}

    def run(self, watch, until=None, tick=lambda: None):
        for _ in range((until or self.plan.steps) - self.updates):
            self.updates += 1
            tick()
            watch(self)


def watched(trainer, *, interval=0.0, **options):
    """Moments of a run of which every step takes a second."""
    clock, moments = [0.0], []
    progress = Progress(moments.append, interval=interval, clock=lambda: clock[0])

    def tick():
        clock[0] += 1

    trainer.run(progress, tick=tick, **options)
    return moments


def test_a_moment_says_how_far_a_run_is():
    moments = watched(Fake())
    assert [moment.step for moment in moments] == list(range(1, 31))
    assert [moment.epoch for moment in moments] == [1] * 10 + [2] * 10 + [3] * 10
    assert moments[8].numbers == {}
    assert moments[9].numbers == {"train_loss": 1.0, "test_accuracy": 0.5}
    assert moments[19].numbers["train_loss"] == 0.5
    assert math.isnan(moments[0].seconds_left)
    assert [moment.seconds_left for moment in moments[1:]] == list(range(28, -1, -1))
    assert [moment.done for moment in moments] == [False] * 29 + [True]


def test_the_time_left_counts_from_where_a_run_goes_on():
    moments = watched(Fake(updates=20))
    assert moments[0].step == 21
    assert moments[-2].seconds_left == 1
    assert moments[0].numbers["train_loss"] == 0.5  # of the epochs before


def test_moments_are_told_seldom_but_the_first_and_the_last():
    trainer = Fake()
    assert [moment.step for moment in watched(trainer, interval=7.0)] == [1, 8, 15, 22, 29, 30]
    assert trainer.asked == 3  # epochs that ended between two moments


def test_the_next_run_begins_anew():
    moments = []
    progress = Progress(moments.append, interval=1e9)
    first, second = Fake(), Fake(steps=20)
    first.run(progress)
    second.run(progress)
    assert [(m.step, m.steps) for m in moments] == [(1, 30), (30, 30), (1, 20), (20, 20)]
    assert moments[2].numbers == {}


def test_runs_that_train_together_show_their_mean():
    (*_, last) = watched(Fake(members=3))
    assert last.numbers == {"train_loss": pytest.approx(1 / 3), "test_accuracy": 0.5}
    assert len(last.configs) == 3


def test_an_interval_must_be_a_number():
    with pytest.raises(ValueError, match="interval must be >= 0"):
        Progress(print, interval=-1)


def test_most_steps_cost_nearly_nothing():
    trainer = Fake(steps=10**6)
    watch = each(Progress(lambda moment: None, interval=1e9))
    trainer.run(watch, until=1)
    trainer.updates = 5
    best = min(_seconds(watch, trainer) for _ in range(5))
    assert best / 2000 < 5e-6


def _seconds(watch, trainer):
    begin = time.perf_counter()
    for _ in range(2000):
        watch(trainer)
    return time.perf_counter() - begin


def test_each_calls_all():
    seen = []
    each(lambda t: seen.append(("a", t)), lambda t: seen.append(("b", t)))("trainer")
    assert seen == [("a", "trainer"), ("b", "trainer")]


def test_a_moment_is_done_at_its_last_step():
    assert Moment((), 5, 5, 1, 1, {}, 0.0).done
    assert not Moment((), 4, 5, 1, 1, {}, 0.0).done


class Writer:
    """Stands for TensorBoard's."""

    made = ()

    def __init__(self, folder, purge_step=None):
        self.folder, self.purge_step = folder, purge_step
        self.scalars, self.closed = [], False
        Writer.made = (*Writer.made, self)

    def add_scalar(self, name, value, step):
        self.scalars.append((name, round(value, 4), step))

    def flush(self):
        assert not self.closed

    def close(self):
        self.closed = True


@pytest.fixture
def writers(monkeypatch):
    fake = SimpleNamespace(SummaryWriter=Writer)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    monkeypatch.setattr(Writer, "made", ())
    return lambda: Writer.made


def test_tensorboard_is_given_every_epoch_once(writers, tmp_path):
    board = TensorBoard(tmp_path, lambda config: f"run-{config.seed}")
    trainer = Fake(steps=25)
    trainer.run(board)
    (writer,) = writers()
    assert writer.folder == str(tmp_path / "run-0")
    losses = [(value, step) for name, value, step in writer.scalars if name == "train_loss"]
    assert losses == [(1.0, 1), (0.5, 2), (0.3333, 3)]
    assert trainer.asked == 3
    board.close()
    assert writer.closed


@pytest.mark.parametrize(("updates", "first"), [(12, 2), (19, 2), (20, 3), (0, 1), (9, 1)])
def test_a_run_that_goes_on_replaces_only_what_it_trains_again(writers, tmp_path, updates, first):
    board = TensorBoard(tmp_path, lambda config: "run")
    Fake(updates=updates).run(board)
    (writer,) = writers()
    assert writer.purge_step == first
    assert sorted({step for _, _, step in writer.scalars}) == list(range(first, 4))


def test_members_and_runs_have_a_folder_each(writers, tmp_path):
    board = TensorBoard(tmp_path, lambda config: f"seed{config.seed}")
    Fake(members=2).run(board)
    Fake(steps=10).run(board)
    assert [writer.folder[-5:] for writer in writers()] == ["seed0", "seed1", "seed0"]
    assert [writer.closed for writer in writers()] == [True, True, False]
    assert writers()[0].scalars == writers()[1].scalars != []


def test_without_tensorboard_it_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match=r"pip install 'stillroom\[tensorboard\]'"):
        TensorBoard(tmp_path, str)
