"""The loop: one network, or a few small ones at once, on augmented images, by any method.

A trainer can say all that it is in tensors and facts, and go on from there bit by bit alike.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from deep import methods, models
from deep.data.augment import Viewer, Views, normalize
from deep.data.normalization import normalization
from deep.data.prepared import Prepared, Split
from deep.losses import regularization_masks, required
from deep.method import Batch, Outputs, State, WeightAverage
from deep.models.stacked import Stacked
from deep.training import evaluation, heap
from deep.training.best import Best, under
from deep.training.config import RunConfig
from deep.training.course import Course
from deep.training.memory import Average, Past, Table
from deep.training.optimizers import Stepper
from deep.training.plan import Plan, Visit
from deep.training.precision import mixed
from deep.training.streams import stream
from deep.training.teaching import Look, RowTeacher, Teacher

ALIKE = (
    "model",
    "recipe",
    "data",
    "method",
    "teacher",
    "teacher_statistics",
    "teacher_view",
    "teacher_dtype",
    "scale",
    "keeps",
    "precision",
)


class Trainer:
    """Runs under training, one `step` a batch.

    Args:
        configs: The members: one run, or several of small dense networks that differ in their
            seeds only and are trained at once, on a leading axis of every tensor.
        data: Their samples.
        teacher: Where a teacher's logits come from; None for methods without one.
        device: Where to compute.
        hyper: The method's hyper-parameters, where some were solved for; the config's otherwise.
        chosen: Numbers of the training samples whose full probabilities are kept in every epoch.
    """

    def __init__(
        self,
        configs: Sequence[RunConfig],
        data: Prepared,
        *,
        teacher: Teacher | None = None,
        device: str = "cpu",
        hyper: Any = None,  # noqa: ANN401 - each method has its own type
        chosen: Tensor | None = None,
    ) -> None:
        _require_alike(configs)
        first = configs[0]
        self.configs, self.data, self.teacher, self.device = tuple(configs), data, teacher, device
        self.method = methods.get(first.method.name)
        self.hyper = methods.hyper(first.method) if hyper is None else hyper
        self.needs = self.method.needs(self.hyper)
        self.views = Views(first.recipe.views, first.recipe.pad)
        self.viewer = Viewer(data.train.images, self.views)
        self.normalization = normalization(first.recipe.normalization)
        self.plan = Plan(
            configs, len(data.train), self.views, draws=self.needs.draws, device=device
        )
        self.network = initial_network(configs, data).to(device)
        self.weights = [one for one in self.network.parameters() if one.requires_grad]
        self.stepper = Stepper(first.recipe.optimizer, self.weights)
        self.updates = 0
        self._initial: nn.Module | None = None
        self._keep()
        self.course = Course(
            self.members, len(data.train), data.classes, rows=chosen, device=device
        )
        self.best = Best(self, ties=first.recipe.ties)
        heap.keep()

    @property
    def members(self) -> tuple[int, ...]:
        """Leading axis of every tensor: empty for one run."""
        return (len(self.configs),) if len(self.configs) > 1 else ()

    @property
    def done(self) -> bool:
        """Whether the last step is taken."""
        return self.updates >= self.plan.steps

    def _keep(self) -> None:
        """Make what is kept beside the network."""
        first, needs = self.configs[0], self.needs
        per_epoch = self.plan.per_epoch * first.scale
        shape = (*self.members, len(self.data.train), self.data.classes)
        kept = first.keeps
        self.average = self._averaged(needs.average)
        self.past = None if needs.past is None else Past(needs.past, self.network, per_epoch)
        self.kept_average = self._averaged(kept.average)
        self.table = None
        if kept.table is not None:
            self.table = Table(kept.table, shape, device=self.device)

    def _averaged(self, rule: WeightAverage | None) -> Average | None:
        """An average of the network's weights, with a beginning of its own if the rule says so."""
        if rule is None or rule.start != "own":
            return None if rule is None else Average(rule, self.network)
        own = initial_network(self.configs, self.data, purpose="average")
        return Average(rule, self.network, own.to(self.device))

    def plain_inputs(self, split: Split, rows: Tensor) -> Tensor:
        """Inputs of unaltered images, (..., rows, inputs)."""
        inputs = normalize(split.images[rows], self.normalization, white=self.data.white)
        return inputs.expand(*self.members, *inputs.shape) if self.members else inputs

    def step(self) -> Tensor:
        """One update; the loss of each sample before it, shape (..., batch) or one a batch."""
        number = self.updates + 1
        if not self.network.training:  # whoever evaluates gives every part its mode back
            self.network.train()
        visit = self.plan.visit(self.updates)
        look = Look(self.viewer, visit, white=self.data.white)
        inputs = look.inputs(self.normalization)
        if self.past is not None:
            self.past.before(self.network, number)
        state = self._state(visit, inputs, number)
        taught = None if self.teacher is None else Outputs(self.teacher.logits(visit, look))
        labels = self.data.train.labels[visit.index]
        batch = Batch(labels=labels, step=self.updates, steps=self.plan.steps, draws=visit.draws)
        with mixed(self.configs[0].precision, self.device):
            logits = self.network(inputs).float()
        terms = self.method.loss(self.hyper, Outputs(logits), taught, batch, state)
        first, *others = terms.values()
        losses = sum(others, start=first)
        total = (losses.mean(-1) if losses.ndim > len(self.members) else losses).sum()
        gradients = torch.autograd.grad(total, self.weights)
        self._last_rate = self._rate()
        self.stepper.step(gradients, self._last_rate)
        self.updates = number
        self._after(visit, inputs, logits.detach())
        losses = losses.detach()
        counted = self._counted(taught, batch, logits)
        self.course.add(visit.index, labels, logits.detach(), losses, counted)
        if self.plan.ends_epoch(self.updates - 1):
            self._end_epoch()
        if self.done:
            heap.give_back()
        return losses

    def _counted(self, taught: Outputs | None, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
        """Which samples of the step are regularization samples, by name: (..., batch), boolean.

        By the method's criterion, or else by ``"abs"``, and by ``"signed"``, at the temperature of
        distillation. The predictions are those of the step: before the update, in training mode
        and on augmented views, unlike counts of a finished network on plain images.
        """
        if taught is None or isinstance(self.teacher, RowTeacher):
            return {}
        criterion = getattr(self.hyper, "criterion", "abs")
        masks = regularization_masks(
            logits.detach(),
            taught.logits,
            batch.labels,
            temperature=getattr(self.hyper, "temperature", None) or 1.0,
            criteria=(criterion, "signed"),
        )
        return {
            "regularization_samples": masks[criterion],
            "regularization_samples_signed": masks["signed"],
        }

    def _end_epoch(self) -> None:
        """Measure the network on what it is not trained on, and remember the best."""
        test = self.logits(self.data.test)
        measured = evaluation.quick(test, self.data.test.labels)
        entered = {f"test_{name}": value for name, value in measured.items()}
        if self.data.validation is not None:
            held_out = self.logits(self.data.validation)
            found = evaluation.quick(held_out, self.data.validation.labels)
            entered |= {f"validation_{name}": value for name, value in found.items()}
            self.best.offer(found["accuracy"], test, epoch=self.course.epochs + 1)
        entered["learning_rate"] = torch.full(self.members, self._last_rate)
        self.course.end_epoch(entered)

    def _rate(self) -> float:
        first = self.configs[0]
        return first.recipe.learning_rate(self.updates, len(self.data.train), first.scale)

    def _state(self, visit: Visit, inputs: Tensor, number: int) -> State:
        posterior = None
        if self.needs.posterior:
            posterior = required("posterior", self.data.train.posterior)[visit.index]
        return State(
            past=None if self.past is None else self.past.logits(inputs),
            trained=0 if self.past is None else self.past.trained(number),
            average=None if self.average is None else self.average.logits(inputs),
            posterior=posterior,
        )

    def _after(self, visit: Visit, inputs: Tensor, logits: Tensor) -> None:
        if self.table is not None:
            self.table.begin(visit.index, visit.host_index, lambda: self._untrained(inputs))
            self.table.update(visit.index, logits)
        for average in (self.average, self.kept_average):
            if average is not None:
                average.update(self.network, self.updates)

    @torch.no_grad()
    def _untrained(self, inputs: Tensor) -> Tensor:
        """Logits of the network before training, with the statistics of the batch."""
        if self._initial is None:
            self._initial = initial_network(self.configs, self.data).to(self.device).train()
        logits: Tensor = self._initial(inputs)
        return logits

    def logits(self, split: Split, *, network: nn.Module | None = None) -> Tensor:
        """Logits of plain images in evaluation mode, shape (..., samples, classes)."""
        return evaluation.logits_of(
            self.network if network is None else network,
            lambda rows: self.plain_inputs(split, rows.to(self.device)),
            len(split),
        )

    def tensors(self) -> dict[str, Tensor]:
        """All that a checkpoint holds."""
        held = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        parts = {"optimizer": self.stepper, **self._parts(), "course": self.course}
        for name, part in parts.items():
            held.update({f"{name}.{key}": value for key, value in part.tensors().items()})
        return held

    def load(self, tensors: Mapping[str, Tensor], *, updates: int) -> None:
        """Go back to where `tensors` were taken, after so many updates."""
        self.network.load_state_dict(under("network", tensors))
        parts = {"optimizer": self.stepper, **self._parts(), "course": self.course}
        for name, part in parts.items():
            part.load(under(name, tensors))
        self.updates = updates

    def _parts(self) -> dict[str, Any]:
        parts = {
            "best": self.best,
            "average": self.average,
            "past": self.past,
            "kept_average": self.kept_average,
            "table": self.table,
        }
        return {name: part for name, part in parts.items() if part is not None}


def initial_network(
    configs: Sequence[RunConfig], data: Prepared, *, purpose: str = "initial weights"
) -> nn.Module:
    """The network at its initialization, float32 on the CPU; members of an ensemble stacked."""
    networks = [
        models.build(
            config.model,
            inputs=data.image,
            classes=data.classes,
            rng=stream(purpose, *config.init_key),
        )
        for config in configs
    ]
    return networks[0] if len(networks) == 1 else Stacked(networks)


def require_trainable(configs: Sequence[RunConfig], data: Prepared) -> None:
    """Check, before anything is trained, that these runs can be trained together on ``data``.

    Raises:
        ValueError: If they differ in more than their seeds, or the network, the views, the
            normalization, the batch or the method do not fit the data.
    """
    _require_alike(configs)
    recipe = configs[0].recipe
    height, width, channels = data.train.images.shape[1:]
    normalization(recipe.normalization).check_channels(channels)
    Views(recipe.views, recipe.pad).pixel_table(height, width)
    recipe.steps_per_epoch(len(data.train))
    _require_batches(configs[0], data, initial_network(configs, data))
    method = methods.get(configs[0].method.name)
    if method.check is not None:
        method.check(methods.hyper(configs[0].method), data.classes)
    if configs[0].needs().posterior and data.train.posterior is None:
        msg = (
            f"posterior must be known for {configs[0].method.name}: label noise on clean labels, "
            "human labels or a synthetic set have one; these labels do not"
        )
        raise ValueError(msg)


def _require_batches(config: RunConfig, data: Prepared, network: nn.Module) -> None:
    """Check that batch normalization always has more than one number a channel.

    Of a batch of one image whose map is one pixel there is no variance.
    """
    samples, recipe = len(data.train), config.recipe
    batch, per_epoch = recipe.optimizer.batch, recipe.steps_per_epoch(samples)
    whole = recipe.steps(samples, config.scale) < per_epoch
    if 1 not in (batch, batch if whole else samples - (per_epoch - 1) * batch):
        return
    normalized = {config.model: network}
    average = config.needs().kept_average
    statistics = config.teacher_statistics if average is None else average.statistics
    if config.teacher is not None and "batch" in (config.teacher_statistics, statistics):
        model = config.teacher.model
        rng = stream("initial weights")
        normalized[model] = models.build(model, inputs=data.image, classes=data.classes, rng=rng)
    for model, each in normalized.items():
        try:
            with torch.no_grad():
                each.train()(torch.zeros(1, prod(data.image)))
        except ValueError as error:
            height, width, _ = data.image
            msg = (
                f"batch must leave no batch of one image, for batch normalization of {model.name} "
                f"has one number a channel there, with images of {height} by {width}; got batch "
                f"{batch} for {samples} samples: choose another, or drop_last"
            )
            raise ValueError(msg) from error


def _require_alike(configs: Sequence[RunConfig]) -> None:
    if not configs:
        msg = "configs must hold at least one run, got none"
        raise ValueError(msg)
    for name in ALIKE:
        values = {getattr(config, name) for config in configs}
        if len(values) > 1:
            msg = f"runs that train together must agree in {name}, got {len(values)} kinds of it"
            raise ValueError(msg)
