r"""From the factors of two batches to a block of the kernel.

A block is laid out (K, N, K, M) for all pairs of outputs, (N, M) for their trace, (K, N, M) for
their diagonal. Of a symmetric block the upper triangle is computed and mirrored, so that it is
symmetric to the last bit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from theory.ntk.arrays import slices
from theory.ntk.engine.factors import Factor, Outer, Patched, Rows
from theory.ntk.engine.gemm import add_product, multiply
from theory.ntk.engine.storage import Space, room

Mode = Literal["full", "trace", "diagonal"]
_ROWS = 256
"""Rows of a block that are worked on at a time."""
_SMALL = 1 << 16
"""Numbers in a block that is computed at once."""
_WIDE = 64
"""Cotangents of fewer columns are put side by side before they are multiplied."""


@dataclass(slots=True)
class _Term:
    """One product of cotangents (K, N, P) and (K, M, P), times inner products of inputs (N, M)."""

    left: Tensor
    right: Tensor
    scale: Tensor | None


@dataclass(slots=True)
class _Constant:
    """Inner products of inputs (N, M), times the same weights (K, K) for all samples."""

    weights: Tensor
    scale: Tensor


def shape_of(mode: Mode, outputs: int, rows: int, columns: int) -> tuple[int, ...]:
    """The layout of a block."""
    return {
        "full": (outputs, rows, outputs, columns),
        "trace": (rows, columns),
        "diagonal": (outputs, rows, columns),
    }[mode]


def contract(
    left: Sequence[Factor],
    right: Sequence[Factor],
    out: Tensor,
    mode: Mode,
    *,
    symmetric: bool,
    memory: int,
) -> None:
    """Write the block of the kernel that the factors of two batches make.

    Args:
        left: Factors of the samples of the rows.
        right: Those of the columns, in the same order; the same objects if ``symmetric``.
        out: Where to, laid out as `shape_of` says, with any strides.
        mode: Which outputs meet.
        symmetric: Whether both batches are the same one.
        memory: Bytes that temporaries may take.
    """
    pairs = list(zip(left, right, strict=True))
    heavy = _patched(pairs, out, mode, symmetric=symmetric, memory=memory)
    terms, constants = _light(pairs)
    write = {"full": _full, "trace": _trace, "diagonal": _diagonal}[mode]
    write(terms, constants, heavy, out, symmetric=symmetric)


def mirror(matrix: Tensor) -> None:
    """Copy what is above the diagonal of a square matrix to below, block by block."""
    size = len(matrix)
    for start in range(0, size, _ROWS):
        rows = slice(start, min(start + _ROWS, size))
        block = matrix[rows, rows]
        block.copy_(block.triu() + block.triu(1).mT)
        matrix[rows.stop :, rows] = matrix[rows, rows.stop :].mT


def _light(pairs: list[tuple[Factor, Factor]]) -> tuple[list[_Term], list[_Constant]]:
    """Factors that one matrix product each turns into a block."""
    terms, constants = [], []
    for one, two in pairs:
        if isinstance(one, Rows) and isinstance(two, Rows):
            terms.append(_Term(one.jacobian, two.jacobian, None))
        elif isinstance(one, Outer) and isinstance(two, Outer):
            if one.constant or two.constant:
                weights = one.cotangents[:, 0] @ two.cotangents[:, 0].mT
                constants.append(_Constant(weights, one.scale(two)))
            else:
                terms.append(_Term(one.cotangents, two.cotangents, one.scale(two)))
    return terms, constants


def _full(
    terms: list[_Term],
    constants: list[_Constant],
    heavy: Tensor | None,
    out: Tensor,
    *,
    symmetric: bool,
) -> None:
    """All pairs of outputs, a few rows of one output at a time."""
    outputs, samples, _, columns = out.shape
    if out.numel() <= _SMALL:
        _full_at_once(terms, constants, heavy, out, symmetric=symmetric)
        return
    size = min(_ROWS, samples) * outputs * columns
    weighted = [(constant.scale, constant.weights.tolist()) for constant in constants]
    total, product = room(out, size), room(out, size if len(terms) > 1 else 0)
    for i in range(outputs):
        for rows in slices(0, samples, _ROWS):
            count = rows.stop - rows.start
            # of a symmetric block, columns from the rows' own first one on
            first, start = (i, rows.start) if symmetric else (0, 0)
            width = (outputs - first) * columns - start
            strip = total[: count * width].view(count, width)
            head, tail = strip[:, : columns - start], strip[:, columns - start :]
            tail = tail.view(count, outputs - first - 1, columns)
            skip = first * columns + start
            _strip(terms, strip, product[: count * width], i, rows, skip, start)
            for scale, weights in weighted:
                head.add_(scale[rows, start:], alpha=weights[i][first])
                for j in range(first + 1, outputs):
                    if weight := weights[i][j]:
                        tail[:, j - first - 1].add_(scale[rows], alpha=weight)
            if heavy is not None:
                head += heavy[rows, i, start:, first]
                tail += heavy[rows, i, :, first + 1 :].mT
            out[i, rows, first, start:] = head
            out[i, rows, first + 1 :] = tail
            if symmetric:
                own = head[:, :count]
                out[i, rows, i, rows] = own.triu() + own.triu(1).mT
                out[i, rows.stop :, i, rows] = head[:, count:].mT
                out[i + 1 :, :, i, rows] = tail.permute(1, 2, 0)


def _full_at_once(
    terms: list[_Term],
    constants: list[_Constant],
    heavy: Tensor | None,
    out: Tensor,
    *,
    symmetric: bool,
) -> None:
    """The same with the fewest operations, for blocks so small that only their number counts."""
    parts = []
    for term in terms:
        product = (term.left.flatten(0, 1) @ term.right.flatten(0, 1).mT).view(out.shape)
        parts.append(product if term.scale is None else product.mul_(term.scale[None, :, None]))
    for constant in constants:
        parts.append(constant.weights[:, None, :, None] * constant.scale[None, :, None])
    if heavy is not None:
        parts.append(heavy.permute(1, 0, 3, 2))
    if not parts:
        out.zero_()
        return
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    if symmetric:
        # half of the sum with its transpose is symmetric to the last bit
        matrix = (total * 0.5).reshape(len(out) * out.shape[1], -1)
        total = (matrix + matrix.mT).view(out.shape)
    out.copy_(total)


def _strip(
    terms: list[_Term],
    strip: Tensor,
    buffer: Tensor,
    output: int,
    rows: slice,
    skip: int,
    start: int,
) -> None:
    """Sum of the terms for rows of one output, and all columns but the first ``skip``."""
    if not terms:
        strip.zero_()
    for number, term in enumerate(terms):
        left = term.left[output, rows]
        right = term.right.flatten(0, 1)[skip:]
        if number and term.scale is None:
            add_product(left, right, strip)
            continue
        target = buffer.view_as(strip) if number else strip
        multiply(left, right, target)
        if term.scale is None:
            continue
        columns = term.scale.shape[1]
        parts = [(slice(0, columns - start), term.scale[rows, start:])]
        if strip.shape[1] > columns - start:
            parts.append((slice(columns - start, None), term.scale[rows, None]))
        for place, scale in parts:
            shape = (len(strip), -1, columns) if scale.ndim == 3 else scale.shape
            values = target[:, place].view(shape)
            if number:
                strip[:, place].view(shape).addcmul_(values, scale)
            else:
                values.mul_(scale)


def _trace(
    terms: list[_Term],
    constants: list[_Constant],
    heavy: Tensor | None,
    out: Tensor,
    *,
    symmetric: bool,
) -> None:
    """Outputs summed: one product of inner dimension K P where that is small, else K of them."""
    flat = [
        _Term(_side_by_side(term.left), _side_by_side(term.right), term.scale) for term in terms
    ]
    for rows in slices(0, len(out), _ROWS):
        start = rows.start if symmetric else 0
        total = out.new_zeros(rows.stop - rows.start, out.shape[1] - start)
        for term in flat:
            product = total.new_empty(total.shape)
            multiply(term.left[0, rows], term.right[0, start:], product)
            for left, right in zip(term.left[1:], term.right[1:], strict=True):
                add_product(left[rows], right[start:], product)
            if term.scale is None:
                total += product
            else:
                total.addcmul_(product, term.scale[rows, start:])
        for constant in constants:
            weight = float(constant.weights.trace())
            total.add_(constant.scale[rows, start:], alpha=weight)
        if heavy is not None:
            total += heavy[rows, start:]
        out[rows, start:] = total
    if symmetric:
        mirror(out)


def _side_by_side(cotangents: Tensor) -> Tensor:
    """(K, N, P) as (1, N, K P) where P is small."""
    if cotangents.shape[-1] >= _WIDE:
        return cotangents
    return cotangents.transpose(0, 1).reshape(1, cotangents.shape[1], -1)


def _diagonal(
    terms: list[_Term],
    constants: list[_Constant],
    heavy: Tensor | None,
    out: Tensor,
    *,
    symmetric: bool,
) -> None:
    """Each output with itself."""
    for i, block in enumerate(out):
        total = block.new_zeros(block.shape)
        for term in terms:
            product = term.left[i] @ term.right[i].mT
            total += product if term.scale is None else product * term.scale
        for constant in constants:
            total.add_(constant.scale, alpha=float(constant.weights[i, i]))
        if heavy is not None:
            total += heavy[i]
        if symmetric:
            mirror(total)
        block.copy_(total)


def _patched(
    pairs: list[tuple[Factor, Factor]],
    out: Tensor,
    mode: Mode,
    *,
    symmetric: bool,
    memory: int,
) -> Tensor | None:
    """Sum over the layers applied at many positions, each by the cheaper of two routes.

    Laid out (N, K, M, K), sample by sample, for all pairs of outputs; as the block otherwise.
    """
    found = [
        (one, two) for one, two in pairs if isinstance(one, Patched) and isinstance(two, Patched)
    ]
    if not found:
        return None
    one, two = found[0]
    outputs = one.outputs
    shape = shape_of(mode, outputs, one.samples, two.samples)
    if mode == "full":
        shape = (one.samples, outputs, two.samples, outputs)
    total = room(out, *shape).zero_()
    by_jacobians = []
    for one, two in found:
        if _prefers_positions(one, two, mode, symmetric=symmetric, memory=memory):
            _by_positions(one, two, total, mode, symmetric=symmetric, memory=memory)
        else:
            by_jacobians.append((one, two))
    _by_jacobians(by_jacobians, total, mode, symmetric=symmetric, memory=memory)
    if symmetric and mode == "full":
        mirror(total.view(one.samples * outputs, -1))
    return total


def _prefers_positions(
    one: Patched, two: Patched, mode: Mode, *, symmetric: bool, memory: int
) -> bool:
    """Whether Gram matrices of positions take fewer operations than Jacobians, which must fit."""
    if not one.spatial:
        return False
    least = one.samples * one.outputs * one.width * one.like.element_size()
    if 2 * least > memory:
        return True
    share = 0.5 if symmetric else 1.0
    pairs, made = share * one.samples * two.samples, one.samples + (0 if symmetric else two.samples)
    parameters, cells = one.channels * one.width, one.positions * two.positions
    k, met = one.outputs, one.outputs ** (2 if mode == "full" else 1)
    jacobians = made * k * one.positions * parameters + pairs * met * parameters
    if mode == "trace":
        positions = pairs * cells * (one.meets + k * one.channels)
    else:
        spread = cells * k * one.channels + met * one.positions * one.channels
        positions = pairs * (cells * one.meets + spread)
    return positions < jacobians


def _by_jacobians(
    pairs: list[tuple[Patched, Patched]],
    total: Tensor,
    mode: Mode,
    *,
    symmetric: bool,
    memory: int,
) -> None:
    """Form the Jacobians of some channels of all samples, and multiply them."""
    spaces = Space(total), Space(total)
    for one, two in pairs:
        samples = one.samples + (0 if symmetric else two.samples)
        for channels in one.pieces(memory // 2, samples=samples):
            left = _jacobian(one, channels, spaces[0])
            right = left if symmetric else _jacobian(two, channels, spaces[1])
            _add_gram(left, right, total, mode, symmetric=symmetric)


def _jacobian(factor: Patched, channels: slice, space: Space) -> Tensor:
    """Rows of the Jacobian of all samples, shape (N, K, …)."""
    width = channels.stop - channels.start
    out = space.take(factor.samples, factor.outputs, width, factor.width)
    factor.write_jacobian(slice(None), channels, out)
    return out.flatten(2)


def _add_gram(left: Tensor, right: Tensor, total: Tensor, mode: Mode, *, symmetric: bool) -> None:
    """Add inner products of the rows of two Jacobians (N, K, P) and (M, K, P)."""
    if mode == "diagonal":
        for i, block in enumerate(total):
            block.addmm_(left[:, i], right[:, i].mT)
        return
    rows = len(left) * (left.shape[1] if mode == "full" else 1)
    columns = len(right) * (right.shape[1] if mode == "full" else 1)
    left, right = left.view(rows, -1), right.view(columns, -1)
    matrix = total.view(rows, columns)
    step = max(48, min(_ROWS, -(-rows // 4))) if symmetric else rows
    for start in range(0, rows, step):
        part = slice(start, start + step)
        begin = start if symmetric else 0
        add_product(left[part], right[begin:], matrix[part, begin:])


def _by_positions(
    one: Patched, two: Patched, total: Tensor, mode: Mode, *, symmetric: bool, memory: int
) -> None:
    """Gram matrices of positions, one sample with a few others at a time, times cotangents."""
    k, channels = one.outputs, one.channels
    each = two.positions * (2 * k * channels + two.width + 2 * one.positions)
    many = max(1, min(two.samples, memory // (2 * each * total.element_size())))
    for begin in range(0, two.samples, many):
        columns = slice(begin, min(begin + many, two.samples))
        met = one.meeting(two, columns)
        others = two.cotangents(columns)  # (m, K, S', C)
        flat = others.reshape(len(others), k, -1)
        for n in range(columns.stop if symmetric else one.samples):
            # of a symmetric block, those on and above the diagonal
            skip = max(0, n - begin) if symmetric else 0
            place = slice(begin + skip, columns.stop)
            gram = met(n, skip)  # (m, S', S)
            own = one.cotangents(slice(n, n + 1))[0]  # (K, S, C)
            if mode == "trace":
                products = torch.tensordot(others[skip:], own, dims=([1, 3], [0, 2]))
                total[n, place] += (gram * products).sum((1, 2))
                continue
            turned = own.permute(1, 2, 0).reshape(one.positions, channels * k)
            moved = torch.mm(gram.reshape(-1, one.positions), turned)
            moved = moved.view(len(gram), -1, k)  # (m, S' C, K)
            if mode == "full":
                total[n, :, place] += torch.bmm(flat[skip:], moved).permute(2, 0, 1)
            else:
                total[:, n, place] += (flat[skip:].mT * moved).sum(1).mT
