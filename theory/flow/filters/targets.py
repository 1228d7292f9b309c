"""Affine transforms of targets: label smoothing and teacher correction in the linear model."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.flow.filters.base import put
from theory.statements import states


@states(
    "flow:smoothing-keeps-decisions",
    "Under the squared loss label smoothing scales all class margins of a linear model by the "
    "same factor, so it changes no decision.",
    source="Zhang 2020, eq. 7, in the linear model",
)
@dataclass(frozen=True)
class AffineTargets:
    r"""Targets :math:`Y' = p Y + q 1 1^\top`, entry by entry.

    Training is linear in the targets, so the outputs are :math:`p\,g(\Theta) Y + q\,g(\Theta) 1
    1^\top`: the added column is the same for all classes, margins scale by p, and the arg-max
    never changes for p > 0.
    """

    scale: float
    """p, the factor of the labels."""
    shift: float
    """q, what every class gets."""

    def __post_init__(self) -> None:
        put(
            self, scale=checks.scalar("scale", self.scale), shift=checks.scalar("shift", self.shift)
        )

    @classmethod
    def smoothing(cls, epsilon: float, classes: int) -> "AffineTargets":
        r"""Label smoothing :math:`(1 - \epsilon) Y + \epsilon / K`.

        Example:
            >>> AffineTargets.smoothing(0.1, 10)([[0.0, 1.0]])
            array([[0.01, 0.91]])
        """
        epsilon = checks.fraction("epsilon", epsilon)
        count = checks.count("classes", classes, minimum=2)
        return cls(1.0 - epsilon, epsilon / count)

    @classmethod
    def corrected(cls, mass: float, classes: int, weight: float = 1.0) -> "AffineTargets":
        r"""Labels mixed with the corrected uniform teacher of Wang 2020 (LsrKD-TC).

        The teacher puts ``mass`` (:math:`\gamma`) on the true class and spreads the rest evenly;
        it has the given weight in the mixture: :math:`p = 1 - w + w (\gamma K - 1) / (K - 1)`,
        :math:`q = w (1 - \gamma) / (K - 1)`.
        """
        mass, weight = checks.fraction("mass", mass), checks.fraction("weight", weight)
        count = checks.count("classes", classes, minimum=2)
        others = count - 1
        scale = (1.0 - weight) + weight * (mass * count - 1.0) / others
        return cls(scale, weight * (1.0 - mass) / others)

    def __call__(self, targets: ArrayLike) -> Array:
        """The transformed targets."""
        return np.asarray(self.scale * checks.real_array("targets", targets) + self.shift)
