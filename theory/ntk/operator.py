r"""The kernel as a linear operator: products with it that never form it.

.. math:: K v = J_1 (J_2^\top v)

A layer is linear in its own parameters. So :math:`J_2^\top v` is, layer by layer, the cotangents at
its output weighted by v and pulled back to the parameters; and :math:`J_1 u` is the layer with the
parameters u, applied to what it saw, met by the cotangents again. With P parameters, N samples and
inputs and cotangents kept, a product costs about 4 N P operations for dense layers, whatever K is.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from theory import checks
from theory.ntk.arrays import plain
from theory.ntk.engine.choices import chosen_parameters, ready_inputs
from theory.ntk.engine.model import Engine
from theory.ntk.engine.planning import some_of_both, until_settled
from theory.ntk.functional.function import _probe
from theory.ntk.held import Held
from theory.ntk.sides import COLUMNS, Side, own_parameters

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

MEMORY = 1 << 32
"""Bytes for what is kept between products, unless said otherwise."""


class NTKOperator:
    r"""Products with the kernel of a network between x and x2, shape (N K, M K).

    Vectors are numbered like ``model(x).reshape(-1)``: entry n K + i is output i of sample n.

    Args:
        model: The network, in eval mode, with outputs of shape (N, K); nothing of it is changed.
            Its weights, buffers and modes must stay as they are: once they have changed, as by a
            step of an optimizer, products are refused.
        x: Inputs of the rows.
        x2: Inputs of the columns; by default those of the rows.
        parameters: As of `empirical_ntk`: names or a predicate; by default all that require a
            gradient.
        memory: Bytes for inputs and cotangents kept between products, and for passes through the
            network. Where they do not fit, each product passes through the network again, in
            blocks, at two to three times the cost. Gradients of up to 8 vectors, and a copy of the
            weights, come on top.

    Raises:
        ValueError: As `empirical_ntk`; and, of products, if the network or the inputs have changed
            since.

    Example:
        >>> operator = NTKOperator(nn.Linear(2, 1), torch.tensor([[1.0, 2.0], [0.0, 1.0]]))
        >>> operator.matvec(torch.tensor([1.0, 1.0]))
        tensor([9., 5.])
        >>> operator.shape, operator.diagonal().flatten()
        ((2, 2), tensor([6., 2.]))
    """

    @torch.inference_mode(mode=False)
    def __init__(
        self,
        model: nn.Module,
        x: Tensor,
        x2: Tensor | None = None,
        *,
        parameters: Any = None,  # noqa: ANN401 - names or a predicate
        memory: int = MEMORY,
    ) -> None:
        self._memory = checks.count("memory", memory, minimum=1)
        rows, columns = ready_inputs(model, x, x2, None)
        names = chosen_parameters(model, parameters)

        def made(general: frozenset[str]) -> tuple[Engine, Side, Side]:
            first = rows if columns is None else some_of_both(rows, columns)
            engine = _ready(
                Engine(model, names, first, None, general, memory=self._memory), rows, columns
            )
            if columns is None:
                both = Side(engine, rows, self._memory)
                return engine, both, both
            half = self._memory // 2
            return engine, Side(engine, rows, half), Side(engine, columns, half)

        self._held = Held(model, [each for each in (x, x2) if each is not None])
        try:
            self._engine, self._rows, self._columns = until_settled(model, made)
        finally:
            self._held.restore()
        self._outputs = self._engine.plan.outputs
        self.shape = (len(rows) * self._outputs, len(self._columns.x) * self._outputs)
        """(N K, M K)."""
        self.dtype = self._engine.like.dtype
        """Of the outputs of the network."""
        self.device = self._engine.like.device
        """On which the network is."""
        self.outputs = self._outputs
        """K."""

    def matvec(self, vector: Tensor) -> Tensor:
        """K v, shape (N K,), of a vector of shape (M K,)."""
        self._check("vector", vector, (self.shape[1],))
        return self._product(self._columns, self._rows, vector[:, None])[:, 0]

    def rmatvec(self, vector: Tensor) -> Tensor:
        r""":math:`K^\\top v`, shape (M K,), of a vector of shape (N K,)."""
        self._check("vector", vector, (self.shape[0],))
        return self._product(self._rows, self._columns, vector[:, None])[:, 0]

    def matmat(self, vectors: Tensor) -> Tensor:
        """K V, shape (N K, R), of columns of shape (M K, R)."""
        self._check("vectors", vectors, (self.shape[1], None))
        return self._product(self._columns, self._rows, vectors)

    def rmatmat(self, vectors: Tensor) -> Tensor:
        r""":math:`K^\\top V`, shape (M K, R), of columns of shape (N K, R)."""
        self._check("vectors", vectors, (self.shape[0], None))
        return self._product(self._rows, self._columns, vectors)

    def diagonal(self) -> Tensor:
        """Squared norms of the gradients of all outputs, shape (N, K).

        Raises:
            ValueError: If there is an x2, or the network or the inputs have changed.
        """
        if self._columns is not self._rows:
            msg = "diagonal is of a kernel of samples with themselves; x2 must be left out"
            raise ValueError(msg)
        with self._held.unchanged():
            return self._rows.squares()

    def to_scipy(self) -> "LinearOperator":
        """The same as a `scipy.sparse.linalg.LinearOperator` on NumPy arrays, complex ones too.

        Of bfloat16, which arrays do not have, in and out in float32.
        """
        from scipy.sparse.linalg import LinearOperator

        def of(product: Callable[[Tensor], Tensor]) -> Callable[[Any], Any]:
            def apply(values: Any) -> Any:  # noqa: ANN401 - arrays
                if np.iscomplexobj(values):  # the kernel is real
                    return apply(values.real) + 1j * apply(values.imag)
                given = torch.as_tensor(values, dtype=self.dtype, device=self.device)
                found = plain(product(given.reshape(len(given), -1)))
                return np.reshape(found, (-1, *values.shape[1:]))

            return apply

        return LinearOperator(
            self.shape,
            matvec=of(self.matmat),
            rmatvec=of(self.rmatmat),
            matmat=of(self.matmat),
            rmatmat=of(self.rmatmat),
            dtype=np.asarray(plain(self._engine.like)).dtype,
        )

    def _product(self, source: Side, target: Side, vectors: Tensor) -> Tensor:
        """J' (J^T V), for a few columns at a time."""
        with self._held.unchanged(), torch.inference_mode(mode=False), torch.no_grad():
            parts = [
                target.forward(source.pullback(part.reshape(len(source.x), -1, part.shape[1])))
                for part in torch.split(vectors.detach(), COLUMNS, dim=1)
            ]
        return torch.cat(parts, 2).flatten(0, 1)

    def _check(self, name: str, values: object, shape: tuple[int | None, ...]) -> None:
        if not isinstance(values, Tensor):
            msg = f"{name} must be a tensor, got {type(values).__name__}; see to_scipy for arrays"
            raise ValueError(msg)  # noqa: TRY004 - bad input is a ValueError everywhere
        fits = values.ndim == len(shape) and all(
            size in (None, own) for size, own in zip(shape, values.shape, strict=True)
        )
        if not fits or values.shape[-1] == 0:
            wanted = tuple("R" if size is None else size for size in shape)
            msg = f"{name} must have shape {wanted}, got {tuple(values.shape)}"
            raise ValueError(msg)
        if values.dtype != self.dtype or values.device != self.device:
            msg = (
                f"{name} must be of dtype {self.dtype} on {self.device}, got {values.dtype} on "
                f"{values.device}"
            )
            raise ValueError(msg)


def _ready(engine: Engine, rows: Tensor, columns: Tensor | None) -> Engine:
    """The engine, less layers whose weights are made of others.

    Raises:
        ValueError: If outputs depend on the other samples of a batch.
    """
    plan = engine.plan
    odd = {name for name, each in engine.layers.items() if not _is_plain(each)}
    if odd:
        moved = [f"{name}.{own}" if name else own for name in odd for own in plan.layers[name]]
        layers = {name: own for name, own in plan.layers.items() if name not in odd}
        engine.plan = replace(plan, layers=layers, general=(*plan.general, *moved))
        engine.layers = {name: engine.layers[name] for name in layers}
    pair = torch.cat([rows[:1], (rows if columns is None else columns)[-1:]])
    with torch.no_grad():
        _probe(lambda _, batch: engine.subject(batch.clone()), rows[:1], pair)
    return engine


def _is_plain(module: nn.Module) -> bool:
    """Whether a layer's weights are its own, and not made of others by a hook."""
    return own_parameters(module).keys() <= {"weight", "bias"}
