"""Ten training schemes carried out on anything that learns: a network, or its linearization.

What learns is a `Learner`: several members side by side, each with its own scheme. Students need
what their teachers have put out, so the schemes are carried out in three stages.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from sims.predictions import Lengths, names

STAGES: tuple[tuple[str, ...], ...] = (
    ("labels", "smoothing", "memory_replay"),
    (
        "student",
        "late_student",
        "filter_kd",
        "distill_then_labels",
        "labels_then_distill",
        "mixed",
    ),
    ("generations",),
)
"""Schemes by what they need: labels only, a teacher, a student as teacher."""


class Learner(Protocol):
    """Members that are trained side by side from the same start, each towards its own targets."""

    def outputs(self) -> Tensor:
        """On the training inputs, counted from the start, shape (members, n, K)."""

    def test_outputs(self) -> Tensor:
        """On the test inputs, likewise."""

    def push(self, residuals: Tensor) -> None:
        """One step of descent; ``residuals`` (members, n, K) are outputs less targets."""


@dataclass(slots=True)
class Schemes:
    """What the schemes are trained on, and the teachers that have been recorded so far."""

    lengths: Lengths
    labels: Tensor
    """One-hot rows, shape (n, K)."""
    cross_entropy: bool = False
    """Whether targets and outputs are compared as probabilities."""
    teachers: dict[str, Tensor] = field(default_factory=dict)

    def carry_out(
        self,
        make: Callable[[int], Learner],
        reads: Sequence[int],
        *,
        together: bool,
        among: Collection[str] | None = None,
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Training and test outputs of every scheme at the steps ``reads``.

        Args:
            make: Gives so many members at their common start.
            reads: Steps at which outputs are read, ascending.
            together: Train the schemes of a stage side by side, or one after another.
            among: The schemes to carry out, those that teach them included; None for all.

        Returns:
            For each scheme the training outputs (reads, n, K) and the test outputs.
        """
        found: dict[str, tuple[Tensor, Tensor]] = {}
        wanted = names() if among is None else among
        for every in STAGES:
            stage = tuple(name for name in every if name in wanted)
            groups = [stage] if together and stage else [(name,) for name in stage]
            for group in groups:
                found |= self._train(make(len(group)), group, reads)
        return {name: found[name] for name in names() if name in found}

    def _train(
        self, learner: Learner, group: Sequence[str], reads: Sequence[int]
    ) -> dict[str, tuple[Tensor, Tensor]]:
        train, test = [], []
        copies: Tensor | None = None
        for step in range(self.lengths.steps + 1):
            outputs = learner.outputs()
            if step in reads:
                train.append(outputs.clone())
                test.append(learner.test_outputs())
            views = torch.softmax(outputs, dim=-1) if self.cross_entropy else outputs
            self._record(step, group, views)
            if step == self.lengths.steps:
                break
            if step % self.lengths.interval == 0:
                copies = views.clone()
            targets = [
                self._target(name, step, copies if copies is None else copies[member])
                for member, name in enumerate(group)
            ]
            learner.push(views - torch.stack(targets))
        return {
            name: (torch.stack([t[k] for t in train]), torch.stack([t[k] for t in test]))
            for k, name in enumerate(group)
        }

    def _record(self, step: int, group: Sequence[str], views: Tensor) -> None:
        """Keep what later stages are taught with."""
        long = self.lengths
        for name, teacher in (("labels", "teacher"), ("student", "second")):
            if name in group and step == long.teacher:
                self.teachers[teacher] = views[group.index(name)].clone()
        if "labels" not in group:
            return
        own = views[group.index("labels")]
        if step == long.late:
            self.teachers["late"] = own.clone()
        if step == 0:
            self.teachers["average"] = own.clone()
        elif step < long.steps:  # the average takes in what stood before each step
            self.teachers["average"].lerp_(own, long.smoothing)

    def _target(self, name: str, step: int, copy: Tensor | None) -> Tensor:
        long, labels, teachers = self.lengths, self.labels, self.teachers
        if name == "smoothing":
            return (1 - long.epsilon) * labels + long.epsilon / labels.shape[1]
        if name == "memory_replay":
            return torch.lerp(labels, labels if copy is None else copy, long.copy_weight)
        if name == "mixed":
            return torch.lerp(teachers["teacher"], labels, long.label_weight)
        if name in ("distill_then_labels", "labels_then_distill"):
            taught = (step < long.switch) == (name == "distill_then_labels")
            return teachers["teacher"] if taught else labels
        source = {
            "student": "teacher",
            "late_student": "late",
            "generations": "second",
            "filter_kd": "average",
        }
        return teachers[source[name]] if name in source else labels


def conditions(lengths: Lengths, reads: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Numbers of scheme and of read without repeats: before it switches, a scheme is another."""
    for scheme, name in enumerate(names()):
        for place, step in enumerate(reads):
            switches = name in ("distill_then_labels", "labels_then_distill")
            if not (switches and step <= lengths.switch):
                yield scheme, place
