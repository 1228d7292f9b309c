"""Which samples a run is trained and judged on."""

from dataclasses import dataclass

from deep.data.noise import CHOICES
from deep.data.sources import names
from theory import checks


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSpec:
    """Which images, how many of them, and which labels they are given."""

    name: str = "digits"
    """An image set of `deep.data.names`."""
    samples: int | None = None
    """Training samples; None for all."""
    test_samples: int | None = None
    """Test samples, the first of the split; None for all."""
    choice: str = "stratified"
    """How the training samples are chosen: ``"stratified"``, ``"random"`` or ``"first"``."""
    noise: float = 0.0
    """Fraction of the training labels that are flipped."""
    noise_includes_same: bool = False
    """Whether a flipped label may be the same class again."""
    seed: int = 0
    """Of the choice of samples and of the flips."""

    def __post_init__(self) -> None:
        checks.choice("name of the image set", self.name, names())
        for name in ("samples", "test_samples"):
            value = getattr(self, name)
            if value is not None:
                checks.integer(name, value, minimum=1)
        checks.choice("choice", self.choice, CHOICES)
        checks.fraction("noise", self.noise)
        checks.flag("noise_includes_same", self.noise_includes_same)
        checks.integer("seed", self.seed)
