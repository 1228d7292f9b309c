r"""The weight of the teacher while a student is switched from one loss to the other.

.. math:: L = (1 - \lambda(t)) \, CE(e_y, q) + \lambda(t) \, L_{KD}

What a linear model learns under it is in `theory.flow.filters` (``DistillThenLabels``,
``LabelsThenDistill``).
"""

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.statements import states

_ORDERS = ("labels-first", "teacher-first")
_RAMPS = ("start", "center")


@states(
    "labels:switch-partition",
    "At every time the weights of the teacher in a switch to it and in the reverse switch add up "
    "to 1, so that each loss has what the other lacks.",
    source="Nagarajan 2023, section 5.2 and appendix E",
)
def teacher_weight(
    time: ArrayLike,
    switch_time: float,
    window: float = 0.0,
    *,
    order: str = "labels-first",
    ramp: str = "start",
) -> Array:
    r"""Weight :math:`\lambda(t)` of the distillation loss; the labels have the rest.

    .. math:: \lambda(t) = \mathrm{clip}\left(\frac{t - t_0}{w}, 0, 1\right)

    for labels first, one less that for the teacher first. An abrupt switch (w = 0) counts
    :math:`t = t_0` as after it. The paper says "over a window" and neither its shape nor where it
    begins: a linear change that begins at :math:`t_0` is taken, ``ramp="center"`` is one that has
    its middle there.

    Args:
        time: t, any shape; infinities are legal.
        switch_time: :math:`t_0`, in the same unit.
        window: w >= 0.
        order: ``"labels-first"`` or ``"teacher-first"``.
        ramp: ``"start"`` or ``"center"``.

    Returns:
        Numbers in [0, 1] of the shape of ``time``.

    Raises:
        ValueError: For nan, a negative window, or another order or ramp.

    References:
        Nagarajan et al. 2023, section 5.2 and appendix E.

    Example:
        >>> teacher_weight([10, 15, 20, 30], 15, 10)
        array([0. , 0. , 0.5, 1. ])
        >>> teacher_weight([10, 15, 20, 30], 15, 10, order="teacher-first", ramp="center")
        array([1. , 0.5, 0. , 0. ])
    """
    t = checks.real_array("time", time, infinite=True)
    begin = checks.scalar("switch_time", switch_time)
    width = checks.scalar("window", window)
    checks.nonnegative("window", width)
    checks.choice("order", order, _ORDERS)
    checks.choice("ramp", ramp, _RAMPS)
    share = 0.5 if ramp == "center" else 0.0
    with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
        past = t - begin
        done = past / width + share if width > 0 else np.where(past >= 0, 1.0, 0.0)
        if order == "teacher-first":  # from the other end, so that a small weight keeps its digits
            done = (width - past) / width - share if width > 0 else 1.0 - done
    return np.asarray(np.clip(done, 0.0, 1.0))[()]
