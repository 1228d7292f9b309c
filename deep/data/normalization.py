"""How pixels become inputs of a network: channel means and deviations, by name.

| name | mean | deviation | source |
|---|---|---|---|
| ``cifar100`` | .5071, .4867, .4408 | .2675, .2565, .2761 | Tian et al. 2020, code; Zhou 2021 |
| ``cifar10`` | .4914, .4822, .4465 | .2023, .1994, .2010 | Ren 2022, code |
| ``overhaul`` | 125.3, 123.0, 113.9 of 255 | 63.0, 62.1, 66.7 of 255 | Heo et al. 2019, code |
| ``mnist`` | .1307 | .3081 | the usual ones of MNIST |
| ``gaussian`` | 128 of 255 | 16 of 255 | undoes the levels of that set: the inputs of Ren 2022 |
| ``unit`` | - | - | pixels in [0, 1] as they are, any number of channels |

The deviations of ``cifar10`` are means over images of an image's own deviation, not the deviation
of all pixels (.247, .243, .262): the code that the paper's authors released has them so.
"""

from dataclasses import dataclass

from theory import checks


@dataclass(frozen=True, slots=True)
class Normalization:
    r"""The map :math:`x \mapsto (x - m_c) / d_c` of intensities in [0, 1], one pair a channel.

    >>> normalization("mnist").mean
    (0.1307,)
    """

    mean: tuple[float, ...]
    """m, one a channel; empty where every channel stays as it is."""
    deviation: tuple[float, ...]
    """d > 0, one a channel."""

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.deviation):
            msg = (
                "mean and deviation must have one entry a channel each, "
                f"got {len(self.mean)} and {len(self.deviation)}"
            )
            raise ValueError(msg)
        for value in self.mean:
            checks.scalar("mean", value)
        for value in self.deviation:
            checks.positive("deviation", checks.scalar("deviation", value))

    def check_channels(self, channels: int) -> None:
        """Raise unless images of so many channels can be normalized so.

        Raises:
            ValueError: If they cannot; it says what to choose.
        """
        if self.mean and channels != len(self.mean):
            known = [name for name, one in _KNOWN.items() if len(one.mean) in (0, channels)]
            msg = (
                f"normalization has {len(self.mean)} channels, the images have {channels}; "
                f"choose one of {', '.join(map(repr, known))}"
            )
            raise ValueError(msg)


_KNOWN = {
    "cifar100": Normalization((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    "cifar10": Normalization((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "overhaul": Normalization(
        (125.3 / 255, 123.0 / 255, 113.9 / 255), (63.0 / 255, 62.1 / 255, 66.7 / 255)
    ),
    "mnist": Normalization((0.1307,), (0.3081,)),
    "gaussian": Normalization((128 / 255,), (16 / 255,)),
    "unit": Normalization((), ()),
}


def names() -> tuple[str, ...]:
    """Names of the normalizations.

    >>> names()
    ('cifar100', 'cifar10', 'overhaul', 'mnist', 'gaussian', 'unit')
    """
    return tuple(_KNOWN)


def normalization(name: str) -> Normalization:
    """The normalization ``name``.

    Raises:
        ValueError: If there is none; the message lists what there is.
    """
    checks.choice("normalization", name, names())
    return _KNOWN[name]
