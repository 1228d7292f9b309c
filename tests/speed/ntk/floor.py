"""Operations that a kernel cannot do without, by the cheapest of the known routes."""

from itertools import pairwise

from tests.speed.ntk.cases import CHANNELS, CLASSES, CONVOLUTIONS, MLP_WIDTHS, SIDE


def operations(case):
    """Multiplications and additions of one call, each pair of samples computed once.

    Forward, backward for each output, Gram matrices of what layers see and of their cotangents. For
    convolutions the cheaper of forming Jacobians and of multiplying Gram matrices of patches. A
    product counts what is left when inputs and cotangents are kept.
    """
    if case.network == "tiny":
        return 0.0
    if case.quantity == "product":
        return _product(case)
    return _cnn(case) if case.convolutional else _mlp(case)


def _gram(case, width):
    """Of the cotangents of one dense layer: all pairs of outputs, or summed over them."""
    n, k = case.samples, CLASSES
    return n * n * k * width * (k if case.quantity == "full" else 1)


def _mlp(case):
    n, k = case.samples, CLASSES
    done = 0.0
    for number, (inward, outward) in enumerate(pairwise(MLP_WIDTHS)):
        last = number + 2 == len(MLP_WIDTHS)
        done += 2 * n * inward * outward + n * n * inward
        if not last:
            done += _gram(case, outward)
        if number > 0 and not last:
            done += 2 * n * k * inward * outward
    return done


def _convolutions(case):
    """Positions, patch width, and whether a layer lies before this one."""
    side, window = SIDE, int(case.network[3:]) ** 2
    for number in range(CONVOLUTIONS):
        inward = CHANNELS if number else 3
        yield side * side, inward, inward * window, number > 0
        side //= 2


def _cnn(case):
    n, k, channels = case.samples, CLASSES, CHANNELS
    features = CHANNELS * (SIDE >> CONVOLUTIONS) ** 2
    done = 2.0 * n * features * k + n * n * features
    for positions, inward, width, below in _convolutions(case):
        passed = 2 * n * channels * positions * width
        done += passed * (1 + k * below)
        jacobians = k * passed + _gram(case, channels * width)
        pairs = n * n * positions
        grams = pairs * positions * inward + k * pairs * positions * channels
        grams += (
            _gram(case, channels * positions) if case.quantity == "full" else pairs * k * channels
        )
        done += min(jacobians, grams)
    return done


def _product(case):
    """Two products with each layer's inputs and cotangents."""
    n, k = case.samples, CLASSES
    if not case.convolutional:
        weights = sum(a * b for a, b in pairwise(MLP_WIDTHS))
        return 4.0 * n * weights
    layers = sum(positions * width * CHANNELS for positions, _, width, _ in _convolutions(case))
    return 4.0 * n * (layers + CHANNELS * (SIDE >> CONVOLUTIONS) ** 2 * k)
