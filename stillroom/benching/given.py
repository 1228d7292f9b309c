"""The options of ``stillroom bench run`` that all methods share, by group."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

Name = tyro.conf.arg(metavar="NAME")
Number = tyro.conf.arg(metavar="N")
Share = tyro.conf.arg(metavar="SHARE")
Factor = tyro.conf.arg(metavar="X")
Folder = tyro.conf.arg(metavar="FOLDER")


@dataclass(frozen=True, slots=True)
class Samples:
    """What is learned. Teacher and student have the same samples."""

    data: Annotated[str, tyro.conf.arg(metavar="SET")] = "digits"
    """digits (ships with the package), mnist, cifar10, cifar100, or a path of your own: a folder
    with train/CLASS/FILE and test/CLASS/FILE, or Parquet files as on the Hub."""
    samples: Annotated[int | None, Number] = None
    """Training samples; all unless given."""
    test_samples: Annotated[int | None, Number] = None
    """Test samples, the first of the split; all unless given."""
    noise: Annotated[float, Share] = 0.0
    """Share of the training labels that are flipped."""
    noise_includes_same: bool = False
    """Let a flipped label be the same class again."""
    labels: Annotated[str, Name] = "given"
    """Labels that people gave: cifar10n-aggre, -worse, -random1 to -random3, -mean, or
    cifar100n-noisy."""
    data_seed: Annotated[int, Number] = 0
    """Of the choice of samples and of the flips, which all seeds of a student share."""


@dataclass(frozen=True, slots=True)
class Student:
    """How the student is trained."""

    student: Annotated[str | None, tyro.conf.arg(metavar="NETWORK")] = None
    """Its network (`stillroom bench networks`), perhaps with options: mlp:width=100,depth=1. mlp
    for digits and mnist, else resnet20, unless given."""
    recipe: Annotated[str | None, Name] = None
    """Whose epochs, batches, learning rates and views (`stillroom bench recipes`): digits for
    digits and mnist, else crd, unless given."""
    scale: Annotated[float, Factor] = 1.0
    """Factor on the number of steps, with all milestones: 0.01 for a first try."""
    epochs: Annotated[float | None, Factor] = None
    """In place of the recipe's; milestones stay where they are. Holds for the teacher too, unless
    it has a recipe or epochs of its own."""
    batch: Annotated[int | None, Number] = None
    """Samples a step, in place of the recipe's. Holds for the teacher too, unless it has a recipe
    of its own."""
    learning_rate: Annotated[float | None, Factor] = None
    """In place of the recipe's. Holds for the teacher too, unless it has a recipe of its own."""
    normalization: Annotated[str | None, Name] = None
    """Of pixels: cifar100, cifar10, overhaul, mnist or unit; as fits recipe and images unless
    given. unit for images of your own with another number of channels than the recipe's."""
    validation: Annotated[float | None, Share] = None
    """Share of the training samples held out to choose the best epoch; the recipe's unless
    given."""
    seed: Annotated[int, Number] = 0
    """Of initial weights, batches and views."""
    seeds: Annotated[int | None, tyro.conf.arg(metavar="K")] = None
    """Train K students, of the seeds 0 to K - 1; small dense networks at once."""
    student_init: Literal["own", "teacher"] = "own"
    """Whose initial weights."""
    order: Literal["own", "teacher"] = "own"
    """Whose batches and views."""
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    """The latter two need a GPU, and change numbers."""


@dataclass(frozen=True, slots=True)
class Teaching:
    """The teacher, for methods that have one. All students of its seed share it."""

    teacher: Annotated[str | None, tyro.conf.arg(metavar="NETWORK")] = None
    """Its network, or the name or key of one that `stillroom bench import` stored; the student's
    own network unless given."""
    teacher_method: Annotated[str, Name] = "one_hot"
    """How it is trained, perhaps with options: label_smoothing:epsilon=0.2."""
    teacher_recipe: Annotated[str | None, Name] = None
    """The student's, with what --epochs, --batch and --learning-rate change of it, unless given."""
    teacher_epochs: Annotated[float | None, Factor] = None
    """In place of its recipe's; milestones stay where they are."""
    teacher_scale: Annotated[float | None, Factor] = None
    """The student's unless given."""
    teacher_seed: Annotated[int, Number] = 0
    """Of its initial weights, batches and views."""
    teacher_statistics: Literal["stored", "batch"] = "stored"
    """What its batch normalization works with while it teaches."""
    teacher_view: Literal["augmented", "plain"] = "augmented"
    """Whether it sees the student's view of an image, or the image."""
    teacher_dtype: Literal["float32", "float16"] = "float32"
    """In which numbers what it says is kept. float16 halves the table of views and rounds:
    `stillroom bench table` says by how much."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where it is computed and kept. None of these makes it another run; a GPU rounds otherwise."""

    device: Annotated[str, Name] = "cpu"
    """cpu or cuda, perhaps with a number: cuda:1."""
    data_root: Annotated[Path | None, Folder] = None
    """Folder of image sets; STILLROOM_DATA unless given."""
    out: Annotated[Path | None, Folder] = None
    """Where everything made lies; STILLROOM_OUT, else out."""
    view_table: bool = True
    """Keep what the teacher says of every view, so that it is computed once for all students."""
    keep: Annotated[int, Number] = 128
    """Training samples, the first ones, whose full probabilities are kept in every epoch."""
    checkpoint_seconds: Annotated[float, tyro.conf.arg(metavar="SECONDS")] = 60.0
    """Time between checkpoints."""
    tensorboard: bool = False
    """Write the course of every epoch for TensorBoard, under out/tensorboard."""
