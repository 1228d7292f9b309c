"""The course of a run against what its steps said."""

import numpy as np
import pytest
import torch

from deep.training.course import Course
from deep.training.streams import stream
from tests.deep.training.small_runs import assert_same, small, stepped, trainer_of


def batches(epochs, samples, classes, members=(), batch=7):
    """Random steps, epoch by epoch: indices, labels, logits and losses of each."""
    rng = stream("course of a test", epochs, samples)
    for _ in range(epochs):
        order = rng.random((*members, samples)).argsort(-1)
        steps = []
        for start in range(0, samples, batch):
            index = order[..., start : start + batch]
            labels = rng.integers(classes, size=index.shape)
            logits = rng.standard_normal((*index.shape, classes), dtype=np.float32)
            losses = rng.random(index.shape, dtype=np.float32)
            steps.append(tuple(map(torch.from_numpy, (index, labels, logits, losses))))
        yield steps


@pytest.mark.parametrize("members", [(), (3,)])
def test_samples_are_found_where_they_were_left(members):
    rows = torch.tensor([4, 1, 17])
    course = Course(members, 20, 5, rows=rows)
    want = []
    for number, epoch in enumerate(batches(2, 20, 5, members)):
        for index, labels, logits, losses in epoch:
            course.add(index, labels, logits, losses, {"odd": labels % 2 == 1})
        course.end_epoch({"number": torch.full(members, float(number))})
        parts = [torch.cat(part, 1 if members else 0) for part in zip(*epoch, strict=True)]
        index, labels, logits, losses = parts
        back = index.argsort(-1)
        p = torch.softmax(logits, -1).gather(-2, back[..., None].expand(*members, 20, 5))
        y = labels.gather(-1, back)
        want.append((p, y, losses.double().mean(-1)))
    found, history = course.trajectories(), course.history()
    for epoch, (p, y, loss) in enumerate(want):
        confidence, prediction = p.max(-1)
        assert torch.equal(found["confidence"][epoch], confidence.half())
        assert torch.equal(found["prediction"][epoch], prediction.short())
        label = p.gather(-1, y[..., None])[..., 0]
        assert torch.equal(found["label_probability"][epoch], label.half())
        assert found["visited"][epoch].all()
        assert torch.equal(found["probabilities"][epoch], p[..., rows, :])
        torch.testing.assert_close(history["train_loss"][epoch], loss)
        right = (prediction == y).double().mean(-1)
        torch.testing.assert_close(history["train_accuracy"][epoch], right)
        assert torch.equal(history["odd"][epoch], (y % 2 == 1).sum(-1).double())
        assert torch.equal(history["number"][epoch], torch.full(members, float(epoch)).double())


def test_what_an_epoch_does_not_visit_is_marked_and_zero():
    course = Course((), 4, 3, rows=torch.tensor([0, 3]))
    ones = torch.ones(2, dtype=torch.int64)
    for index in (torch.tensor([0, 1]), torch.tensor([2, 3])):
        course.add(index, ones, torch.zeros(2, 3), torch.zeros(2))
        course.end_epoch({})
    found = course.trajectories()
    assert found["visited"].tolist() == [[True, True, False, False], [False, False, True, True]]
    assert (found["confidence"][~found["visited"]] == 0).all()
    assert found["probabilities"].sum(-1).tolist() == [[1, 0], [0, 1]]


def test_a_loss_of_a_whole_batch_counts_for_each_of_its_samples():
    course = Course((), 6, 2)
    for size, loss in ((4, 1.0), (2, 4.0)):
        labels = torch.zeros(size, dtype=torch.int64)
        course.add(torch.arange(size), labels, torch.zeros(size, 2), torch.tensor(loss))
    course.end_epoch({})
    assert course.history()["train_loss"].tolist() == [2.0]
    assert "probabilities" not in course.trajectories()


@pytest.mark.parametrize("stop", [0, 1, 3, 4])
def test_it_is_taken_up_where_it_was(stop):
    def filled(course, steps):
        for number, step in enumerate(steps):
            course.add(*step)
            if number % 3 == 2:
                course.end_epoch({"n": torch.tensor(float(number))})
        return course

    steps = [step for epoch in batches(2, 20, 5) for step in epoch]
    rows = torch.arange(3)
    whole = filled(Course((), 20, 5, rows=rows), steps)
    first = filled(Course((), 20, 5, rows=rows), steps[:stop])
    again = Course((), 20, 5, rows=rows)
    again.load({name: value.clone() for name, value in first.tensors().items()})
    for number, step in enumerate(steps[stop:], stop):
        again.add(*step)
        if number % 3 == 2:
            again.end_epoch({"n": torch.tensor(float(number))})
    assert again.epochs == whole.epochs == 2
    assert_same(again.tensors(), whole.tensors())
    assert_same(again.history(), whole.history())


def test_the_course_of_a_run_is_what_its_steps_return():
    trainer = trainer_of(small("kd", epochs=2))
    losses = [trainer.step() for _ in range(12)]
    history = trainer.course.history()
    want = [float(torch.cat(losses[i : i + 6]).double().mean()) for i in (0, 6)]
    np.testing.assert_allclose(history["train_loss"], want, rtol=1e-6)
    labels = trainer.data.train.labels
    found = trainer.course.trajectories()
    right = (found["prediction"] == labels).double().mean(-1)
    np.testing.assert_allclose(history["train_accuracy"], right)
    test = trainer.data.test
    accuracy = (trainer.logits(test).argmax(-1) == test.labels).double().mean()
    assert float(history["test_accuracy"][-1]) == pytest.approx(float(accuracy))
    counts = history["regularization_samples"]
    assert ((counts >= 0) & (counts <= len(labels))).all()


def test_the_rate_of_the_last_update_of_each_epoch_is_kept():
    trainer = stepped(trainer_of(small()))
    want = [trainer.configs[0].recipe.learning_rate(step, 86) for step in (5, 11, 17)]
    np.testing.assert_allclose(trainer.course.history()["learning_rate"], want, rtol=1e-6)
