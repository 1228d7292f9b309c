"""Three ways to the largest eigenpairs of a symmetric matrix, in float64 around its products."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from theory.ntk.spectra.products import Products

# Blocks that a basis holds before it restarts from its best vectors.
BLOCKS = 5
# Steps without a tenth less residual after which rounding is what is left.
PATIENCE = 8


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Pairs by descending eigenvalue, in float64."""

    values: Tensor
    """Shape (count,)."""
    vectors: Tensor
    """Shape (size, count)."""
    norms: Tensor
    r""":math:`|K v - \\lambda v|`, shape (count,)."""


def floor_of(products: Products, values: Tensor) -> float:
    """Residual that is round-off of the products."""
    eps = float(torch.finfo(products.dtype).eps)
    return 10 * eps * max(float(values.max()), 0.0)


def exact(products: Products, count: int) -> Found:
    """All of the matrix decomposed, or the part that is asked for."""
    matrix = products.formed()
    if matrix.device.type == "cpu" and 4 * count <= len(matrix):
        # three to five times faster than all eigenvectors
        import scipy.linalg

        wanted = [len(matrix) - count, len(matrix) - 1]
        low, columns = scipy.linalg.eigh(matrix.numpy(), subset_by_index=wanted)
        values, vectors = torch.from_numpy(low), torch.from_numpy(columns)
    else:
        values, vectors = torch.linalg.eigh(matrix)
    values, vectors = values[-count:].flip(0), vectors[:, -count:].flip(1)
    return _measured(values, vectors, matrix @ vectors)


def _measured(values: Tensor, vectors: Tensor, moved: Tensor) -> Found:
    return Found(values, vectors, (moved - vectors * values).norm(dim=0))


def block_krylov(
    products: Products, count: int, *, tolerance: float, seed: int, limit: int
) -> Found:
    """Rayleigh-Ritz on a growing basis of blocks, restarted from its best vectors.

    The basis Q and K Q are kept, so that Ritz vectors and residuals cost no product.
    """
    size = products.size
    block = min(size, count + max(8, count // 4))
    most = min(size, BLOCKS * block)
    basis = _orthonormal(_random(size, block, seed, products), None)
    moved = products(basis)
    best, stalled = float("inf"), 0
    while True:
        projected = basis.T @ moved
        values, turn = torch.linalg.eigh(0.5 * (projected + projected.T))
        values, turn = values.flip(0), turn.flip(1)
        kept = turn[:, :block]
        vectors, images = basis @ kept, moved @ kept
        residuals = images - vectors * values[:block]
        norms = residuals.norm(dim=0)
        floor = floor_of(products, values)
        goal = torch.clamp(tolerance * values[:block], min=floor)
        open_ = norms > goal
        worst = float((norms / goal)[:count].max()) if floor > 0 else 0.0
        stalled = 0 if worst < 0.9 * best else stalled + 1
        best = min(best, worst)
        if not bool(open_[:count].any()) or stalled > PATIENCE or products.used >= limit:
            return Found(values[:count], vectors[:, :count], norms[:count])
        if basis.shape[1] + int(open_.sum()) > most and basis.shape[1] > block:
            basis, moved = vectors, images
        new = residuals[:, open_][:, : size - basis.shape[1]]
        if new.shape[1] == 0:
            return Found(values[:count], vectors[:, :count], norms[:count])
        new = _orthonormal(new / new.norm(dim=0), basis)
        basis, moved = torch.cat([basis, new], 1), torch.cat([moved, products(new)], 1)


def _random(size: int, columns: int, seed: int, products: Products) -> Tensor:
    # the same numbers on every device
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(size, columns, generator=generator, dtype=torch.float64)
    return drawn.to(products.device)


def _orthonormal(columns: Tensor, basis: Tensor | None) -> Tensor:
    """Orthonormal columns, also orthogonal to a basis: twice, so that rounding does not count."""
    for _ in range(2):
        if basis is not None:
            columns = columns - basis @ (basis.T @ columns)
        columns = torch.linalg.qr(columns)[0]
    return columns


def lanczos(products: Products, count: int, *, tolerance: float, seed: int, limit: int) -> Found:
    """ARPACK on single vectors; where it finds too few pairs, blocks go on."""
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

    start = _random(products.size, 1, seed, products)
    if not bool(products(start).any()):
        # a kernel that sends a random vector to zero is zero, which ARPACK does not take
        return block_krylov(products, count, tolerance=tolerance, seed=seed, limit=limit)

    def multiply(vector: np.ndarray) -> np.ndarray:
        column = torch.as_tensor(vector.reshape(-1, 1), device=products.device)
        return products(column).cpu().numpy()[:, 0]

    operator = LinearOperator((products.size,) * 2, matvec=multiply, dtype=np.float64)
    restarts = max(1, limit // max(count + 1, 20))
    try:
        low, columns = eigsh(
            operator,
            k=count,
            which="LA",
            v0=start[:, 0].cpu().numpy(),
            tol=tolerance,
            maxiter=restarts,
        )
    except ArpackError:
        return block_krylov(products, count, tolerance=tolerance, seed=seed, limit=2 * limit)
    order = np.argsort(low)[::-1]
    values = torch.as_tensor(low[order].copy(), device=products.device)
    vectors = torch.as_tensor(columns[:, order].copy(), device=products.device)
    return _measured(values, vectors, products(vectors))
