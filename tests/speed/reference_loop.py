"""A distillation loop with the usual costs, to compare with: the same networks, losses and batches.

Images pass one by one through PIL, in a `DataLoader`; maps lie in NCHW order; the teacher is asked
in every step; SGD goes through the parameters in Python; loss and accuracy are read in every step.

The loader works in the loop's own process (``num_workers=0``): rows of `make bench` are measured on
one thread, and workers would be further ones. The samples and their views are those of our plan,
so that losses can be compared step by step; drawing them is not charged to this loop.
"""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from deep.data.augment import Views
from deep.data.normalization import normalization
from deep.data.prepared import Split
from deep.training.recipes import Recipe
from deep.training.trainer import Trainer

PAD = 4


class Pictures(Dataset):
    """Transformed images and labels, by the number of the image and that of its view."""

    def __init__(self, split: Split, recipe: Recipe):
        self.images, self.labels = split.images.numpy(), split.labels.tolist()
        self.views = Views(recipe.views, recipe.pad)
        style = normalization(recipe.normalization)
        self.mean = torch.tensor(style.mean)[:, None, None]
        self.deviation = torch.tensor(style.deviation)[:, None, None]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, place):
        number, view = place
        picture = transformed(self.images[number], *self.views.geometry(view))
        return normalized(picture, self.mean, self.deviation), self.labels[number]


def transformed(pixels: np.ndarray, top: int, left: int, mirrored: bool) -> Image.Image:
    """One image, padded, cropped and perhaps mirrored."""
    height, width = pixels.shape[:2]
    picture = ImageOps.expand(Image.fromarray(pixels), border=PAD, fill=0)
    picture = picture.crop((left, top, left + width, top + height))
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else picture


def normalized(picture: Image.Image, mean: Tensor, deviation: Tensor) -> Tensor:
    """The picture as a tensor (channels, height, width)."""
    pixels = torch.from_numpy(np.array(picture))
    scaled = pixels.permute(2, 0, 1).contiguous().to(torch.float32).div(255)
    return scaled.sub_(mean).div_(deviation)


@dataclass
class ReferenceLoop:
    """One-hot training, or logit distillation where there is a teacher."""

    student: nn.Module
    teacher: nn.Module | None
    pictures: Pictures
    recipe: Recipe
    temperature: float = 4.0
    label_weight: float = 0.1

    def __post_init__(self):
        optimizer = self.recipe.optimizer
        self.optimizer = torch.optim.SGD(
            self.student.parameters(),
            lr=optimizer.learning_rate,
            momentum=optimizer.momentum,
            weight_decay=optimizer.weight_decay,
            foreach=False,
            fused=False,
        )

    @classmethod
    def beside(cls, trainer: Trainer, teacher: nn.Module | None = None, **options: Any):
        """The loop that does what ``trainer`` does, from its present weights on."""
        return cls(
            in_planes(trainer.network),
            None if teacher is None else in_planes(teacher).eval(),
            Pictures(trainer.data.train, trainer.configs[0].recipe),
            trainer.configs[0].recipe,
            **options,
        )

    def run(self, batches: list[list[tuple[int, int]]]) -> list[float]:
        """A step for each batch of (image, view); the mean loss before each."""
        losses, right, seen = [], 0.0, 0
        self.student.train()
        for images, labels in DataLoader(self.pictures, batch_sampler=batches, num_workers=0):
            said = None
            if self.teacher is not None:
                with torch.no_grad():
                    said = self.teacher.trained(images)
            logits = self.student.trained(images)
            loss = self.loss(logits, said, labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
            right += (logits.argmax(1) == labels).float().sum().item()
            seen += len(labels)
        return losses

    def loss(self, logits: Tensor, said: Tensor | None, labels: Tensor) -> Tensor:
        """Cross-entropy, and the tempered divergence from what the teacher said."""
        hard = functional.cross_entropy(logits, labels)
        if said is None:
            return hard
        tau = self.temperature
        soft = functional.kl_div(
            functional.log_softmax(logits / tau, dim=1),
            functional.softmax(said / tau, dim=1),
            reduction="batchmean",
        )
        return self.label_weight * hard + (1 - self.label_weight) * tau**2 * soft


def in_planes(network: nn.Module) -> nn.Module:
    """A copy whose weights lie as torch lays them out by itself: one plane a channel."""
    twin = copy.deepcopy(network)
    for weight in twin.parameters():
        weight.data = weight.data.contiguous()
    return twin.requires_grad_(requires_grad=True)


def batches_of(trainer: Trainer, steps: range) -> list[list[tuple[int, int]]]:
    """What `trainer` visits in these steps, counted from 0, as the loader's sampler gives it."""
    visits = [trainer.plan.visit(step) for step in steps]
    return [
        list(zip(visit.host_index.tolist(), visit.host_view.tolist(), strict=True))
        for visit in visits
    ]
