"""What a network does along eigendirections, recorded in anyone's loop.

`Projector` reads the weights of a layer on the eigendirections of what the layer sees,
`representations` and `patches` say what a layer sees, and `OutputProjector` reads outputs and
residuals on the eigenvectors of a kernel.
"""

from theory.ntk.projections.layers import patches, representations
from theory.ntk.projections.outputs import OutputProjections, OutputProjector
from theory.ntk.projections.weights import (
    RANK_TOLERANCE,
    Eigendirections,
    Projections,
    Projector,
    eigendirections,
)

__all__ = [
    "RANK_TOLERANCE",
    "Eigendirections",
    "OutputProjections",
    "OutputProjector",
    "Projections",
    "Projector",
    "eigendirections",
    "patches",
    "representations",
]
