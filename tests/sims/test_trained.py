"""What a context trains is what the loop trains, from the context's own data."""

from dataclasses import replace

import numpy as np

from deep.data.spec import DataSpec
from deep.models import spec
from deep.training.fixed_targets import loop
from deep.training.fixed_targets.config import RunConfig, Supervision
from sims.context import Context

TEACHER = RunConfig(
    model=spec("mlp", width=6), data=DataSpec(samples=30, test_samples=10), stream="teacher"
)
STUDENT = replace(
    TEACHER,
    stream="student",
    teacher=TEACHER,
    student_init="teacher",
    supervision=Supervision(kind="teacher", temperature=2.0),
)


def test_a_network_and_its_teacher_are_those_of_the_loop(monkeypatch):
    want = {name: loop.train(run) for name, run in (("t", TEACHER), ("s", STUDENT))}
    calls = []

    def train(config, **more):
        calls.append(config.stream)
        return original(config, **more)

    original = loop.train
    monkeypatch.setattr(loop, "train", train)
    with Context.plain() as context:
        student, teacher, again = (context.trained(run) for run in (STUDENT, TEACHER, STUDENT))
    assert calls == ["teacher", "student"]
    assert again is student
    for got, wanted in ((student, want["s"]), (teacher, want["t"])):
        np.testing.assert_array_equal(got.train_logits, wanted.train_logits)
        np.testing.assert_array_equal(got.test_logits, wanted.test_logits)
        for name, weights in wanted.weights.items():
            np.testing.assert_array_equal(got.weights[name], weights)
    assert not np.array_equal(student.train_logits, teacher.train_logits)
