"""Views of images against PIL, and decoded images found again."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from deep.data.augment import Viewer, Views, normalize
from deep.data.normalization import normalization
from deep.data.prepared import Split, prepare
from deep.data.spec import DataSpec
from deep.training.recipes import recipe
from deep.training.streams import stream
from tests.speed.reference_loop import Pictures
from tests.speed.register import Skip, Work, bench

BATCHES, BATCH = 16, 64


@bench("crops, flips and normalization, batches of 64, against PIL", at_least=5, repeats=9)
def augmentation() -> Mapping[str, Work]:
    rng = stream("bench", "augmentation")
    pixels = torch.from_numpy(rng.integers(0, 256, (10_000, 32, 32, 3), dtype=np.uint8))
    labels = torch.zeros(len(pixels), dtype=torch.int64)
    views, style = Views("crop_flip"), normalization("cifar100")
    viewer = Viewer(pixels, views)
    pictures = Pictures(Split(pixels, labels, labels, None), recipe("crd"))
    index = torch.from_numpy(rng.permutation(len(pixels))[: BATCHES * BATCH]).split(BATCH)
    view = torch.from_numpy(views.draw(rng, BATCHES * BATCH).astype(np.int64)).split(BATCH)
    pairs = [
        list(zip(i.tolist(), v.tolist(), strict=True)) for i, v in zip(index, view, strict=True)
    ]

    def batched() -> list[torch.Tensor]:
        return [normalize(viewer(i, v), style) for i, v in zip(index, view, strict=True)]

    def one_by_one() -> list[torch.Tensor]:
        return [torch.stack([pictures[place][0] for place in batch]) for batch in pairs]

    for ours, theirs in zip(batched(), one_by_one(), strict=True):
        torch.testing.assert_close(ours.view(-1, 32, 32, 3).permute(0, 3, 1, 2), theirs)
    return {"PIL": one_by_one, "stillroom": batched}


@bench("CIFAR-100 at the second start, decoded before", seconds=2.0, repeats=3)
def second_start() -> Mapping[str, Work]:
    if not os.environ.get("STILLROOM_DATA"):
        why = "STILLROOM_DATA must name the folder of CIFAR-100"
        raise Skip(why)
    folder = tempfile.TemporaryDirectory()
    prepare(DataSpec(name="cifar100"), cache=Path(folder.name))

    def again() -> int:
        # the folder lives as long as this function
        return len(prepare(DataSpec(name="cifar100"), cache=Path(folder.name)).train)

    return {"stillroom": again}
