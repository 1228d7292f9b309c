"""Which samples a run is trained and judged on."""

from dataclasses import dataclass, replace

from deep.data.human import label_sets
from deep.data.noise import CHOICES
from deep.data.sources import check_name, is_own, kind
from theory import checks


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSpec:
    """Which images, how many of them, and which labels they are given.

    >>> DataSpec(name="cifar10", labels="cifar10n-worse", samples=5_000).noise
    0.0
    """

    name: str = "digits"
    """An image set of `deep.data.names`, or the user's own: ``folder:PATH``, ``parquet:PATH``
    (`deep.data.folders`)."""
    samples: int | None = None
    """Training samples; None for all."""
    test_samples: int | None = None
    """Test samples; None for all. The first of the split, but of the user's own files, which may
    stand class by class, the first of each class in proportion."""
    choice: str = "stratified"
    """How the training samples are chosen: ``"stratified"``, ``"random"`` or ``"first"`` (as for
    testing)."""
    noise: float = 0.0
    """Fraction of the training labels that are flipped."""
    noise_includes_same: bool = False
    """Whether a flipped label may be the same class again."""
    seed: int = 0
    """Of the choice of samples and of the flips."""
    labels: str = "given"
    """``"given"``: those of the image set; or a set of human labels of the training images that
    fits it (`deep.data.human`), such as ``"cifar10n-worse"``."""

    def __post_init__(self) -> None:
        check_name(self.name)
        for name in ("samples", "test_samples"):
            value = getattr(self, name)
            if value is not None:
                checks.integer(name, value, minimum=1)
        checks.choice("choice", self.choice, CHOICES)
        checks.fraction("noise", self.noise)
        checks.flag("noise_includes_same", self.noise_includes_same)
        checks.integer("seed", self.seed)
        checks.choice(f"labels of {self.name}", self.labels, ("given", *label_sets(self.name)))

    def without_place(self) -> "DataSpec":
        """The same but for where the user's own files are, which `fingerprint_of` tells apart.

        >>> DataSpec(name="folder:~/pictures").without_place().name
        'folder:*'
        """
        return replace(self, name=f"{kind(self.name)}:*") if is_own(self.name) else self
