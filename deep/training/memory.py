"""What a run keeps beside its network, for its own loss or for its students.

Each part offers ``tensors()``, in the memory that training changes, and ``load(tensors)``.
"""

import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import lru_cache

import torch
from torch import Tensor, nn

from deep.method import FilterTable, PastCopies, WeightAverage


def rows_at(table: Tensor, index: Tensor) -> tuple[Tensor, ...]:
    """The index that finds rows of samples in ``table`` (..., samples, ...) of each member."""
    if index.ndim == 1:
        return (index,)
    return _members(len(table), index.device), index


@lru_cache(maxsize=16)
def _members(count: int, device: torch.device) -> Tensor:
    """Numbers of the members, one a row: made once, not in every step."""
    return torch.arange(count, device=device)[:, None]


def frozen_copy(network: nn.Module) -> nn.Module:
    """A copy that is never trained by gradients."""
    copy = deepcopy(network)
    copy.requires_grad_(requires_grad=False)
    return copy


@torch.no_grad()
def take_over(network: nn.Module, source: nn.Module) -> None:
    """Give ``network`` the weights and buffers of ``source``, in its own memory."""
    theirs = source.state_dict(keep_vars=True)
    for name, value in network.state_dict(keep_vars=True).items():
        value.copy_(theirs[name])


class Table:
    """The filtered table of a run's own predictions: see `FilterTable`.

    Args:
        rule: How it is filtered.
        shape: (..., samples, classes).
    """

    def __init__(self, rule: FilterTable, shape: tuple[int, ...], *, device: str = "cpu") -> None:
        self.rule = rule
        self.rows = torch.zeros(shape, device=device)
        self.visits = torch.zeros(shape[:-1], dtype=torch.int32, device=device)
        self._begun = torch.zeros(shape[:-1], dtype=torch.bool)

    @torch.no_grad()
    def begin(self, index: Tensor, host_index: Tensor, untrained: Callable[[], Tensor]) -> None:
        """Begin rows with what the untrained network predicts, when they are first needed.

        Args:
            index: Numbers of samples, (..., batch).
            host_index: The same in the host's memory, where what has begun is known.
            untrained: Logits of these samples by the network before training.
        """
        if self.rule.init != "pass":
            return
        there = rows_at(self._begun, host_index)
        begun = self._begun[there]
        if begun.all():
            return
        self._begun[there] = True
        where = rows_at(self.rows, index)
        predicted = torch.softmax(untrained().float() / self.rule.temperature, dim=-1)
        # as `begun`, but nothing is sent to the device, which would have to be waited for
        kept = (self.visits[where] > 0)[..., None]
        self.rows[where] = torch.where(kept, self.rows[where], predicted)

    @torch.no_grad()
    def update(self, index: Tensor, logits: Tensor) -> None:
        """Let the predictions of one step in."""
        where = rows_at(self.rows, index)
        new = torch.softmax(logits.detach().float() / self.rule.temperature, dim=-1)
        share = torch.full_like(new[..., :1], self.rule.smoothing)
        if self.rule.init == "first":
            share = torch.where(self.visits[where][..., None] == 0, 1.0, share)
        self.rows[where] = torch.lerp(self.rows[where], new, share)
        self.visits[where] += 1

    def read(self, labels: Tensor) -> Tensor:
        """Distributions, shape of the rows; a sample never seen has .9 on its label.

        Args:
            labels: Given labels, shape (samples,).
        """
        classes = self.rows.shape[-1]
        seen = (self.visits > 0)[..., None]
        rows = self.rows
        if self.rule.init == "debias":
            # 1 - (1 - a)^m, with its digits also for tiny a
            rate = math.log1p(-self.rule.smoothing) if self.rule.smoothing < 1 else -math.inf
            weight = -torch.expm1(self.visits.clamp(min=1).double() * rate)
            rows = (rows.double() / weight[..., None]).float()
        fallback = 0.9 * nn.functional.one_hot(labels, classes).float() + 0.1 / classes
        return torch.where(seen, rows, fallback)

    def tensors(self) -> dict[str, Tensor]:
        """Rows and numbers of visits."""
        return {"rows": self.rows, "visits": self.visits}

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go back to what `tensors` gave."""
        for name, value in self.tensors().items():
            value.copy_(tensors[name])
        self._begun.copy_(self.visits > 0)


class Average:
    """A moving average of a network's weights: see `WeightAverage`.

    Args:
        rule: How it moves.
        network: The network that is trained.
        start: Another initialization, for the rule's ``start="own"``.
    """

    def __init__(
        self, rule: WeightAverage, network: nn.Module, start: nn.Module | None = None
    ) -> None:
        self.rule = rule
        self.network = frozen_copy(network if start is None else start)
        self.network.train(mode=rule.statistics == "batch")

    @torch.no_grad()
    def logits(self, inputs: Tensor) -> Tensor:
        """What the average predicts."""
        predicted: Tensor = self.network(inputs)
        return predicted

    @torch.no_grad()
    def update(self, source: nn.Module, step: int) -> None:
        """Move after update number ``step``, counted from 1."""
        decay = self.rule.decay
        if self.rule.warmup:
            decay = min(decay, 1 - 1 / (step + 1))
        own: list[Tensor] = list(self.network.parameters())
        theirs: list[Tensor] = list(source.parameters())
        torch._foreach_lerp_(own, theirs, 1 - decay)
        kept: list[Tensor] = list(self.network.buffers())
        if kept:
            torch._foreach_copy_(kept, list(source.buffers()))

    def tensors(self) -> dict[str, Tensor]:
        """Weights and buffers."""
        return dict(self.network.state_dict())

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go back to what `tensors` gave."""
        self.network.load_state_dict(tensors)


class Past:
    """Copies of a network's own past: see `PastCopies`.

    Args:
        rule: How many, and how old.
        network: The network that is trained, at its start.
        steps_per_epoch: Updates in an epoch, after scaling.
    """

    def __init__(self, rule: PastCopies, network: nn.Module, steps_per_epoch: float) -> None:
        self.rule = rule
        self.interval = max(1, math.floor(rule.interval * steps_per_epoch + 0.5))
        self.networks = [frozen_copy(network) for _ in range(rule.copies)]
        for copy in self.networks:
            copy.train(mode=rule.statistics == "batch")

    def before(self, network: nn.Module, step: int) -> None:
        """Pass the copies on, if they are due before update number ``step``, counted from 1."""
        if step % self.interval == 0:
            oldest = self.networks.pop()
            take_over(oldest, network)
            self.networks.insert(0, oldest)

    def trained(self, step: int) -> int:
        """How many copies hold weights after at least one update, at update number ``step``."""
        passed = step // self.interval
        held = [(passed - i) * self.interval - 1 for i in range(min(passed, self.rule.copies))]
        return sum(updates >= 1 for updates in held)

    @torch.no_grad()
    def logits(self, inputs: Tensor) -> Tensor:
        """What each copy predicts, the youngest first: (copies, ..., batch, classes)."""
        return torch.stack([copy(inputs) for copy in self.networks])

    def tensors(self) -> dict[str, Tensor]:
        """Weights and buffers of every copy."""
        return {
            f"{number}.{name}": value
            for number, copy in enumerate(self.networks)
            for name, value in copy.state_dict().items()
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go back to what `tensors` gave."""
        for number, copy in enumerate(self.networks):
            begin = f"{number}."
            held = {n.removeprefix(begin): v for n, v in tensors.items() if n.startswith(begin)}
            copy.load_state_dict(held)
