r"""Top eigenpairs of a kernel, with residuals; what its spectrum is like; what it is aligned with.

Rows go sample by sample, as in ``f(x).reshape(-1)``: row n K + i is output i of sample n.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import exp
from typing import Any, cast

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from theory import checks
from theory.ntk.arrays import plain
from theory.ntk.functional.jacobian import DEFAULT_MEMORY
from theory.ntk.inputs import check_inputs
from theory.ntk.spectra.krylov import Found, block_krylov, exact, floor_of, lanczos
from theory.ntk.spectra.products import (
    Products,
    as_tensor,
    is_operator,
    of_kernel,
    of_operator,
    sample_major,
)

METHODS = ("auto", "exact", "randomized", "lanczos")
KINDS = ("trace", "entropy")
# a matrix so small is decomposed faster than anything is iterated
SMALL = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Eigenpairs:
    """The largest eigenvalues of a kernel of samples with themselves, and their vectors."""

    eigenvalues: Tensor
    """Descending, shape (count,)."""
    vectors: Tensor
    """Orthonormal columns, shape (N K, count), rows sample by sample: n K + i. Those of a matrix
    or operator are in its own numbering."""
    residuals: Tensor
    r""":math:`|K v - \\lambda v| / \\lambda` in float64, shape (count,). For eigenvalues below
    round-off, ten units in the last place of the largest one, relative to that."""
    outputs: int
    """K, and 1 where it is not known."""
    method: str
    """The one that was used."""
    products: int
    """Columns multiplied by the kernel."""
    converged: bool
    """Every residual is within the tolerance, or the pair is exact to round-off."""

    @property
    def by_sample(self) -> Tensor:
        """The vectors, shape (N, K, count)."""
        return self.vectors.view(-1, self.outputs, self.vectors.shape[1])


def top_eigenpairs(
    source: Any,  # noqa: ANN401 - a network, a function, an operator or a kernel
    x: Tensor | None = None,
    count: int = 1,
    *,
    method: str = "auto",
    parameters: Any = None,  # noqa: ANN401 - as of `empirical_ntk`
    tolerance: float | None = None,
    seed: int = 0,
    max_products: int | None = None,
    memory: int | None = None,
) -> Eigenpairs:
    r"""Eigenpairs :math:`K v = \lambda v` of the largest eigenvalues of an empirical kernel.

    - ``"exact"`` forms the kernel and decomposes it in float64.
    - ``"randomized"`` iterates on blocks of vectors: a random start, Rayleigh-Ritz in float64,
      the residuals of the unconverged pairs as new directions, orthogonalized by QR, and a restart
      from the best vectors when the basis is full [Musco and Musco 2015, with the thick restart of
      Wu and Simon 2000]. It copes with eigenvalues that are equal.
    - ``"lanczos"`` is ARPACK's iteration on single vectors through ``scipy.sparse.linalg.eigsh``.
      Of equal eigenvalues it may miss copies. It needs ``count`` below the size.

    ``"auto"`` forms the kernel of a network where that fits into ``memory`` (that of a function
    always): a block of columns then costs :math:`2 (N K)^2` operations each instead of 4 N P.
    What is formed is decomposed if its size is at most 1000 or a sixth of it is asked for: that
    takes :math:`\tfrac43 (N K)^3` operations at a tenth of the speed of products, of which some
    tens for each pair are needed otherwise. What is not formed is iterated on.

    Args:
        source: A network or function with ``x``, a kernel (N, N, K, K) or (N, N), or an operator
            with ``shape`` and ``matmat`` or ``matvec`` on tensors or, as SciPy's, on arrays.
        x: Inputs, where the source is a network.
        count: Number of pairs, at most the size of the kernel.
        method: As above.
        parameters: Of a network, as in `empirical_ntk`; of a function, its tree of tensors.
        tolerance: Relative residual at which an iteration stops; by default 1e-8 in float64 and
            30 units in the last place otherwise.
        seed: Of the random start: results are the same from run to run.
        max_products: At most about so many columns are multiplied before an iteration gives up,
            by default 200 for each pair and at least 5000.
        memory: Bytes for a kernel that is formed; None for 1 GiB.

    Returns:
        In the type and on the device of the source. Iterations that give up say so in
        ``converged``.

    Raises:
        ValueError: If the count exceeds the size, the kernel is not square, symmetric and finite,
            or the inputs are bad.

    Example:
        >>> pairs = top_eigenpairs(torch.tensor([[2.0, 1.0], [1.0, 2.0]]), count=1)
        >>> pairs.eigenvalues, pairs.converged
        (tensor([3.]), True)
    """
    checks.choice("method", method, METHODS)
    count = checks.integer("count", count, minimum=1)
    checks.integer("seed", seed)
    budget = DEFAULT_MEMORY if memory is None else checks.integer("memory", memory, minimum=1)
    with torch.no_grad():
        products = _products(source, x, parameters, method, budget)
        if count > products.size:
            msg = f"count must be at most {products.size}, the size N K of the kernel, got {count}"
            raise ValueError(msg)
        goal = _tolerance(tolerance, products.dtype)
        limit = max(5000, 200 * count) if max_products is None else max_products
        limit = checks.integer("max_products", limit, minimum=1)
        chosen = _chosen(method, products, count)
        found = _solved(chosen, products, count, goal, seed, limit)
    return _public(found, products, chosen, goal)


def _chosen(method: str, products: Products, count: int) -> str:
    if method == "lanczos" and count >= products.size:
        msg = (
            f"count must be below the size {products.size} of the kernel for method 'lanczos', got "
            f"{count}; use 'exact'"
        )
        raise ValueError(msg)
    if method != "auto":
        return method
    small = products.size <= SMALL or (products.matrix is not None and 6 * count >= products.size)
    return "exact" if small else "randomized"


def _solved(
    method: str, products: Products, count: int, tolerance: float, seed: int, limit: int
) -> Found:
    if method == "exact":
        return exact(products, count)
    solve = lanczos if method == "lanczos" else block_krylov
    return solve(products, count, tolerance=tolerance, seed=seed, limit=limit)


def _public(found: Found, products: Products, method: str, tolerance: float) -> Eigenpairs:
    floor = floor_of(products, found.values)
    scale = found.values.clamp(min=floor)
    residuals = torch.where(scale > 0, found.norms / scale, found.norms)
    good = (found.norms <= tolerance * scale) | (found.norms <= floor)
    return Eigenpairs(
        eigenvalues=found.values.to(products.dtype),
        vectors=found.vectors.to(products.dtype).contiguous(),
        residuals=residuals.to(products.dtype),
        outputs=products.outputs,
        method=method,
        products=products.used,
        converged=bool(good.all()),
    )


def _tolerance(value: float | None, dtype: torch.dtype) -> float:
    if value is None:
        return max(1e-8, 30 * float(torch.finfo(dtype).eps))
    return float(checks.positive("tolerance", checks.scalar("tolerance", value)))


def _products(
    source: Any,  # noqa: ANN401
    x: Tensor | None,
    parameters: Any,  # noqa: ANN401
    method: str,
    memory: int,
) -> Products:
    """Whatever was given as something that multiplies."""
    network = isinstance(source, nn.Module) or (x is not None and callable(source))
    if network and x is not None:
        return _of_network(source, x, parameters, method, memory)
    if x is not None or parameters is not None or network:
        msg = (
            "x must be given with a network, and x and parameters with nothing else, got x of "
            f"type {type(x).__name__} with {type(source).__name__}"
        )
        raise ValueError(msg)
    if isinstance(source, Tensor):
        return of_kernel(source)
    if is_operator(source):
        return of_operator(source)
    msg = (
        "source must be a network with x, a kernel tensor, or an operator with shape and matmat "
        f"or matvec, got {type(source).__name__}"
    )
    raise ValueError(msg)


def _of_network(
    model: nn.Module | Callable[[Any, Tensor], Tensor],
    x: Tensor,
    parameters: Any,  # noqa: ANN401
    method: str,
    memory: int,
) -> Products:
    """The kernel of a network, formed if that is asked for or fits; of a function always formed."""
    from theory.ntk.empirical import empirical_ntk
    from theory.ntk.operator import NTKOperator

    check_inputs("x", x)
    iterates = method in {"randomized", "lanczos"}
    if isinstance(model, nn.Module) and (iterates or not _fits(model, x, memory)):
        return of_operator(NTKOperator(model, x, parameters=parameters, memory=memory))
    kernel = empirical_ntk(model, x, parameters=parameters, memory=memory)
    return of_kernel(cast("Tensor", kernel))


def _fits(model: nn.Module, x: Tensor, memory: int) -> bool:
    from theory.ntk.engine.choices import refuse_train

    refuse_train(model)
    try:
        outputs: object = model(x[:1])
    except (RuntimeError, TypeError, IndexError):
        return True  # whoever forms the kernel says what is wrong
    if not isinstance(outputs, Tensor):
        return True
    return outputs.element_size() * len(x) ** 2 * outputs.numel() ** 2 <= memory


def effective_rank(source: Tensor | NDArray[Any], *, kind: str = "trace") -> float:
    r"""How many directions a kernel has that count.

    - ``"trace"``: :math:`\sum_i \lambda_i / \lambda_1`, the effective rank of Koltchinskii and
      Lounici [2017], r_0 of Bartlett et al. [2020]; the stable rank of the features.
    - ``"entropy"``: :math:`\exp(-\sum_i p_i \ln p_i)`, :math:`p_i = \lambda_i / \sum_j \lambda_j`
      [Roy and Vetterli 2007].

    Both lie between 1 and the rank, and are equal to it where all eigenvalues that are not zero
    agree. Eigenvalues that round-off made negative count as zero.

    Args:
        source: All eigenvalues, shape (r,), or a kernel (N, N, K, K) or (N, N); tensor or array.
        kind: As above.

    Raises:
        ValueError: If the kernel is zero, not square, symmetric and finite, or has eigenvalues
            below zero beyond round-off.

    Example:
        >>> effective_rank(torch.tensor([3.0, 3.0, 0.0])), effective_rank(torch.eye(3))
        (2.0, 3.0)
    """
    checks.choice("kind", kind, KINDS)
    values = _spectrum(as_tensor("source", source))
    top, total = float(values.max()), float(values.sum())
    if top == 0:
        msg = "the kernel must not be zero: it has no effective rank"
        raise ValueError(msg)
    if kind == "trace":
        return total / top
    shares = values[values > 0] / total
    return exp(-float((shares * shares.log()).sum()))


def _spectrum(source: Tensor) -> Tensor:
    """All eigenvalues in float64, those below zero by round-off set to zero."""
    if source.ndim == 1 and source.numel():
        values = source.detach().to(torch.float64)
        checks.real_array("eigenvalues", values.cpu().numpy())
    else:
        values = torch.linalg.eigvalsh(sample_major(source)[0].to(torch.float64))
    eps = float(torch.finfo(source.dtype).eps) if source.is_floating_point() else 0.0
    slack = 10 * max(len(values), 10) * eps * float(values.abs().max())
    if float(values.min()) < -slack:
        msg = (
            f"eigenvalues must be >= 0, got {float(values.min()):.3g}; round-off explains no more "
            f"than {slack:.1g}"
        )
        raise ValueError(msg)
    return values.clamp(min=0.0)


def alignment(
    kernel: Tensor | NDArray[Any], targets: Tensor | NDArray[Any], *, centered: bool = False
) -> float:
    r"""Alignment of a kernel with targets: the cosine between it and the targets' Gram matrix.

    .. math:: A = \frac{\langle K, Y Y^\top \rangle_F}{\|K\|_F \, \|Y Y^\top\|_F}

    [Cristianini et al. 2001]. With ``centered`` both matrices lose their mean over samples from
    rows and columns, :math:`H K H` with :math:`H = I - 1 1^\top / N` [Cortes, Mohri and
    Rostamizadeh 2012]; of a full kernel in each block of outputs. For a positive semi-definite
    kernel it lies in [0, 1]. A full kernel is compared with :math:`y y^\top` of all targets in
    one vector, so that a kernel with equal diagonal blocks Θ and no others has at most
    :math:`1 / \sqrt{K}` where Θ itself may have 1.

    Args:
        kernel: Shape (N, N, K, K), or (N, N) such as the trace kernel.
        targets: Shape (N, K), one-hot for classes, or (N,) for one output or labels of two
            classes as numbers that differ in sign.
        centered: Center first, so that a constant in the kernel does not count.

    Raises:
        ValueError: If shapes do not fit, numbers are not finite, or one of the two is zero (once
            centered).

    Example:
        >>> y = torch.tensor([1.0, -1.0])
        >>> alignment(torch.outer(y, y) + 1.0, y), alignment(torch.eye(2) + 1.0, y, centered=True)
        (0.707, 1.0)
    """
    checks.flag("centered", centered)
    kernel = as_tensor("kernel", kernel)
    matrix, outputs = sample_major(kernel)
    whole = matrix.to(torch.float64).view(len(kernel), outputs, len(kernel), outputs)
    y = _targets(targets, len(kernel), outputs if kernel.ndim == 4 else None).to(whole.device)
    if centered:
        whole = whole - whole.mean(0, keepdim=True)
        whole = whole - whole.mean(2, keepdim=True)
        y = y - y.mean(0, keepdim=True)
    if kernel.ndim == 4:
        inner = torch.einsum("ni,nimj,mj->", y, whole, y)
        gram = float((y * y).sum())
    else:
        inner = (y * (whole[:, 0, :, 0] @ y)).sum()
        gram = float(torch.linalg.matrix_norm(y.T @ y))
    size = float(whole.norm())
    if size == 0 or gram == 0:
        what = "kernel" if size == 0 else "targets"
        msg = f"{what} must not be zero{' after centering' if centered else ''}"
        raise ValueError(msg)
    return float(inner) / size / gram


def _targets(targets: Tensor | NDArray[Any], samples: int, outputs: int | None) -> Tensor:
    """Targets as a float64 matrix (N, K)."""
    y = torch.as_tensor(checks.columns("targets", plain(targets), samples, of="sample"))
    y = y if y.ndim == 2 else y[:, None]
    if outputs is not None and y.shape[1] != outputs:
        msg = (
            f"targets must have shape ({samples}, {outputs}), one column for each output of the "
            f"kernel, got {tuple(targets.shape)}"
        )
        raise ValueError(msg)
    return y
