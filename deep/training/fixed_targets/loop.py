"""Train one network: the plain loop that everything else is checked against."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deep import models
from deep.losses import tempered_cross_entropy
from deep.models.network import Network
from deep.training.fixed_targets.config import RunConfig
from deep.training.fixed_targets.task import Array, Task, make_targets, make_task
from deep.training.optimizers import Stepper
from deep.training.streams import stream

Recorder = Callable[[int, Mapping[str, Tensor]], None]
"""Called with the number of updates made, 0 before the first, and the trained weights by name."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a finished run leaves: weights, outputs and the course of the loss."""

    weights: dict[str, NDArray[np.floating]]
    """All weights and buffers by name, as torch's ``state_dict`` names them."""
    train_logits: Array
    """On the training samples, in the order of the task, shape (n, classes)."""
    test_logits: Array
    """On the test samples, shape (m, classes)."""
    history: dict[str, Array]
    """``loss``: mean training loss of each epoch, before each update, shape (epochs,)."""
    samples: str = ""
    """Digest of the training images in their order, which a student's must equal; "" if unknown."""


def train(
    config: RunConfig,
    *,
    teacher: Trained | None = None,
    recorders: Sequence[Recorder] = (),
    task: Task | None = None,
    root: Path | str | None = None,
    device: str = "cpu",
) -> Trained:
    """Train the network of ``config``, and its teacher first if it needs one.

    Args:
        config: The run.
        teacher: The trained ``config.teacher``, if the caller has it; trained here otherwise.
        recorders: Called before the first update and after every update.
        task: The arrays of ``config.data``, if the caller has them; read here otherwise.
        root: Folder of the image sets; STILLROOM_DATA if None.
        device: A torch device.

    Raises:
        ValueError: If the data are not there, the teacher was trained on other samples, or the loss
            is not finite.

    >>> from deep.data.spec import DataSpec
    >>> config = RunConfig(model=models.spec("mlp", width=8), data=DataSpec(samples=32), epochs=3)
    >>> train(config).train_logits.shape
    (32, 10)
    """
    task = task or make_task(config.data, root=root)
    if teacher is None and config.teacher is not None and config.supervision.needs_teacher:
        teacher = train(config.teacher, task=task, device=device)
    return Run(config, task, teacher, device=device).complete(recorders)


class Run:
    """A network under training: one `step` a batch."""

    def __init__(
        self, config: RunConfig, task: Task, teacher: Trained | None, *, device: str = "cpu"
    ) -> None:
        dtype = getattr(torch, config.precision)
        self.config, self.task = config, task
        self.updates = 0
        self.network = initial_network(config, task).to(device=device, dtype=dtype)
        self.weights = dict(self.network.named_parameters())
        self.stepper = Stepper(config.optimizer, list(self.weights.values()))
        with torch.no_grad():
            inputs = torch.from_numpy(task.train_inputs).to(device=device, dtype=dtype)
            self.inputs = self.network.frozen(inputs)
        targets = make_targets(
            config.supervision,
            task.train_labels,
            task.classes,
            _logits_of(teacher, task) if config.supervision.needs_teacher else None,
        )
        self.targets = torch.from_numpy(targets).to(device=device, dtype=dtype)

    def complete(self, recorders: Sequence[Recorder] = ()) -> Trained:
        """All epochs, with every recorder called at the start and after every update."""
        for recorder in recorders:
            recorder(0, self.weights)
        epochs = []
        for epoch in range(self.config.epochs):
            losses = []
            for rows in self.batches(epoch):
                losses.append(self.step(rows))
                for recorder in recorders:
                    recorder(self.updates, self.weights)
            epochs.append(torch.cat(losses).mean())
        return self.finish(epochs)

    def batches(self, epoch: int) -> list[Tensor]:
        """Rows of every batch of an epoch."""
        return [
            torch.from_numpy(rows).to(self.inputs.device)
            for rows in batch_rows(self.config, len(self.inputs), epoch)
        ]

    def step(self, rows: Tensor) -> Tensor:
        """One update on the samples of ``rows``; their losses before it, shape (batch,)."""
        supervision = self.config.supervision
        losses = tempered_cross_entropy(
            self.network.trained(self.inputs[rows]),
            self.targets[rows],
            temperature=supervision.temperature,
            factor=supervision.factor,
        )
        self.stepper.step(torch.autograd.grad(losses.mean(), list(self.weights.values())))
        self.updates += 1
        return losses.detach()

    @torch.no_grad()
    def restart(self, weights: Mapping[str, Tensor]) -> None:
        """Go back to ``weights`` before any update."""
        for name, value in weights.items():
            self.weights[name].copy_(value)
        self.stepper = Stepper(self.config.optimizer, list(self.weights.values()))
        self.updates = 0

    def finish(self, epochs: Sequence[Tensor]) -> Trained:
        """The record of the run, given the mean loss of each epoch."""
        losses = np.array([float(loss) for loss in epochs])
        with torch.no_grad():
            tests = torch.from_numpy(self.task.test_inputs).to(self.inputs)
            train_logits = as_array(self.network.trained(self.inputs))
            test_logits = as_array(self.network(tests))
        refuse_divergence(self.config, losses, train_logits)
        state = self.network.state_dict()
        weights = {name: value.detach().cpu().numpy().copy() for name, value in state.items()}
        history = {"loss": losses}
        return Trained(weights, train_logits, test_logits, history, self.task.digest())


def _logits_of(teacher: Trained | None, task: Task) -> Array | None:
    """The teacher's training logits.

    Raises:
        ValueError: If they are not those of the task's samples and classes.
    """
    if teacher is None:
        return None
    logits, wanted = teacher.train_logits, (len(task.train_labels), task.classes)
    if logits.shape != wanted:
        msg = (
            f"teacher must be trained on the same samples, with logits of shape {wanted}, "
            f"got {logits.shape}"
        )
        raise ValueError(msg)
    if teacher.samples and teacher.samples != task.digest():
        msg = "teacher must be trained on the same samples in the same order, got one of others"
        raise ValueError(msg)
    return logits


def initial_network(config: RunConfig, task: Task) -> Network:
    """The network of ``config`` at its initialization, float32 on the CPU."""
    return models.build(
        config.model,
        inputs=task.train_inputs.shape[1],
        classes=task.classes,
        rng=stream("initial weights", *config.init_key),
    )


def batch_rows(config: RunConfig, samples: int, epoch: int) -> list[NDArray[np.int64]]:
    """Rows of every batch of an epoch: a shuffle cut into batches, or all rows for ``"gd"``.

    >>> from deep.training.optimizers import Optimizer
    >>> config = RunConfig(model=models.spec("mlp"), optimizer=Optimizer(batch=4))
    >>> [len(rows) for rows in batch_rows(config, 10, epoch=0)]
    [4, 4, 2]
    """
    if config.optimizer.name == "gd":
        return [np.arange(samples)]
    order = stream("order", *config.order_key, epoch).permutation(samples)
    batch = config.optimizer.batch
    return [order[start : start + batch] for start in range(0, samples, batch)]


def refuse_divergence(config: RunConfig, losses: Array, logits: Array) -> None:
    """Raise ValueError unless the losses and the last logits are finite."""
    finite = np.append(np.isfinite(losses), np.isfinite(logits).all())
    if not finite.all():
        msg = (
            f"learning_rate must be small enough for {config.model.name} to train, with "
            f"{config.optimizer.learning_rate:g} it diverges in epoch {int(np.argmin(finite))}"
        )
        raise ValueError(msg)


def as_array(values: Tensor) -> Array:
    """A tensor as a float64 array."""
    return np.asarray(values.detach().cpu().numpy(), dtype=np.float64)
