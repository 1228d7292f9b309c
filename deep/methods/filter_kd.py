r"""Filter-KD: a table of the teacher's own predictions, filtered over its epochs.

.. math:: \ell = w \, CE(e_y, \sigma(z)) + (1 - w) \, c \, CE(q^{(\tau)}, \sigma(z / \tau)), \qquad
          q^{(\tau)} \propto q^{1 / \tau}

with q the sample's row of the table, whatever its view [Ren 2022, section 4 and Algorithm 1].
How the row is made is told in `deep.method.FilterTable`.
"""

from dataclasses import dataclass

from torch import Tensor

from deep.losses import FACTORS, VALUES, cross_entropy, distillation, logits_of
from deep.method import STOPS, Batch, FilterTable, Needs, Outputs, State
from theory import checks


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyper:
    """Defaults: Ren 2022, Algorithm 1 and section 5.

    Its released code: ``factor="2tau2", value="kl", init="first"``. A slow filter keeps much of the
    untrained network: where the best epoch m is early, (1 - a)^m of the initial pass is left;
    ``init="debias"`` or a larger ``smoothing`` then help.
    """

    temperature: float = 1.0
    """tau of both networks (Ren 2022 Table 4 has .5, 1, 2, 10)."""
    label_weight: float = 0.0
    """w; the teacher's part has the rest (Ren 2022: all of it)."""
    factor: str = "1"
    """c: ``"1"`` (eq. 7), ``"tau"``, ``"tau2"`` or ``"2tau2"`` (released code)."""
    value: str = "ce"
    """``"ce"`` (eq. 7) or ``"kl"`` (released code), less by c times the entropy of the targets;
    the gradients are equal."""
    smoothing: float = 0.05
    """a in (0, 1] of the filter (Table 5 has .01 to 1)."""
    init: str = "pass"
    """How the table starts: ``"pass"`` (Algorithm 1), ``"first"`` (released code), ``"debias"``;
    see `deep.method.FilterTable`."""
    filter_temperature: float = 1.0
    """Temperature of the predictions that enter the table (the older released script: tau)."""
    stop: str = "best"
    """Which table teaches: of the ``"best"`` validation epoch (early stopping, Algorithm 1), or
    the ``"last"``."""

    def __post_init__(self) -> None:
        checks.temperature("temperature", self.temperature)
        checks.fraction("label_weight", self.label_weight)
        checks.choice("factor", self.factor, FACTORS)
        checks.choice("value", self.value, VALUES)
        checks.choice("stop", self.stop, STOPS)
        checks.temperature("filter_temperature", self.filter_temperature)
        _table(self)


def filtered_distillation(
    student_logits: Tensor,
    log_table: Tensor,
    labels: Tensor,
    *,
    temperature: float = 1.0,
    label_weight: float = 0.0,
    factor: str = "1",
    value: str = "ce",
) -> Tensor:
    r"""The loss above, one value a sample.

    Args:
        student_logits: z, shape (..., batch, classes).
        log_table: :math:`\ln q`, of the same shape; -inf where a row has 0.
        labels: y, int64 of shape (..., batch).
        temperature: tau.
        label_weight: w.
        factor: c.
        value: Whether the table's part is a cross-entropy or a divergence.

    >>> import torch
    >>> z, q = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.75, 0.25, 0.0]])
    >>> filtered_distillation(z, q.log(), torch.tensor([0]))
    tensor([0.8014])
    """
    soft = distillation(
        student_logits, log_table, temperature=temperature, factor=factor, value=value
    )
    return label_weight * cross_entropy(student_logits, labels) + (1 - label_weight) * soft


def needs(hyper: Hyper) -> Needs:
    """The table, which the teacher keeps while it trains."""
    return Needs(teacher="table", table=_table(hyper), stop=hyper.stop)


def loss(
    hyper: Hyper,
    student: Outputs,
    teacher: Outputs | None,
    batch: Batch,
    state: State,  # noqa: ARG001
) -> dict[str, Tensor]:
    """One term, `filtered_distillation`."""
    value = filtered_distillation(
        student.logits,
        logits_of(teacher),
        batch.labels,
        temperature=hyper.temperature,
        label_weight=hyper.label_weight,
        factor=hyper.factor,
        value=hyper.value,
    )
    return {"loss": value}


def _table(hyper: Hyper) -> FilterTable:
    return FilterTable(
        smoothing=hyper.smoothing, init=hyper.init, temperature=hyper.filter_temperature
    )
