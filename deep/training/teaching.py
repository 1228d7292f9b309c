"""Where the logits of a teacher come from: its network, the table of its views, or a table of rows.

A network in evaluation mode says the same of a view whenever it is asked, so that its outputs over
the finitely many views of a finite augmentation are computed once, and shared by all students.
"""

from typing import Protocol

import torch
from torch import Tensor, nn

from deep.data.augment import Viewer, normalize
from deep.data.normalization import Normalization
from deep.data.prepared import Split
from deep.training import evaluation
from deep.training.plan import Visit
from deep.training.teacher_views import ViewTable

CHUNK = 32
"""Cells of a table that are computed at once on a CPU, always so many: what a sample's outputs are
to the last bit can depend on the size of its batch, and must not depend on what is missing."""


class Look:
    """The views of one step as inputs of networks, each normalization computed once."""

    def __init__(self, viewer: Viewer, visit: Visit, *, white: int) -> None:
        self._viewer, self._visit, self._white = viewer, visit, white
        self._pixels: Tensor | None = None
        self._inputs: dict[Normalization, Tensor] = {}

    def inputs(self, normalization: Normalization, *, plain: bool = False) -> Tensor:
        """Normalized pixels of the views, or the unaltered images: (..., batch, inputs)."""
        if plain:
            unaltered = torch.full_like(self._visit.view, self._viewer.views.plain)
            pixels = self._viewer(self._visit.index, unaltered)
            return normalize(pixels, normalization, white=self._white)
        if normalization not in self._inputs:
            if self._pixels is None:
                self._pixels = self._viewer(self._visit.index, self._visit.view)
            self._inputs[normalization] = normalize(self._pixels, normalization, white=self._white)
        return self._inputs[normalization]


class Teacher(Protocol):
    """Whoever has logits for the samples of a step."""

    def logits(self, visit: Visit, look: Look) -> Tensor:
        """Shape (..., batch, classes)."""
        ...


class NetworkTeacher:
    """A network that is asked in every step.

    Args:
        network: It; set to evaluation mode, or to training mode where ``statistics`` is
            ``"batch"``, as the released code of Zhou 2021 does.
        normalization: Of its inputs.
        statistics: ``"stored"`` or ``"batch"``.
        plain: Whether it sees the unaltered images, whatever the student sees.
        dtype: Numbers that what it says is rounded to; a table rounds by itself.
    """

    def __init__(
        self,
        network: nn.Module,
        normalization: Normalization,
        *,
        statistics: str = "stored",
        plain: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.network, self.normalization, self.plain = network, normalization, plain
        self.dtype = dtype
        network.requires_grad_(requires_grad=False)
        network.train(mode=statistics == "batch")

    @torch.no_grad()
    def logits(self, visit: Visit, look: Look) -> Tensor:  # noqa: ARG002
        """What the network says of the views of this step."""
        said = self.on(look.inputs(self.normalization, plain=self.plain))
        return said.to(self.dtype).float()

    @torch.no_grad()
    def on(self, inputs: Tensor) -> Tensor:
        """What the network says, whatever leading axes the inputs have."""
        if inputs.ndim > 2 and self.network.training:
            # the statistics of a batch are those of one member's batch
            return torch.stack([self.on(member) for member in inputs])
        flat = inputs.reshape(-1, inputs.shape[-1])
        said: Tensor = self.network(flat)
        return said.reshape(*inputs.shape[:-1], -1)


def plain_logits(
    network: nn.Module, split: Split, normalization: Normalization, *, white: int
) -> Tensor:
    """What a network in evaluation mode says of unaltered images: (samples, classes), on the CPU.

    Args:
        network: It, where the images are.
        split: Images.
        normalization: Of its inputs.
        white: The pixel value of full intensity.
    """
    device = split.images.device

    def inputs(rows: Tensor) -> Tensor:
        return normalize(split.images[rows.to(device)], normalization, white=white)

    return evaluation.logits_of(network, inputs, len(split)).cpu()


class TableTeacher:
    """A network that is asked once for every view of every image.

    Args:
        teacher: The network.
        table: What it has said.
        viewer: The images and their views.
        white: The pixel value of full intensity.
    """

    def __init__(
        self, teacher: NetworkTeacher, table: ViewTable, viewer: Viewer, *, white: int
    ) -> None:
        self.teacher, self.table = teacher, table
        self._viewer, self._white = viewer, white

    def logits(self, visit: Visit, look: Look) -> Tensor:  # noqa: ARG002
        """What the network has said of these views, asking it for those not seen before."""
        view = visit.host_view
        if self.teacher.plain:
            view = torch.full_like(view, self._viewer.views.plain)
        return self.table.lookup(visit.host_index, view, self.compute)

    @torch.no_grad()
    def compute(self, index: Tensor, view: Tensor) -> Tensor:
        """Logits of cells, (cells, classes), in chunks of one size."""
        device = next(self.teacher.network.parameters()).device
        if device.type != "cpu":
            # from pinned memory, or the host would wait until the device has done all before
            sent = (part.pin_memory().to(device, non_blocking=True) for part in (index, view))
            return self._asked(*sent)
        count = len(index)
        short = -count % CHUNK
        index, view = (torch.cat([part, part[:1].expand(short)]) for part in (index, view))
        parts = [
            self._asked(*cells)
            for cells in zip(torch.split(index, CHUNK), torch.split(view, CHUNK), strict=True)
        ]
        return torch.cat(parts)[:count]

    def _asked(self, index: Tensor, view: Tensor) -> Tensor:
        pixels = self._viewer(index, view)
        return self.teacher.on(normalize(pixels, self.teacher.normalization, white=self._white))


class RowTeacher:
    """One distribution a sample, whatever its view: the filtered table.

    Args:
        rows: Probabilities, shape (samples, classes).
    """

    def __init__(self, rows: Tensor) -> None:
        self.log_rows = rows.log()  # -inf for a class that is ruled out

    def logits(self, visit: Visit, look: Look) -> Tensor:  # noqa: ARG002
        """Logarithms of the rows."""
        return self.log_rows[visit.index]
