"""The course of a run: each sample's prediction in each epoch, and what an epoch comes to.

Predictions are those that training makes anyway: of the augmented view, with the statistics of the
batch, before the step that visits the sample. They cost no further pass over the data.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from deep.training.memory import rows_at

_KINDS = {
    "confidence": torch.float16,
    "label_probability": torch.float16,
    "prediction": torch.int16,
    "visited": torch.bool,
}
_SUMS = ("loss", "correct", "samples")


class Course:
    """What happened so far, on the device for the present epoch, on the host for those before.

    Args:
        members: Leading axis of an ensemble, or ().
        samples: Training samples.
        classes: Classes.
        rows: Numbers of the samples whose full probabilities are kept; none if not given.
        device: Of the run.
    """

    def __init__(
        self,
        members: tuple[int, ...],
        samples: int,
        classes: int,
        *,
        rows: Tensor | None = None,
        device: str = "cpu",
    ) -> None:
        self.members = members
        self.rows = torch.empty(0, dtype=torch.int64) if rows is None else rows
        place = torch.full((samples + 1,), len(self.rows))
        place[self.rows] = torch.arange(len(self.rows))
        self._place = place.to(device)
        """Where a sample's probabilities go; those of others go to a row past the end."""
        shape = (*members, samples)
        self._now = {
            name: torch.zeros(shape, dtype=kind, device=device) for name, kind in _KINDS.items()
        }
        if len(self.rows):
            chosen = (*members, len(self.rows) + 1, classes)
            self._now["probabilities"] = torch.zeros(chosen, device=device)
        self._sums = {
            name: torch.zeros(members, dtype=torch.float64, device=device) for name in _SUMS
        }
        self._past: dict[str, list[Tensor]] = {name: [] for name in self._now}
        self._history: dict[str, list[Tensor]] = {}

    @property
    def epochs(self) -> int:
        """Epochs that are over."""
        return len(self._past["visited"])

    @torch.no_grad()
    def add(
        self,
        index: Tensor,
        labels: Tensor,
        logits: Tensor,
        losses: Tensor,
        counted: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Let one step in.

        Args:
            index: Numbers of its samples, (..., batch).
            labels: Given labels, (..., batch).
            logits: (..., batch, classes).
            losses: (..., batch), or one a batch.
            counted: Samples to be counted over the epoch, by name: boolean, (..., batch).
        """
        probabilities = torch.softmax(logits, dim=-1)
        confidence, prediction = probabilities.max(dim=-1)
        label = probabilities.gather(-1, labels[..., None]).squeeze(-1)
        # along the last axis each member has its own samples
        self._now["confidence"].scatter_(-1, index, confidence.half())
        self._now["label_probability"].scatter_(-1, index, label.half())
        self._now["prediction"].scatter_(-1, index, prediction.short())
        self._now["visited"].scatter_(-1, index, value=True)
        if "probabilities" in self._now:
            kept = self._now["probabilities"]
            kept[rows_at(kept, self._place[index])] = probabilities
        count = index.shape[-1]
        mean = losses.mean(-1) if losses.ndim > len(self.members) else losses
        self._sums["loss"] += mean.double() * count
        self._sums["correct"] += (prediction == labels).sum(-1)
        self._sums["samples"] += count
        for name, mask in (counted or {}).items():
            if name not in self._sums:
                self._sums[name] = torch.zeros_like(self._sums["samples"])
            self._sums[name] += mask.sum(-1)

    def mean_loss(self) -> float:
        """Mean loss of the present epoch so far, of all members; nan before its first step.

        Waits for the device: on a GPU only for the end of an epoch.
        """
        samples = float(self._sums["samples"].sum())
        return float(self._sums["loss"].sum()) / samples if samples else float("nan")

    def end_epoch(self, measured: Mapping[str, Tensor]) -> None:
        """Close an epoch.

        Args:
            measured: Further numbers of this epoch, each of the shape of the members.
        """
        sums = {name: value.cpu().clone() for name, value in self._sums.items()}
        entered = {
            "train_loss": sums["loss"] / sums["samples"],
            "train_accuracy": sums["correct"] / sums["samples"],
            **{name: value for name, value in sums.items() if name not in _SUMS},
            **{name: value.double().cpu() for name, value in measured.items()},
        }
        for name, value in entered.items():
            self._history.setdefault(name, []).append(value.reshape(self.members))
        for name, value in self._now.items():
            self._past[name].append(value.cpu().clone())
            value.zero_()
        for value in self._sums.values():
            value.zero_()

    def history(self) -> dict[str, Tensor]:
        """Numbers by epoch, each of shape (epochs, ...)."""
        return {name: torch.stack(values) for name, values in self._history.items()}

    def trajectories(self) -> dict[str, Tensor]:
        """Samples by epoch: (epochs, ..., samples); ``probabilities`` (epochs, ..., rows, classes).

        A sample that an epoch did not visit has zeros there, and ``visited`` False.
        """
        found = {name: torch.stack(values) for name, values in self._past.items() if values}
        if "probabilities" in found:
            found["probabilities"] = found["probabilities"][..., : len(self.rows), :]
        return found

    def tensors(self) -> dict[str, Tensor]:
        """All of it by name."""
        parts = {"now": self._now, "sum": self._sums}
        held = {f"{part}.{k}": v for part, values in parts.items() for k, v in values.items()}
        held.update({f"past.{k}": torch.stack(v) for k, v in self._past.items() if v})
        held.update({f"history.{k}": torch.stack(v) for k, v in self._history.items()})
        return held

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go back to what `tensors` gave."""
        for name, value in self._now.items():
            value.copy_(tensors[f"now.{name}"])
        for name, value in tensors.items():
            if name.startswith("sum."):
                self._sums[name.removeprefix("sum.")] = value.to(self._sums["loss"].device)
        for part, lists in {"past": self._past, "history": self._history}.items():
            for name, value in tensors.items():
                if name.startswith(f"{part}."):
                    lists[name.removeprefix(f"{part}.")] = list(value.cpu())
