"""Train many small networks in one step: a leading axis for seeds and supervisions.

The forward and backward passes are written out in batched products, and one optimizer steps the
stacked weights. Each member sees its own batches, targets and temperature, and its numbers are
those of `deep.training.fixed_targets.loop.train` up to the rounding of the products.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from deep.losses import temperature_factor
from deep.training.fixed_targets.config import RunConfig
from deep.training.fixed_targets.loop import (
    Recorder,
    Run,
    Trained,
    batch_rows,
    train,
)
from deep.training.fixed_targets.task import Task, make_task
from deep.training.optimizers import Stepper
from theory import checks

PROBE_STEPS = 2


def train_together(
    configs: Sequence[RunConfig],
    *,
    teachers: Sequence[Trained | None] | None = None,
    tasks: Sequence[Task] | None = None,
    recorders: Sequence[Recorder] = (),
    strategy: str = "auto",
    root: Path | str | None = None,
    device: str = "cpu",
) -> list[Trained]:
    """Train all ``configs``, which may differ in seeds, data, supervision and streams only.

    Args:
        configs: The members; model, optimizer, epochs, precision and number of samples agree.
        teachers: The trained teacher of each member, or None where it needs none; trained here, one
            after another, if not given.
        tasks: The arrays of each member's data, if the caller has them, which may then be of no
            image set; read here otherwise.
        recorders: Called before the first update and after every update, with the weights of all
            members stacked: a leading axis in the order of ``configs``.
        strategy: ``"batched"``: all members in one step; ``"loop"``: one step of each in turn;
            ``"auto"``: whichever a probe of a few steps finds faster. The two agree up to rounding.
        root: Folder of the image sets; STILLROOM_DATA if None.
        device: A torch device.

    Raises:
        ValueError: If the members differ in more than they may, or a loss is not finite.

    >>> from deep.models import spec
    >>> from deep.data.spec import DataSpec
    >>> configs = [
    ...     RunConfig(model=spec("mlp", width=8), data=DataSpec(samples=32), epochs=2, seed=seed)
    ...     for seed in range(3)
    ... ]
    >>> [trained.train_logits.shape for trained in train_together(configs)]
    [(32, 10), (32, 10), (32, 10)]
    """
    checks.choice("strategy", strategy, ("auto", "batched", "loop"))
    _require_alike(configs)
    if tasks is None:
        read = {spec: make_task(spec, root=root) for spec in {config.data for config in configs}}
        tasks = [read[config.data] for config in configs]
    _require_one_each("tasks", tasks, configs)
    if teachers is None:
        pairs = zip(configs, tasks, strict=True)
        teachers = [_teacher(config, task, device) for config, task in pairs]
    _require_one_each("teachers", teachers, configs)
    runs = [
        Run(config, task, teacher, device=device)
        for config, task, teacher in zip(configs, tasks, teachers, strict=True)
    ]
    if len({len(run.inputs) for run in runs}) > 1:
        msg = f"members must have equally many samples, got {[len(run.inputs) for run in runs]}"
        raise ValueError(msg)
    stepper: _Batched | _InTurn
    if strategy == "loop" or runs[0].network.dense_chain() is None:
        stepper = _InTurn(runs)
    elif strategy == "batched" or _batching_pays(runs):
        stepper = _Batched(runs)
    else:
        stepper = _InTurn(runs)
    if isinstance(stepper, _InTurn) and not recorders:
        # a wide network stays in the cache while it trains alone
        return [run.complete() for run in runs]
    return _drive(runs, stepper, recorders)


def _teacher(config: RunConfig, task: Task, device: str) -> Trained | None:
    if config.teacher is None or not config.supervision.needs_teacher:
        return None
    return train(config.teacher, task=task, device=device)


def _require_one_each(name: str, given: Sequence[object], configs: Sequence[RunConfig]) -> None:
    if len(given) != len(configs):
        msg = f"{name} must be one for each of {len(configs)} members, got {len(given)}"
        raise ValueError(msg)


def _require_alike(configs: Sequence[RunConfig]) -> None:
    if not configs:
        msg = "configs must hold at least one run, got none"
        raise ValueError(msg)
    for name in ("model", "optimizer", "epochs", "precision"):
        values = {getattr(config, name) for config in configs}
        if len(values) > 1:
            listed = ", ".join(sorted(map(str, values)))
            msg = f"members must agree in {name}, got {listed}"
            raise ValueError(msg)


def _drive(
    runs: Sequence[Run], stepper: "_Batched | _InTurn", recorders: Sequence[Recorder]
) -> list[Trained]:
    for recorder in recorders:
        recorder(0, stepper.weights)
    epochs: list[Tensor] = []
    for epoch in range(runs[0].config.epochs):
        losses = []
        for rows in _stacked_rows(runs, epoch):
            losses.append(stepper.step(rows))
            for recorder in recorders:
                recorder(stepper.updates, stepper.weights)
        epochs.append(torch.cat(losses, dim=1).mean(dim=1))
    stepper.hand_over()
    return [run.finish([epoch[member] for epoch in epochs]) for member, run in enumerate(runs)]


def _stacked_rows(runs: Sequence[Run], epoch: int) -> Iterator[Tensor]:
    """Rows of every member, shape (members, batch), batch after batch."""
    orders = [batch_rows(run.config, len(run.inputs), epoch) for run in runs]
    for batch in zip(*orders, strict=True):
        yield torch.from_numpy(np.stack(batch)).to(runs[0].inputs.device)


def _batching_pays(runs: Sequence[Run]) -> bool:
    """Time a few steps of both ways from the start, and go back to it."""
    rows = next(_stacked_rows(runs, 0))
    start = [{name: value.detach().clone() for name, value in run.weights.items()} for run in runs]
    batched, in_turn = (_fastest(stepper, rows) for stepper in (_Batched(runs), _InTurn(runs)))
    for run, weights in zip(runs, start, strict=True):
        run.restart(weights)
    return batched < in_turn


def _fastest(stepper: "_Batched | _InTurn", rows: Tensor) -> float:
    """Seconds of the fastest of a few steps."""
    stepper.step(rows)  # the first one allocates
    seconds = []
    for _ in range(PROBE_STEPS):
        begin = time.perf_counter()
        float(stepper.step(rows).sum())  # waits for the device
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


class _InTurn:
    """One step of each member in turn."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = runs
        self.weights: Mapping[str, Tensor] = _StackedOnDemand(runs)

    @property
    def updates(self) -> int:
        return self.runs[0].updates

    def step(self, rows: Tensor) -> Tensor:
        pairs = zip(self.runs, rows, strict=True)
        return torch.stack([run.step(own) for run, own in pairs])

    def hand_over(self) -> None:
        """Nothing to do: the members hold their own weights."""


class _StackedOnDemand(Mapping[str, Tensor]):
    """Weights of all members, stacked only where a recorder asks."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = runs

    def __getitem__(self, name: str) -> Tensor:
        return torch.stack([run.weights[name].detach() for run in self._runs])

    def __iter__(self) -> Iterator[str]:
        return iter(self._runs[0].weights)

    def __len__(self) -> int:
        return len(self._runs[0].weights)


class _Batched:
    """All members in one step, by hand-written batched products."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs, self.updates = runs, 0
        first = runs[0]
        self.weights: dict[str, Tensor] = {
            name: torch.stack([run.weights[name].detach() for run in runs])
            for name in first.weights
        }
        chain = first.network.dense_chain() or ()
        self.layers = [
            (self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias")) for name in chain
        ]
        self.stepper = Stepper(first.config.optimizer, list(self.weights.values()))
        # members on the same samples and frozen part share one copy of their inputs
        self.shared = all(torch.equal(run.inputs, first.inputs) for run in runs[1:])
        self.inputs = first.inputs if self.shared else torch.stack([run.inputs for run in runs])
        self.targets = torch.stack([run.targets for run in runs])
        # a batch of all samples is taken as it lies: its order changes roundings only
        optimizer = first.config.optimizer
        self.everything = optimizer.name == "gd" or optimizer.batch >= len(first.inputs)
        supervisions = [run.config.supervision for run in runs]
        factors = [temperature_factor(each.factor, each.temperature) for each in supervisions]
        self.temperature = self._column([each.temperature for each in supervisions])
        self.factor = self._column(factors)

    def _column(self, values: Sequence[float]) -> Tensor:
        like = self.targets
        return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None, None]

    @torch.no_grad()
    def step(self, rows: Tensor) -> Tensor:
        inputs, targets = self._batch(rows)
        hidden = [inputs]
        for weight, bias in self.layers[:-1]:
            hidden.append(_affine(hidden[-1], weight, bias).relu_())
        logits = _affine(hidden[-1], *self.layers[-1]).div_(self.temperature)
        log_probabilities = torch.log_softmax(logits, dim=-1)
        losses = -self.factor[:, 0] * (targets * log_probabilities).sum(-1)
        scale = self.factor / (self.temperature * rows.shape[1])
        slope = (log_probabilities.exp() - targets).mul_(scale)  # d mean loss / d logits
        gradients: dict[int, Tensor] = {}
        for number in reversed(range(len(self.layers))):
            weight, bias = self.layers[number]
            gradients[id(weight)] = _outer(slope, hidden[number])
            if bias is not None:
                gradients[id(bias)] = slope.sum(dim=1)
            if number:
                slope = torch.bmm(slope, weight).mul_(hidden[number] > 0)
        self.stepper.step([gradients[id(weight)] for weight in self.weights.values()])
        self.updates += 1
        return losses

    def _batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (members, batch, d), or (batch, d) if they are the same for all, and targets."""
        if self.everything:
            return self.inputs, self.targets
        members = torch.arange(len(rows), device=rows.device)[:, None]
        inputs = self.inputs[rows] if self.shared else self.inputs[members, rows]
        return inputs, self.targets[members, rows]

    def hand_over(self) -> None:
        """Give the members their weights."""
        with torch.no_grad():
            for name, stacked in self.weights.items():
                for run, own in zip(self.runs, stacked, strict=True):
                    run.weights[name].copy_(own)


def _affine(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Inputs (members, n, d), or (n, d) for all, through layers (members, h, d)."""
    if inputs.ndim == 2:  # one wide product is much faster than many narrow ones
        members, outputs, _ = weight.shape
        wide = inputs @ weight.flatten(0, 1).T
        outcome = wide.view(len(inputs), members, outputs).transpose(0, 1)
        return outcome if bias is None else outcome + bias[:, None, :]
    if bias is None:
        return torch.bmm(inputs, weight.transpose(1, 2))
    return torch.baddbmm(bias[:, None, :], inputs, weight.transpose(1, 2))


def _outer(slope: Tensor, inputs: Tensor) -> Tensor:
    """Gradient of weights (members, h, d): the sum over samples of slope and inputs."""
    if inputs.ndim == 2:
        wide = slope.transpose(1, 2).flatten(0, 1) @ inputs
        return wide.view(len(slope), slope.shape[2], inputs.shape[1])
    return torch.bmm(slope.transpose(1, 2), inputs)
