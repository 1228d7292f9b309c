"""What a run leaves behind: weights, outputs, measures, and the course of every sample."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deep import models
from deep.data.prepared import Prepared, Split
from deep.models import ModelSpec
from deep.models.foreign import weights_digest
from deep.records.encoding import plain
from deep.records.store import Entry
from deep.records.trajectories import Trajectories
from deep.training.best import under
from deep.training.checkpoint import weights_bytes
from deep.training.evaluation import measure
from deep.training.memory import frozen_copy
from deep.training.trainer import Trainer
from theory.labels.filtering import early_for_filter

Arrays = dict[str, NDArray[Any]]
Parts = tuple[Arrays, dict[str, Any], dict[str, bytes]]
"""Arrays, record and files, as the store takes them."""
WEIGHTS = {"final": "weights", "best": "best", "average": "average"}
"""Files of weights, by what of a run teaches."""


class Diverged(ValueError):
    """Losses or outputs are no longer finite."""


@dataclass(frozen=True, eq=False)
class Finished:
    """A finished run: trained here, or imported with weights from elsewhere."""

    key: str
    arrays: Arrays
    """``history/...`` by epoch, ``trajectory/...`` by epoch and sample (`Trajectories`),
    ``test_logits``, ``train_logits``, ``validation_logits``, ``best_test_logits``, and labels."""
    record: dict[str, Any]
    """``config``, ``measures``, ``provenance``; ``table``: facts of its filtered tables, if any."""
    files: Mapping[str, bytes | Path] = field(repr=False)

    @classmethod
    def of(cls, entry: Entry) -> "Finished":
        """As it stands in the store."""
        return cls(entry.key, entry.arrays, entry.record, entry.files)

    @property
    def model(self) -> ModelSpec:
        """Its network."""
        held = self.record["config"]["model"]
        return ModelSpec(held["name"], tuple((name, value) for name, value in held["options"]))

    @property
    def normalization(self) -> str:
        """How its inputs are normalized."""
        return str(self.record["normalization"])

    @property
    def measures(self) -> dict[str, Any]:
        """``last``, ``best`` and ``best_test``, each with numbers by split."""
        return dict(self.record["measures"])

    def state(self, which: str = "final") -> dict[str, Tensor]:
        """Weights and buffers of ``"final"``, ``"best"`` or ``"average"``.

        Raises:
            ValueError: If the run kept no such weights.
        """
        return self._tensors(f"{WEIGHTS[which]}.safetensors", which)

    def table(self, stop: str = "best") -> Tensor:
        """The filtered table of the ``"best"`` epoch or the ``"last"``: (samples, classes).

        Raises:
            ValueError: If the run kept none.
        """
        tables = self._tensors("tables.safetensors", "filtered table")
        if stop not in tables:
            msg = (
                f"stop must be one of {', '.join(map(repr, tables))} for a teacher without a "
                f"validation split, got {stop!r}"
            )
            raise ValueError(msg)
        return tables[stop]

    def table_warning(self, stop: str = "best") -> str | None:
        """What to say before the table of ``stop`` teaches, if it is of doubtful use.

        Rows of samples that were never predicted are labels, and a table that was taken early
        still has much of its start (labels may teach better than it does).
        """
        facts = self.record.get("table", {}).get(stop)
        if not facts or not (facts["unseen"] or facts["early"]):
            return None
        parts = []
        if facts["unseen"]:
            share = facts["unseen"] / len(self.arrays["train_labels"])
            parts.append(f"{share:.1%} of its rows were never predicted and are smoothed labels")
        if facts["early"]:
            smoothing = self.record["config"]["keeps"]["table"]["smoothing"]
            parts.append(
                f"it is of epoch {facts['epoch']}, before 3/a = {3 / smoothing:.3g} epochs of its "
                f"filter (a = {smoothing:g}), and has much of its start; a larger smoothing or "
                "init='debias' has less"
            )
        return f"the filtered table that teaches is a weak one: {'; '.join(parts)}"

    def network(self, which: str, data: Prepared) -> nn.Module:
        """The network with the weights of `state`, on the CPU.

        Raises:
            ValueError: If it is one for other images, or other classes.
        """
        network = models.build(
            self.model, inputs=data.image, classes=data.classes, rng=np.random.default_rng(0)
        )
        held = self.state(which)
        for name, value in network.state_dict().items():
            if name not in held or held[name].shape != value.shape:
                came = tuple(held[name].shape) if name in held else "none"
                msg = (
                    f"teacher must be of the family {self.model.name!r} for {data.classes} classes "
                    f"and images of shape {data.image}, {name} of shape {tuple(value.shape)}, got "
                    f"{came}"
                )
                raise ValueError(msg)
        network.load_state_dict(held)
        return network

    def digest(self, which: str = "final") -> str:
        """What tells these weights from others."""
        return weights_digest(self.state(which))

    def _tensors(self, name: str, what: str) -> dict[str, Tensor]:
        held = self.files.get(name)
        if held is None:
            kept = ", ".join(sorted(self.files))
            msg = f"run {self.key[:12]} must have kept its {what}; it has {kept}"
            raise ValueError(msg)
        content = held if isinstance(held, bytes) else Path(held).read_bytes()
        return safetensors.torch.load(content)


def contents(
    trainer: Trainer,
    member: int,
    *,
    outputs: Mapping[str, Tensor],
    taught: Mapping[str, Tensor],
    provenance: Mapping[str, Any],
) -> Parts:
    """All that is stored of one member of a finished trainer.

    Args:
        trainer: After its last step.
        member: Number of the run among those that trained together.
        outputs: What `outputs_of` gives, once for all members.
        taught: The teacher's logits of plain images by split, where there is a teacher.
        provenance: Where the numbers come from.
    """
    data, config = trainer.data, trainer.configs[member]

    def pick(tensor: Tensor) -> Tensor:
        return tensor[member] if trainer.members else tensor

    last = {name: pick(value) for name, value in outputs.items()}
    history = {
        name: value[:, member] if trainer.members else value
        for name, value in trainer.course.history().items()
    }
    _refuse_divergence(config.recipe.optimizer.learning_rate, history, last)
    arrays = {
        **{name: _array(value) for name, value in last.items()},
        **{f"history/{name}": _array(value) for name, value in history.items()},
        **_trajectories(trainer, member).to_arrays(),
        **_labels(data),
    }
    temperature = getattr(trainer.hyper, "temperature", None) or 1.0
    measures: dict[str, Any] = {
        "last": {
            split: _measured(last[f"{split}_logits"], part, taught.get(split), temperature)
            for split, part in _splits(data).items()
            if f"{split}_logits" in last
        },
        "best_test": _best_test(history),
    }
    files = {"weights.safetensors": weights_bytes(_state(trainer, trainer.network, member))}
    best_epoch = int(pick(trainer.best.epoch)) if data.validation is not None else 0
    if best_epoch:
        held = {name: pick(value) for name, value in trainer.best.held.items()}
        arrays["best_test_logits"] = _array(held["test_logits"])
        reported = _best_outputs(trainer) if config.recipe.select == "best" else {}
        logits = {name: pick(value) for name, value in reported.items()} | {
            "test_logits": held["test_logits"]
        }
        measures["best"] = {
            "epoch": best_epoch,
            **{
                split: _measured(logits[f"{split}_logits"], part, taught.get(split), temperature)
                for split, part in _splits(data).items()
                if f"{split}_logits" in logits
            },
        }
        files["best.safetensors"] = weights_bytes(_best_state(trainer, member))
    if trainer.kept_average is not None:
        files["average.safetensors"] = weights_bytes(
            _state(trainer, trainer.kept_average.network, member)
        )
    if trainer.table is not None:
        tables = {"last": pick(trainer.table.read(data.train.labels))}
        if best_epoch:
            tables["best"] = pick(trainer.best.held["table"])
        files["tables.safetensors"] = weights_bytes(tables)
    record = {
        "config": plain(config),
        "hyper": plain(trainer.hyper),
        "normalization": config.recipe.normalization,
        "steps": trainer.plan.steps,
        "epochs": trainer.course.epochs,
        "class_names": list(data.class_names),
        "trained_with": len(trainer.configs) - 1,
        "measures": measures,
        "table": _table_facts(trainer, member, best_epoch),
        "selected": config.recipe.select,
        "headline": _headline(measures, config.recipe.select),
        "provenance": dict(provenance),
    }
    return arrays, record, files


def _table_facts(trainer: Trainer, member: int, best_epoch: int) -> dict[str, Any]:
    """Of the filtered tables: epoch, rows without a prediction, whether too early for the filter.

    It is too early before 3/a epochs, while the start of the table, if it has one, still weighs
    more than e^-3.
    """
    table = trainer.table
    if table is None:
        return {}

    def facts(epoch: int, unseen: Tensor) -> dict[str, Any]:
        rows = int(unseen[member] if trainer.members else unseen)
        started = table.rule.init != "debias"
        early = started and early_for_filter(epoch, table.rule.smoothing)
        return {"epoch": epoch, "unseen": rows, "early": early}

    found = {"last": facts(trainer.course.epochs, (table.visits == 0).sum(-1))}
    if best_epoch:
        found["best"] = facts(best_epoch, trainer.best.held["unseen"])
    return found


def outputs_of(trainer: Trainer, network: nn.Module | None = None) -> dict[str, Tensor]:
    """Logits of plain images after the last step; of training images after a whole epoch."""
    return {
        f"{name}_logits": trainer.logits(split, network=network)
        for name, split in _splits(trainer.data).items()
        if name != "train" or trainer.updates >= trainer.plan.per_epoch
    }


def _best_outputs(trainer: Trainer) -> dict[str, Tensor]:
    """The same of the network of the best epoch."""
    network = frozen_copy(trainer.network)
    network.load_state_dict(under("network", trainer.best.held))
    return outputs_of(trainer, network)


def _trajectories(trainer: Trainer, member: int) -> Trajectories:
    held = {
        name: _array(value[:, member] if trainer.members else value)
        for name, value in trainer.course.trajectories().items()
    }
    rows = _array(trainer.course.rows)
    empty = np.empty((len(held["visited"]), 0, trainer.data.classes))
    held.setdefault("probabilities", empty)
    return Trajectories(rows=rows, **held)


def _splits(data: Prepared) -> dict[str, Split]:
    parts = {"train": data.train, "test": data.test, "validation": data.validation}
    return {name: split for name, split in parts.items() if split is not None}


def _measured(
    logits: Tensor, split: Split, teacher: Tensor | None, temperature: float
) -> dict[str, float]:
    truth = None if split.truth_law is None else _array(split.truth_law)
    given = split.posterior if split.posterior is not split.truth_law else None
    return measure(
        _array(logits),
        _array(split.labels),
        teacher_logits=None if teacher is None else _array(teacher),
        true_labels=_array(split.truth),
        truth=truth,
        given_law=None if given is None else _array(given),
        temperature=temperature,
    )


def _headline(measures: Mapping[str, Any], selected: str) -> dict[str, float]:
    """The numbers that lists show; ``test_accuracy`` is of the epoch that the recipe reports."""
    last = measures["last"]["test"]["accuracy"]
    shown = {"test_accuracy": last, "last_test_accuracy": last}
    if selected == "best":
        shown["test_accuracy"] = measures["best"]["test"]["accuracy"]
    if "best" in measures:
        shown["best_validation_test_accuracy"] = measures["best"]["test"]["accuracy"]
    return {**shown, "best_test_accuracy": measures["best_test"]["accuracy"]}


def _best_test(history: Mapping[str, Tensor]) -> dict[str, float]:
    """The epoch of the highest test accuracy: selected on the test set, for comparison only."""
    accuracy = history["test_accuracy"]
    epoch = int(accuracy.argmax())
    return {"epoch": epoch + 1, "accuracy": float(accuracy[epoch])}


def _labels(data: Prepared) -> Arrays:
    held = _splits(data)
    return {
        **{f"{name}_labels": _array(split.labels) for name, split in held.items()},
        **{f"{name}_truth": _array(split.truth) for name, split in held.items()},
        "train_rows": data.rows,
    }


def _state(trainer: Trainer, network: nn.Module, member: int) -> dict[str, Tensor]:
    """Weights and buffers of one member, under the names of the network alone."""
    if not trainer.members:
        return dict(network.state_dict())
    states: list[dict[str, Tensor]] = trainer.network.unstack(network.state_dict())  # type: ignore[operator]
    return states[member]


def _best_state(trainer: Trainer, member: int) -> dict[str, Tensor]:
    held = under("network", trainer.best.held)
    if not trainer.members:
        return held
    states: list[dict[str, Tensor]] = trainer.network.unstack(held)  # type: ignore[operator]
    return states[member]


def refuse_hopeless(trainer: Trainer) -> None:
    """Raise `Diverged` at the end of an epoch in which the loss of every member was infinite."""
    history = trainer.course.history()
    if not history["train_loss"][-1].isfinite().any():
        _refuse_divergence(trainer.configs[0].recipe.optimizer.learning_rate, history, {})


def _refuse_divergence(
    rate: float, history: Mapping[str, Tensor], last: Mapping[str, Tensor]
) -> None:
    """Raise `Diverged` unless losses and last logits are finite."""
    loss = history["train_loss"]
    finite = loss.isfinite().reshape(len(loss), -1).any(-1)
    if finite.all() and all(logits.isfinite().all() for logits in last.values()):
        return
    epoch = int((~finite).float().argmax()) + 1 if not finite.all() else len(finite)
    msg = f"learning_rate must be small enough to train, with {rate:g} it diverges in epoch {epoch}"
    raise Diverged(msg)


def _array(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().cpu().numpy()
    return array
