"""Networks as kernels, and their weights on the eigendirections of data.

The names below are loaded with torch when first asked for: statistics of paths need no torch.

>>> from theory.ntk import Projector
>>> Projector([[1.0, 0.0], [0.0, 2.0]], layer="0").eigen.eigenvalues
array([2. , 0.5])
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from theory.ntk.projections import Eigendirections, Projections, Projector, eigendirections

__all__ = ["Eigendirections", "Projections", "Projector", "eigendirections"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - classes and functions
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from theory.ntk import projections

    return getattr(projections, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
