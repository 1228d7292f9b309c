"""Runs, made or fetched: the teacher first, then the student, checkpoints on the way, one entry.

A finished run is never computed again, an interrupted one goes on from its last checkpoint, and of
several processes that ask for a run one trains it while the others wait.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch

from deep import data, methods
from deep.data.prepared import Prepared, prepare
from deep.records.encoding import content_key
from deep.records.provenance import provenance
from deep.records.runs import RUN_VERSION, Runs, Work
from deep.training import checkpoint
from deep.training.config import ImportedTeacher, RunConfig
from deep.training.finished import Diverged, Finished, contents, outputs_of, refuse_hopeless
from deep.training.precision import device_name, products, require_device, require_precision
from deep.training.teachers import Teachers
from deep.training.teaching import TableTeacher
from deep.training.trainer import Trainer, require_trainable
from theory import checks

Watch = Callable[[Trainer], None]
"""Called after every update: to show progress, or to write it somewhere."""
LONG = 5.0
"""Seconds from which on a run has a checkpoint of its last step, lest storing it should fail."""
CHOSEN = 128
"""Training samples whose full probabilities are kept in every epoch: the first of the set."""


class Stopped(RuntimeError):
    """A run was stopped when asked to, after a checkpoint where there is a place for one."""

    def __init__(self, updates: int, steps: int) -> None:
        super().__init__(f"stopped after {updates} of {steps} steps")
        self.updates, self.steps = updates, steps


class Runner:
    """Trains, resumes and fetches runs under one root.

    Args:
        out: Root of what is made at run time; None keeps nothing.
        root: Folder of image sets; STILLROOM_DATA if None.
        device: ``"cpu"`` or a CUDA device.
        view_table: Whether a teacher's outputs are kept for every view; they are the same to
            rounding if not.
        chosen: Training samples whose full probabilities are kept in every epoch, the first of
            the set.
        checkpoint_seconds: Time between checkpoints.
        checkpoint_steps: Updates between checkpoints, in place of a time.
        watch: Called after every update.
        say: Told in words of what takes time: waiting for another process, resuming.
    """

    def __init__(
        self,
        out: Path | None = None,
        *,
        root: Path | str | None = None,
        device: str = "cpu",
        view_table: bool = True,
        chosen: int = CHOSEN,
        checkpoint_seconds: float = 60.0,
        checkpoint_steps: int | None = None,
        watch: Watch | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        require_device(device)
        self.out = None if out is None else Path(out)
        self.runs = None if self.out is None else Runs(self.out)
        self.root, self.device = root, device
        self.chosen = checks.integer("chosen", chosen)
        self.checkpoint_seconds, self.checkpoint_steps = checkpoint_seconds, checkpoint_steps
        self.watch, self.say = watch or _silent, say or _silent
        self.teachers = Teachers(self.out, device=device, view_table=view_table, say=self.say)
        self._stopping = False
        self._data: dict[object, Prepared] = {}
        self._finished: dict[str, Finished] = {}

    def run(self, config: RunConfig) -> Finished:
        """The finished run of ``config``, and of its teacher before it.

        Raises:
            ValueError: If the data, the device or the teacher are not there, or the loss becomes
                infinite.
            OSError: If there is no space left; what is finished, and the last checkpoint, stay.
        """
        return self.run_together([config])[0]

    def run_together(self, configs: Sequence[RunConfig]) -> list[Finished]:
        """Finished runs that differ in their seeds only, trained at once on a leading axis.

        Small dense networks gain by it; each run is stored by itself, and equals the run alone up
        to rounding.
        """
        for config in configs:
            require_precision(config, self.device)
        keys = [self.key(config) for config in configs]
        wanted = dict(zip(keys, configs, strict=True))  # each once, however often it is asked for
        found = {key: done for key in wanted if (done := self._fetched(key)) is not None}
        missing = [(key, config) for key, config in wanted.items() if key not in found]
        if missing:
            require_trainable([config for _, config in missing], self.prepared(missing[0][1]))
            teacher = self._taught_by(missing[0][1])
            found |= self._made(missing, teacher)
        return [found[key] for key in keys]

    def view_table_of(self, config: RunConfig) -> TableTeacher | None:
        """The teacher of a student with its table of views, to fill, check or look at it.

        None where the method has none: it has no teacher, is taught by rows, or by batch
        statistics. The teacher is trained first if it is not there.
        """
        taught_by = self._taught_by(config)
        if taught_by is None:
            return None
        return self.teachers.with_table(config, taught_by, self.prepared(config))

    def stop(self) -> None:
        """Ask for an end after the step under way, as from a signal: `Stopped` is raised then."""
        self._stopping = True

    def close(self) -> None:
        """Give up the files of tables."""
        self.teachers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def key(self, config: RunConfig) -> str:
        """Name of a run: the digest of its config and of the files its samples come from.

        Where the user's own files are does not count.
        """
        images = data.fingerprint_of(config.data, root=self.root)
        return _name({"config": _without_place(config), "images": images})

    def prepared(self, config: RunConfig) -> Prepared:
        """The samples of a run, read once."""
        files = data.fingerprint_of(config.data, root=self.root)
        wanted = (config.data, config.recipe.validation, files)
        if wanted not in self._data:
            self._data[wanted] = prepare(
                config.data,
                validation=config.recipe.validation,
                root=self.root,
                cache=None if self.out is None else self.out / "cache",
                device=self.device,
            )
        return self._data[wanted]

    def _fetched(self, key: str) -> Finished | None:
        if key in self._finished:
            return self._finished[key]
        entry = None if self.runs is None else self.runs.get(key)
        if self.runs is None or entry is None:
            return None
        if self.runs.folder(key).exists():
            # killed after it was stored: its checkpoints are cleared by whoever holds the lock
            with suppress(OSError), self.runs.working(key, entry.record["config"]):
                pass
        return Finished.of(entry)

    def _taught_by(self, config: RunConfig) -> Finished | None:
        if config.teacher is None:
            return None
        if isinstance(config.teacher, RunConfig):
            return self.run(config.teacher)
        found = self._fetched(imported_key(config.teacher))
        if found is None:
            msg = (
                f"teacher must be imported under {self.out} before it teaches, "
                f"got {config.teacher.weights[:12]}; see `stillroom bench import --help`"
            )
            raise ValueError(msg)
        return found

    def _made(
        self, missing: Sequence[tuple[str, RunConfig]], teacher: Finished | None
    ) -> dict[str, Finished]:
        """Train what is missing, each under its lock."""
        with products(missing[0][1].precision, self.device):
            return self._locked(missing, teacher)

    def _locked(
        self, missing: Sequence[tuple[str, RunConfig]], teacher: Finished | None
    ) -> dict[str, Finished]:
        if self.runs is None:
            return self._trained(missing, teacher, [None] * len(missing))
        with ExitStack() as stack:
            works = {
                key: stack.enter_context(self.runs.working(key, config, say=self.say))
                for key, config in sorted(missing, key=lambda pair: pair[0])
            }
            found = {
                key: Finished.of(work.finished) for key, work in works.items() if work.finished
            }
            left = [pair for pair in missing if pair[0] not in found]
            if left:
                found |= self._trained(left, teacher, [works[key] for key, _ in left])
        return found

    def _trained(
        self,
        missing: Sequence[tuple[str, RunConfig]],
        teacher: Finished | None,
        works: Sequence[Work | None],
    ) -> dict[str, Finished]:
        begin = time.perf_counter()
        keys, configs = [key for key, _ in missing], [config for _, config in missing]
        prepared = self.prepared(configs[0])
        hyper = self._fitted(configs[0], teacher, prepared)
        trainer = Trainer(
            configs,
            prepared,
            teacher=self.teachers.teacher(configs[0], teacher, prepared),
            device=self.device,
            hyper=hyper,
            chosen=torch.arange(min(self.chosen, len(prepared.train))),
        )
        earlier = self._resume(trainer, works[0], keys)
        self._train(trainer, works, keys, before=earlier)
        self.teachers.flush()
        splits = ("train", "test") if trainer.updates >= trainer.plan.per_epoch else ("test",)
        taught = {
            split: self.teachers.said(configs[0], teacher, prepared, split)
            for split in splits
            if teacher is not None
        }
        source = provenance(
            device=device_name(self.device), duration=earlier + time.perf_counter() - begin
        )
        done, failed, outputs = {}, [], outputs_of(trainer)
        for member, (key, work) in enumerate(zip(keys, works, strict=True)):
            try:
                parts = contents(trainer, member, outputs=outputs, taught=taught, provenance=source)
            except Diverged as error:  # the others are stored all the same
                failed.append(error)
                continue
            if work is None:
                done[key] = self._finished[key] = Finished(key, *parts)
            else:
                done[key] = Finished.of(work.finish(*parts))
        if failed:
            raise failed[0]
        return done

    def _resume(self, trainer: Trainer, work: Work | None, keys: list[str]) -> float:
        """Go on from the last checkpoint if there is one; the seconds that were spent before."""
        held = None if work is None else checkpoint.load(work.folder, device=self.device)
        if held is None or held.facts.get("runs") != keys:
            return 0.0
        trainer.load(held.tensors, updates=int(held.facts["updates"]))
        self.say(f"going on after {trainer.updates} of {trainer.plan.steps} steps")
        return float(held.facts["seconds"])

    def _train(
        self, trainer: Trainer, works: Sequence[Work | None], keys: list[str], *, before: float
    ) -> None:
        begin = saved = time.perf_counter()
        folder = None if works[0] is None else works[0].folder
        _note(works, trainer)
        while not trainer.done:
            trainer.step()
            self.watch(trainer)
            if trainer.plan.ends_epoch(trainer.updates - 1):
                refuse_hopeless(trainer)
            now, ended = time.perf_counter(), trainer.updates == trainer.plan.steps
            spent = before + now - begin
            # a long run is kept after its last step too, should it not be possible to store it
            last = ended and (spent > LONG or saved > begin)
            if folder is not None and (last or self._stopping or self._due(trainer, now - saved)):
                saved = now
                facts = {"runs": keys, "updates": trainer.updates, "seconds": spent}
                checkpoint.save(folder, trainer.tensors(), facts)
                _note(works, trainer)
            if self._stopping and not ended:
                raise Stopped(trainer.updates, trainer.plan.steps)

    def _due(self, trainer: Trainer, seconds: float) -> bool:
        """Whether a checkpoint is to be written now."""
        if self.checkpoint_steps is not None:
            return trainer.updates % self.checkpoint_steps == 0
        return seconds > self.checkpoint_seconds

    def _fitted(self, config: RunConfig, teacher: Finished | None, prepared: Prepared) -> Any:  # noqa: ANN401
        """The hyper-parameters, those filled in that are solved for on the training set."""
        method, hyper = methods.get(config.method.name), methods.hyper(config.method)
        if method.fit is None or teacher is None:
            return hyper
        logits = self.teachers.said(config, teacher, prepared, "train").double().numpy()
        return method.fit(hyper, logits, prepared.train.labels.cpu().numpy())


def imported_key(teacher: ImportedTeacher) -> str:
    """Name of an imported network in the store."""
    return _name({"imported": teacher})


def _note(works: Sequence[Work | None], trainer: Trainer) -> None:
    """Write down how far it is, for lists."""
    for work in works:
        if work is not None:
            work.progress(trainer.updates, trainer.plan.steps)


def _without_place(config: RunConfig) -> RunConfig:
    """The config with no place of the user's own files in it."""
    teacher = config.teacher
    if isinstance(teacher, RunConfig):
        teacher = _without_place(teacher)
    return replace(config, data=config.data.without_place(), teacher=teacher)


def _name(content: object) -> str:
    return content_key({"run": content, "version": RUN_VERSION})


def _silent(_: object) -> None:
    """Show nothing."""
