"""Networks as kernels, and what they do along the eigendirections of data and kernels.

The names below are loaded with torch when first asked for: statistics of paths need no torch.

>>> from theory.ntk import Projector
>>> Projector([[1.0, 0.0], [0.0, 2.0]], layer="0").eigen.eigenvalues
array([2. , 0.5])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from theory.ntk.blocks import blocks_shape, ntk_blocks
    from theory.ntk.empirical import empirical_ntk, kernel_matrix
    from theory.ntk.functional.jacobian import jacobian_contraction
    from theory.ntk.linearized.network import Linearized, linearize
    from theory.ntk.linearized.training import KernelFlow, Trained, trained_outputs
    from theory.ntk.operator import NTKOperator
    from theory.ntk.projections import (
        Eigendirections,
        OutputProjections,
        OutputProjector,
        Projections,
        Projector,
        eigendirections,
        patches,
        representations,
    )
    from theory.ntk.spectra.eigenpairs import Eigenpairs, alignment, effective_rank, top_eigenpairs

__all__ = [
    "Eigendirections",
    "Eigenpairs",
    "KernelFlow",
    "Linearized",
    "NTKOperator",
    "OutputProjections",
    "OutputProjector",
    "Projections",
    "Projector",
    "Trained",
    "alignment",
    "blocks_shape",
    "effective_rank",
    "eigendirections",
    "empirical_ntk",
    "jacobian_contraction",
    "kernel_matrix",
    "linearize",
    "ntk_blocks",
    "patches",
    "representations",
    "top_eigenpairs",
    "trained_outputs",
]

_NAMES = {
    "blocks": ("blocks_shape", "ntk_blocks"),
    "linearized.training": ("KernelFlow", "Trained", "trained_outputs"),
    "operator": ("NTKOperator",),
    "spectra.eigenpairs": ("Eigenpairs", "alignment", "effective_rank", "top_eigenpairs"),
    "empirical": ("empirical_ntk", "kernel_matrix"),
    "functional.jacobian": ("jacobian_contraction",),
    "linearized.network": ("Linearized", "linearize"),
    "projections": (
        "Eigendirections",
        "OutputProjections",
        "OutputProjector",
        "Projections",
        "Projector",
        "eigendirections",
        "patches",
        "representations",
    ),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - classes and functions
    if name not in _MODULE_OF:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
