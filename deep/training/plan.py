"""Which samples a run visits in which order, in which view, with which random numbers.

Everything is drawn an epoch at a time from streams keyed by purpose, run and epoch, so that any
step can be taken up again, and no other choice shifts it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deep.data.augment import Views
from deep.training.config import RunConfig
from deep.training.streams import stream


@dataclass(frozen=True, slots=True)
class Visit:
    """The samples of one step; each tensor has the shape (..., batch)."""

    index: Tensor
    """Numbers of the samples, int64, where the run computes."""
    view: Tensor
    """Numbers of their views, int64, where the run computes."""
    host_index: Tensor
    """The same in the host's memory: to look up what is known without waiting for a device."""
    host_view: Tensor
    draws: Tensor | None
    """Shape (..., batch, draws)."""


class Plan:
    """The steps of runs that train together, each with its own order and views.

    Args:
        configs: The members; one has no leading axis, several have.
        samples: Training samples.
        views: What a sample can look like.
        draws: Random numbers for each sample and step.
        device: Where the numbers are used.
    """

    def __init__(
        self,
        configs: Sequence[RunConfig],
        samples: int,
        views: Views,
        *,
        draws: int = 0,
        device: str = "cpu",
    ) -> None:
        self.configs, self.samples, self.views = tuple(configs), samples, views
        self.draws, self.device = draws, device
        recipe = configs[0].recipe
        self.batch = recipe.optimizer.batch
        self.per_epoch = recipe.steps_per_epoch(samples)
        self.steps = recipe.steps(samples, configs[0].scale)
        self._epoch: int | None = None
        self._drawn: tuple[tuple[Tensor, ...], tuple[Tensor, ...]] = ((), ())
        """Of the present epoch: order, views and draws, in the host's memory and on the device."""

    @property
    def epochs(self) -> int:
        """Epochs begun by the last step."""
        return -(-self.steps // self.per_epoch)

    def ends_epoch(self, step: int) -> bool:
        """Whether an epoch, or the run, is over after update number ``step``, counted from 0."""
        return (step + 1) % self.per_epoch == 0 or step + 1 == self.steps

    def visit(self, step: int) -> Visit:
        """What update number ``step``, counted from 0, sees."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._drawn, self._epoch = self._draw(epoch), epoch
        here, there = self._drawn
        batch = slice(place * self.batch, (place + 1) * self.batch)
        return Visit(
            index=there[0][..., batch],
            view=there[1][..., batch],
            host_index=here[0][..., batch],
            host_view=here[1][..., batch],
            draws=there[2][..., batch, :] if self.draws else None,
        )

    def _draw(self, epoch: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        members = [self._member(config, epoch) for config in self.configs]
        here = tuple(
            torch.from_numpy(np.stack(part) if len(members) > 1 else part[0])
            for part in zip(*members, strict=True)
        )
        return here, tuple(part.to(self.device, non_blocking=True) for part in here)

    def _member(self, config: RunConfig, epoch: int) -> tuple[np.ndarray, ...]:
        """Order, and views and draws in that order: a sample keeps its own whatever the order."""
        key = (*config.order_key, epoch)
        order = stream("order", *key).permutation(self.samples)
        views = self.views.draw(stream("views", *key), self.samples)[order].astype(np.int64)
        if not self.draws:
            return order, views
        # an open interval: a draw of 0 would be a label of no mass
        shape = (self.samples, self.draws)
        drawn = 1.0 - stream("draws", *key).random(shape, dtype=np.float32)
        return order, views, np.minimum(drawn, 1 - 2**-24)[order]
