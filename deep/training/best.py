"""The epoch of a run that was best on held-out samples."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from deep.training.trainer import Trainer


class Best:
    """The epoch that was best on held-out samples: its weights, its table, its test logits.

    The accuracy decides; of equal epochs the earlier or the later counts.

    Args:
        trainer: Whose epochs they are.
        ties: ``"earlier"`` or ``"later"``, as `Recipe.ties`.
    """

    def __init__(self, trainer: "Trainer", *, ties: str = "earlier") -> None:
        self._trainer, self._later = trainer, ties == "later"
        self.accuracy = torch.full(trainer.members, -1.0, dtype=torch.float64)
        self.epoch = torch.zeros(trainer.members, dtype=torch.int64)
        """Counted from 1; 0 while there is none."""
        self.held: dict[str, Tensor] = {}

    @torch.no_grad()
    def offer(self, accuracy: Tensor, test_logits: Tensor, *, epoch: int) -> None:
        """Remember the present network where its accuracy is the best, or as good as the best."""
        accuracy = accuracy.double().cpu().reshape(self.accuracy.shape)
        better = accuracy >= self.accuracy if self._later else accuracy > self.accuracy
        if not better.any():
            return
        self.accuracy = torch.where(better, accuracy, self.accuracy)
        self.epoch = torch.where(better, epoch, self.epoch)
        trainer = self._trainer
        present = {f"network.{k}": v for k, v in trainer.network.state_dict().items()}
        present["test_logits"] = test_logits
        if trainer.table is not None:
            present["table"] = trainer.table.read(trainer.data.train.labels)
            present["unseen"] = (trainer.table.visits == 0).sum(-1)
        for name, value in present.items():
            if trainer.members and name in self.held and value.ndim:
                shape = (len(better), *[1] * (value.ndim - 1))
                mask = better.reshape(shape).to(value.device)
                self.held[name] = torch.where(mask, value, self.held[name])
            else:
                self.held[name] = value.clone()

    def tensors(self) -> dict[str, Tensor]:
        """All of it by name."""
        held = {f"held.{name}": value for name, value in self.held.items()}
        return {"accuracy": self.accuracy, "epoch": self.epoch, **held}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go back to what `tensors` gave."""
        self.accuracy, self.epoch = tensors["accuracy"].cpu(), tensors["epoch"].cpu()
        self.held = {
            name: value.to(self._trainer.device) for name, value in under("held", tensors).items()
        }


def under(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with ``part`` and a dot, without it."""
    begin = f"{part}."
    return {k.removeprefix(begin): v for k, v in tensors.items() if k.startswith(begin)}
