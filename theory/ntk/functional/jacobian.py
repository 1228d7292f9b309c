r"""The empirical kernel by torch.func alone: slower than rules for layers, right for any function.

.. math:: K[n, m, i, j] = \Big\langle \frac{\partial f_i(x_n)}{\partial\theta},
          \frac{\partial f_j(x_m)}{\partial\theta} \Big\rangle

Two routes [Novak, Sohl-Dickstein and Schoenholz 2022, sections 3.2 and 3.3]: *contraction* forms
rows of Jacobians and multiplies them; *products* pulls each output of a column back to the
parameters and pushes it forward to the outputs of all rows. Both work in blocks that fit a budget
of bytes, and a sample is always differentiated alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from theory import checks
from theory.ntk.arrays import slices
from theory.ntk.functional.function import Function, as_function
from theory.ntk.inputs import check_inputs
from theory.ntk.outputs import OutputChoice, output_choice

DEFAULT_MEMORY = 1 << 30
METHODS = ("auto", "contraction", "products")
# Per number of a Jacobian row: itself and the copy from which an operation gathers it.
_COPIES = 2
# Samples whose Jacobians stay, of the samples held at once; the others stream past them.
_HELD = 0.75


def jacobian_contraction(
    f: Callable[[Any, Tensor], Tensor],
    params: Any,  # noqa: ANN401 - any tree of tensors
    x1: Tensor,
    x2: Tensor | None = None,
    *,
    outputs: str | Sequence[int] | Tensor = "full",
    memory: int | None = None,
    method: str = "auto",
) -> Tensor:
    r"""Empirical neural tangent kernel of a function of parameters and a batch, exactly.

    Each sample is differentiated as a batch of one, by ``torch.func`` vectorized over samples, or
    sample by sample with plain autograd where ``f`` does not allow that (control flow that depends
    on data, operations without a batching rule). Floating leaves of ``params`` are
    differentiated, complex ones as pairs of real numbers; integer leaves stay fixed; a leaf that
    ``f`` does not use adds zero. Entries that are one tensor under two names count as two
    parameters.

    With P parameters, k outputs, N x M pairs of samples and F operations in one forward pass of
    one sample (counted, and at least 2 P), the routes cost

    - contraction: :math:`2 N M k^2 P` for the products (k instead of k^2 for the trace and the
      diagonal), and :math:`(1 + 2 k) F` for each Jacobian of a sample, computed anew for each
      block of rows;
    - products: :math:`(2 k + 1 / c) N M F` for c columns at a time, and :math:`(1 + 2 k) M F`.

    ``"auto"`` takes the smaller. Blocks of samples, then of outputs, then of parameters are made
    smaller until the Jacobian rows, and the values that one forward pass of a sample saves
    (measured), fit into ``memory``. The result itself is not counted.

    Args:
        f: ``f(params, x)`` with outputs of shape (N, K) for a batch x, row n a function of x[n]
            alone.
        params: A tensor, or dicts, lists and tuples of tensors.
        x1: Inputs, shape (N, ...), of any type (integers for embeddings).
        x2: Other inputs, shape (M, ...); None stands for ``x1``, and the result is then
            symmetric to the last bit: each pair is computed once.
        outputs: ``"full"`` for all pairs of outputs; ``"trace"`` for the sum over
            i of K[n, m, i, i]; ``"diagonal"`` for K[n, m, i, i]; ``"pseudo"`` for the kernel of
            the sum of outputs over the root of K, the sum over i, j of K[n, m, i, j] / K [Mohamadi,
            Bae and Sutherland 2023]; a list of outputs for their pairs alone.
        memory: Bytes for everything but the result; None for 1 GiB.
        method: ``"auto"``, ``"contraction"`` or ``"products"``.

    Returns:
        Contiguous, in the type and on the device of the outputs: (N, M, K, K), (N, M),
        (N, M, K), (N, M), or (N, M, k, k) for k listed outputs.

    Raises:
        ValueError: If a batch is empty, outputs are not a matrix with a row for each sample or
            depend on other samples of the batch or on chance, numbers are not finite, tensors
            are on different devices, a block does not fit into ``memory``, or ``"products"`` is
            asked for where ``f`` has no forward-mode derivative.

    Example:
        >>> def f(params, x):
        ...     return torch.tanh(x @ params["w"])
        >>> params = {"w": torch.zeros(2, 2)}
        >>> x = torch.tensor([[1.0, 0.0], [1.0, 2.0]])
        >>> jacobian_contraction(f, params, x, outputs="trace")
        tensor([[ 2.,  2.],
                [ 2., 10.]])
    """
    checks.choice("method", method, METHODS)
    budget = DEFAULT_MEMORY if memory is None else checks.integer("memory", memory, minimum=1)
    with torch.inference_mode(mode=False), torch.no_grad():
        function = as_function(f, params, x1)
        x1 = function.inputs(x1)
        x2 = None if x2 is None else function.inputs(check_inputs("x2", x2, like=x1))
        choice = output_choice(outputs, function.outputs)
        columns = len(x1 if x2 is None else x2)
        route = _route(function, choice, method, x1, columns, budget)
        kernel = _Blocks(function, choice, route).kernel(x1, x2)
        if not bool(torch.isfinite(kernel).all()):
            where = torch.nonzero(~torch.isfinite(kernel))[0].tolist()
            msg = (
                f"the kernel must be finite, got {float(kernel[tuple(where)])} for samples "
                f"{where[0]} and {where[1]}: the derivative of f is infinite or overflows there. "
                "Move the inputs or use float64"
            )
            raise ValueError(msg)
    return kernel


@dataclass(frozen=True, slots=True)
class _Route:
    """How the work is cut."""

    method: str
    groups: tuple[tuple[str, ...], ...]
    """Names of parameters differentiated together."""
    rows: int
    """Outputs differentiated together."""
    held: int
    """Samples of the rows of a block."""
    streamed: int
    """Samples of its columns."""


def _route(
    function: Function, choice: OutputChoice, method: str, x: Tensor, columns: int, budget: int
) -> _Route:
    """The cheaper route that is possible, cut to the budget."""
    pairs = len(x), columns
    contraction = _cut(function, choice.rows, pairs, budget)
    if method == "contraction":
        return contraction
    products = _cut_products(function, contraction, pairs, budget)
    if method == "auto" and _cost(function, choice, contraction, pairs) <= _cost(
        function, choice, products, pairs
    ):
        return contraction
    if function.pushes(x):
        return products
    if method == "products":
        msg = (
            "method 'products' needs a forward-mode derivative of f that vectorizes, which f does "
            "not have; use 'contraction' or 'auto'"
        )
        raise ValueError(msg)
    return contraction


def _cut(function: Function, rows: int, pairs: tuple[int, int], budget: int) -> _Route:
    """Blocks of contraction: all outputs and parameters if two samples fit so, else fewer."""
    groups: tuple[tuple[str, ...], ...] = (tuple(function.sizes),)
    while True:
        size = max(sum(function.sizes[name] for name in group) for group in groups)
        saved = 2 * function.saved
        per_row = _COPIES * size + saved
        fitting = (budget // (2 * function.itemsize) - saved) // per_row
        if fitting >= 1:
            break
        groups = _halved(function, groups)
    rows = min(rows, fitting)
    samples = max(2, budget // (function.itemsize * (rows * per_row + saved)))
    held = min(pairs[0], max(1, int(_HELD * samples)))
    return _Route("contraction", groups, rows, held, min(pairs[1], samples - held))


def _halved(function: Function, groups: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
    """Twice as many groups of parameters, by size as even as they come."""
    if all(len(group) == 1 for group in groups):
        largest = max(function.sizes.values())
        needed = 2 * function.itemsize * (_COPIES * largest + 4 * function.saved)
        msg = (
            "memory must hold one block, two samples with one output and the largest parameter: "
            f"{needed} bytes; give more memory or split the parameter"
        )
        raise ValueError(msg)
    count = min(2 * len(groups), len(function.sizes))
    bins: list[list[str]] = [[] for _ in range(count)]
    for name in sorted(function.sizes, key=lambda name: -function.sizes[name]):
        min(bins, key=lambda part: sum(function.sizes[each] for each in part)).append(name)
    return tuple(tuple(part) for part in bins)


def _cut_products(
    function: Function, contraction: _Route, pairs: tuple[int, int], budget: int
) -> _Route:
    """Half of the budget for cotangents in parameter space, half for pushing them forward."""
    size = max(sum(function.sizes[name] for name in group) for group in contraction.groups)
    half, saved = budget // (2 * function.itemsize), 2 * function.saved
    columns = max(1, half // (contraction.rows * (_COPIES * size + saved) + saved))
    columns = min(columns, pairs[1], max(1, 64 // contraction.rows))
    held = max(1, half // (saved * (1 + columns * contraction.rows)))
    return _Route("products", contraction.groups, contraction.rows, min(held, pairs[0]), columns)


def _cost(function: Function, choice: OutputChoice, route: _Route, pairs: tuple[int, int]) -> float:
    """Operations of a route, as the docstring of the public function counts them."""
    (n, m), k = pairs, choice.rows
    parameters = sum(function.sizes.values())
    forward = max(function.operations, 2 * parameters)
    jacobian = (1 + 2 * k) * forward
    if route.method == "products":
        return (2 * k + 1 / route.streamed) * n * m * forward + m * jacobian
    contracted = k * k if choice.kind == "full" else k
    return 2.0 * n * m * contracted * parameters + (n + m * -(-n // route.held)) * jacobian


@dataclass(slots=True)
class _Blocks:
    """Fills a kernel block by block along a route."""

    function: Function
    choice: OutputChoice
    route: _Route

    def kernel(self, x1: Tensor, x2: Tensor | None) -> Tensor:
        """The kernel between two batches, or of one with itself."""
        x = x1 if x2 is None else x2
        like = self.function.like
        shape = self.choice.shape(len(x1), len(x))
        kernel = torch.zeros(shape, dtype=like.dtype, device=like.device)
        fill = self._contract if self.route.method == "contraction" else self._push
        for group in self.route.groups:
            fill(kernel, group, x1, x, symmetric=x2 is None)
        if x2 is None:
            mirror(kernel)
        return kernel

    def _output_blocks(self) -> list[slice]:
        return list(slices(0, self.choice.rows, self.route.rows))

    def _contract(
        self, kernel: Tensor, group: tuple[str, ...], x1: Tensor, x2: Tensor, *, symmetric: bool
    ) -> None:
        cotangents = self.choice.cotangents(self.function.like)
        for rows in slices(0, len(x1), self.route.held):
            columns = list(slices(rows.stop if symmetric else 0, len(x2), self.route.streamed))
            for left in self._output_blocks():
                jacobian = self.function.jacobian(group, x1[rows], cotangents[left])
                for right in self._output_blocks() if self.choice.kind == "full" else [left]:
                    if symmetric:
                        same = right == left
                        other = (
                            jacobian
                            if same
                            else self.function.jacobian(group, x1[rows], cotangents[right])
                        )
                        self._add(kernel, (rows, rows, left, right), jacobian, other)
                        del other
                    for block in columns:
                        other = self.function.jacobian(group, x2[block], cotangents[right])
                        self._add(kernel, (rows, block, left, right), jacobian, other)
                        del other

    def _add(
        self,
        kernel: Tensor,
        place: tuple[slice, slice, slice, slice],
        left: list[Tensor],
        right: list[Tensor],
    ) -> None:
        """Add the products of two lists of (samples, outputs, size) Jacobians, one a parameter."""
        rows, columns, i, j = place
        for a, b in zip(left, right, strict=True):
            if self.choice.kind == "full":
                product = a.flatten(0, 1) @ b.flatten(0, 1).T
                blocks = product.view(*a.shape[:2], *b.shape[:2]).permute(0, 2, 1, 3)
                kernel[rows, columns, i, j] += blocks
            elif self.choice.kind == "diagonal":
                kernel[rows, columns, i] += torch.einsum("nip,mip->nmi", a, b)
            else:
                kernel[rows, columns] += a.flatten(1) @ b.flatten(1).T

    def _push(
        self, kernel: Tensor, group: tuple[str, ...], x1: Tensor, x2: Tensor, *, symmetric: bool
    ) -> None:
        cotangents = self.choice.cotangents(self.function.like)
        for columns in slices(0, len(x2), self.route.streamed):
            for block in self._output_blocks():
                pulled = self.function.jacobian(group, x2[columns], cotangents[block])
                for rows in slices(0, columns.stop if symmetric else len(x1), self.route.held):
                    pushed = self.function.pushed(group, x1[rows], pulled)
                    self._place(kernel, (rows, columns, block), pushed)

    def _place(self, kernel: Tensor, place: tuple[slice, slice, slice], pushed: Tensor) -> None:
        """Add J J' e of shape (columns, outputs pulled, rows, K)."""
        rows, columns, block = place
        if self.choice.kind == "pseudo":
            kernel[rows, columns] += self.choice.total**-0.5 * pushed.sum(dim=(1, 3)).T
            return
        if self.choice.kind == "full":
            chosen = pushed[..., list(self.choice.indices)]
            kernel[rows, columns, :, block] += chosen.permute(2, 0, 3, 1)
            return
        own = torch.diagonal(pushed[..., list(self.choice.indices[block])], dim1=1, dim2=3)
        if self.choice.kind == "diagonal":
            kernel[rows, columns, block] += own.permute(1, 0, 2)
        else:
            kernel[rows, columns] += own.sum(-1).T


def mirror(kernel: Tensor, *, step: int = 256) -> None:
    """Copy what lies above the diagonal of a kernel (N, N, ...) below it, in place.

    Pairs of outputs change places with the samples: K[m, n, j, i] = K[n, m, i, j].

    >>> kernel = torch.tensor([[1.0, 2.0], [0.0, 3.0]])
    >>> mirror(kernel)
    >>> kernel
    tensor([[1., 2.],
            [2., 3.]])
    """
    samples = len(kernel)
    pairs = kernel if kernel.ndim == 4 else kernel.reshape(samples, samples, -1, 1)
    flipped = (1, 0, 3, 2) if kernel.ndim == 4 else (1, 0, 2, 3)
    for rows in slices(0, samples, step):
        pairs[rows.stop :, rows] = pairs[rows, rows.stop :].permute(flipped)
        block = pairs[rows, rows]
        turned = block.permute(flipped)
        n = torch.arange(len(block), device=kernel.device)
        below = (n[:, None] > n).view(len(n), len(n), 1, 1)
        if kernel.ndim == 4:
            i = torch.arange(block.shape[2], device=kernel.device)
            below = below | ((n[:, None] == n).view(len(n), len(n), 1, 1) & (i[:, None] > i))
        pairs[rows, rows] = torch.where(below, turned, block)
