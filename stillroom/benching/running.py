"""``stillroom bench run``: everything is checked, then trained, then said."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from deep.data.normalization import normalization
from deep.data.prepared import Prepared
from deep.models.network import Network
from deep.records.encoding import plain
from deep.training.config import ImportedTeacher, RunConfig
from deep.training.finished import Finished
from deep.training.plan import Plan
from deep.training.precision import require_precision
from deep.training.runner import Runner, Stopped, Watch, imported_key
from deep.training.trainer import initial_network
from deep.training.watching import TensorBoard, each
from stillroom import options
from stillroom.benching import asked as options_of
from stillroom.benching import defaults, display, labels, outcome
from stillroom.benching.given import Machine
from stillroom.benching.stopping import Stop
from stillroom.errors import UserError

SPARE = 16 << 20
"""Bytes that must be left on the disk beside what the runs need."""

AT_ONCE = 150_000
"""Numbers of the largest network whose seeds are trained at once. On one core of a CPU students of
40,000 to 60,000 weights gain a factor of 2 to 3, of 110,000 a tenth; those of 300,000 lose."""


def run(name: str, arguments: Sequence[str]) -> int:
    """Train the runs that are asked for, or fetch them, and say what they came to.

    Raises:
        ValueError: If something that is asked for is not there; before any training.
        UserError: The same.
    """
    asked = options_of.parsed(name, arguments)
    machine = asked.machine
    options.use_data_root(machine.data_root)
    configs = options_of.configs(asked)
    if machine.checkpoint_seconds <= 0:
        msg = f"--checkpoint-seconds must be greater than 0, got {machine.checkpoint_seconds:g}"
        raise UserError(msg)
    if machine.keep < 0:
        msg = f"--keep must be at least 0, got {machine.keep}"
        raise UserError(msg)
    shown = display.shown()
    with _runner(machine, shown.say) as runner:
        board = _board(runner) if machine.tensorboard else None
        for config in configs:
            require_precision(config, machine.device)
        runner.key(configs[0])  # the files must be there before a folder is made
        out = options.out_folder(machine.out)
        check(runner, configs, out)
        with shown:
            for line in _heading(runner, configs, asked):
                shown.say(line)
            done = _trained(runner, configs, shown, board)
    print(outcome.table(done))
    print(outcome.where(done, out))
    return 0


def _runner(machine: Machine, say: Callable[[str], None]) -> Runner:
    return Runner(
        defaults.out(machine.out),
        root=machine.data_root,
        device=machine.device,
        view_table=machine.view_table,
        chosen=machine.keep,
        checkpoint_seconds=machine.checkpoint_seconds,
        say=say,
    )


def check(runner: Runner, configs: Sequence[RunConfig], out: Path) -> None:
    """Check all that can be checked before training: the samples, the networks, the disk.

    Raises:
        ValueError: If something does not fit.
        UserError: If there is too little space on the disk.
    """
    needed = SPARE
    for config in _with_teachers(configs):
        prepared = runner.prepared(config)
        _check_fits(config, prepared)
        if config.needs().posterior and prepared.train.posterior is None:
            msg = (
                f"{config.method.name} needs to know the law of the labels: take a synthetic set, "
                "--noise on clean labels, or --labels cifar10n-mean"
            )
            raise UserError(msg)
        if isinstance(config.teacher, ImportedTeacher):
            _check_imported(runner, config.teacher, prepared)
        if not _finished(runner, config):
            needed += _bytes(config, prepared)
    free = shutil.disk_usage(out).free
    if free < needed:
        msg = (
            f"no space left for the runs: they need about {needed / 1e6:,.0f} MB under {out}, and "
            f"{free / 1e6:,.0f} MB are free; choose another place by --out"
        )
        raise UserError(msg)


def _finished(runner: Runner, config: RunConfig) -> bool:
    """Whether a run is in the store, without reading it."""
    found = None if runner.runs is None else runner.runs.summary(runner.key(config))
    return found is not None and found.status == "finished"


def _check_fits(config: RunConfig, prepared: Prepared) -> None:
    """Check that images, network and recipe fit each other."""
    normalization(config.recipe.normalization).check_channels(prepared.train.images.shape[-1])
    config.recipe.steps(len(prepared.train), config.scale)
    initial_network([config], prepared)


def _check_imported(runner: Runner, teacher: ImportedTeacher, prepared: Prepared) -> None:
    entry = None if runner.runs is None else runner.runs.get(imported_key(teacher))
    if entry is None:
        msg = f"teacher {teacher.weights[:12]} is not imported; see `stillroom bench import --help`"
        raise UserError(msg)
    shape, classes = list(prepared.train.images.shape[1:]), prepared.classes
    record = entry.record
    if record["images"] != shape or len(record["class_names"]) != classes:
        msg = (
            f"teacher must be for images of shape {shape} and {classes} classes; this one was "
            f"imported for {record['images']} and {len(record['class_names'])}"
        )
        raise UserError(msg)


def _bytes(config: RunConfig, prepared: Prepared) -> int:
    """About what a run needs on the disk: two checkpoints, the finished run, the teacher's table.

    A checkpoint has at most four copies of the weights; what an epoch adds to the course of every
    sample are seven bytes; a teacher's table grows by what is seen.
    """
    weights = sum(one.numel() for one in initial_network([config], prepared).parameters())
    samples = len(prepared.train)
    plan = Plan([config], samples, _views(config))
    course = samples * (7 * plan.epochs + 8 * prepared.classes)
    seen = min(plan.epochs, _views(config).count) if config.teacher is not None else 0
    return 4 * 4 * 3 * weights + 3 * course + 4 * seen * samples * prepared.classes


def _views(config: RunConfig) -> Any:  # noqa: ANN401
    from deep.data.augment import Views

    return Views(config.recipe.views, config.recipe.pad)


def _with_teachers(configs: Sequence[RunConfig]) -> list[RunConfig]:
    """Each run after its teachers, once."""
    found: list[RunConfig] = []
    for config in configs:
        chain, taught = [config], config.teacher
        while isinstance(taught, RunConfig):
            chain.append(taught)
            taught = taught.teacher
        found += [one for one in reversed(chain) if one not in found]
    return found


def _heading(
    runner: Runner, configs: Sequence[RunConfig], asked: options_of.Asked
) -> Iterator[str]:
    """What is about to happen."""
    first = configs[0]
    held = plain(first)
    recipe = f"recipe {first.recipe.name}, scale {first.scale:g}"
    on = f"{labels.data(held['data'])}, {recipe}, {runner.device}"
    yield f"{labels.method(held['method'])}: {labels.networks(held)} on {on}"
    if asked.teaching.teacher is not None and first.teacher is None:
        yield f"{first.method.name} has no teacher; --teacher is not used"
    yield from _reach(first, asked)
    together = _at_once(runner, configs)
    for config in _with_teachers(configs):
        prepared = runner.prepared(config)
        weights = sum(one.numel() for one in initial_network([config], prepared).parameters())
        steps = config.recipe.steps(len(prepared.train), config.scale)
        state = f"{steps:,} steps of {config.recipe.optimizer.batch} samples"
        if config in together:
            state += ", at once with the others"
        if _finished(runner, config):
            state = "already finished"
        name = labels.network(plain(config.model))
        yield f"{display.role([config])}: {name} ({weights:,} parameters), {state}"


def _reach(config: RunConfig, asked: options_of.Asked) -> Iterator[str]:
    """Whether what changes the student's recipe changes its teacher's."""
    student, teaching = asked.student, asked.teaching
    given = {
        "--epochs": student.epochs,
        "--batch": student.batch,
        "--learning-rate": student.learning_rate,
    }
    changed = [name for name, value in given.items() if value is not None]
    if not changed or not isinstance(config.teacher, RunConfig):
        return
    also = [name for name in changed if name != "--epochs" or teaching.teacher_epochs is None]
    if teaching.teacher_recipe is not None:
        own = f"the teacher has the recipe {teaching.teacher_recipe} of its own"
        yield f"{_listed(changed)} for the student only: {own}"
    elif also:
        yield f"{_listed(also)} for student and teacher"


def _listed(names: Sequence[str]) -> str:
    *before, last = names
    return f"{', '.join(before)} and {last}" if before else last


def _at_once(runner: Runner, configs: Sequence[RunConfig]) -> list[RunConfig]:
    """The runs that are trained on one leading axis: not finished, of small dense networks."""
    left = [config for config in configs if not _finished(runner, config)]
    if len(left) < 2:
        return []
    network = initial_network(left[:1], runner.prepared(left[0]))
    dense = isinstance(network, Network) and network.dense_chain() is not None
    small = sum(held.numel() for held in network.state_dict().values()) <= AT_ONCE
    return left if dense and small else []


def _trained(
    runner: Runner,
    configs: Sequence[RunConfig],
    shown: display.Display,
    board: TensorBoard | None,
) -> list[Finished]:
    stop, look = Stop(runner, shown.say), display.Look(shown)
    watches: list[Watch] = [look, *([board] if board else []), stop]
    runner.watch = each(*watches)
    try:
        with stop.on_signals():
            if _at_once(runner, configs):
                return runner.run_together(configs)
            return [runner.run(config) for config in configs]
    except Stopped as stopped:
        stop.end(stopped)
        raise
    finally:
        if board is not None:
            board.close()


def _board(runner: Runner) -> TensorBoard:
    assert runner.out is not None  # noqa: S101
    return TensorBoard(
        runner.out / "tensorboard",
        lambda config: (
            f"{config.method.name}-{config.stream.replace(' ', '-')}-seed{config.seed}-"
            f"{runner.key(config)[:8]}"
        ),
    )
