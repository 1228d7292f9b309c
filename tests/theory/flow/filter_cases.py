"""Filters to draw, and what they must be: flow.md section 3 in as many digits as it takes.

``error(filter, eigenvalue)`` is 1 - g by the formula of the specification, written as sums of
positive terms where that is the formula and else evaluated in so many digits that nothing is lost.
"""

from functools import singledispatch

import mpmath as mp
import numpy as np
from hypothesis import strategies as st

from tests.strategies import EXTREMES, powers_of_ten
from theory.flow.filters import (
    DiscreteTrajectoryAverage,
    DistillThenLabels,
    FilterKD,
    Generations,
    GradientDescent,
    GradientFlow,
    LabelsThenDistill,
    MeanTeacher,
    MemoryReplay,
    Mixed,
    MixedFixedPoint,
    Ridge,
    RidgeRounds,
    Shrinkage,
    TrajectoryAverage,
)

VIEWS = ("gain", "shortfall", "log_shortfall", "effective_time", "gain_over_eigenvalue")


def times(a, b):
    a, b = mp.mpf(a), mp.mpf(b)
    return mp.mpf(0) if a == 0 or b == 0 else a * b


def left(rate, time):
    """exp(-rate time)."""
    return mp.exp(-times(rate, time))


def mean_left(x):
    """(1 - exp(-x)) / x."""
    return mp.mpf(1) if x == 0 else -mp.expm1(-x) / x


def both(first, second):
    """1 - g1 g2 from 1 - g1 and 1 - g2."""
    return first + second - first * second


@singledispatch
def error(filter, lam):
    raise NotImplementedError(type(filter))


@error.register
def _(f: GradientFlow, lam):
    return left(lam, f.time)


@error.register
def _(f: Ridge, lam):
    if lam == 0 or f.penalty == np.inf:
        return mp.mpf(1)
    return mp.mpf(f.penalty) / (lam + mp.mpf(f.penalty))


@error.register
def _(f: RidgeRounds, lam):
    missing = mp.mpf(0)
    for penalty in f.penalties:
        missing = both(missing, error(Ridge(penalty), lam))
    return missing


@error.register
def _(f: Generations, lam):
    missing, one = mp.mpf(0), {time: left(lam, time) for time in set(f.times)}
    for time, weight in zip(f.times, f.label_weights or (0.0,) * len(f.times), strict=True):
        missing = both(one[time], (1 - mp.mpf(weight)) * missing)
    return missing


@error.register
def _(f: Mixed, lam):
    teacher = (1 - mp.mpf(f.label_weight)) * left(lam, f.teacher_time)
    return both(left(lam, f.student_time), teacher)


@error.register
def _(f: MixedFixedPoint, lam):
    alpha, e = mp.mpf(f.label_weight), left(lam, f.time)
    return mp.mpf(1) if alpha == 0 else e / (alpha + (1 - alpha) * e)


@error.register
def _(f: TrajectoryAverage, lam):
    a, t = mp.mpf(f.rate), f.time
    if lam == 0 or a == 0:
        return mp.mpf(1)
    if a == mp.inf:
        return left(lam, t)
    if a == lam:
        return left(lam, t) * (1 + times(lam, t)) if t != mp.inf else mp.mpf(0)
    return (a * left(lam, t) - lam * left(a, t)) / (a - lam)


@error.register
def _(f: FilterKD, lam):
    average = error(TrajectoryAverage(f.rate, f.teacher_time), lam)
    return both(left(lam, f.student_time), average)


def teacher_share(f, lam):
    """I of flow.md 3.4: what the teacher's weight, falling from 1, has left at time t."""
    s, t, w = (mp.mpf(x) for x in (f.switch_time, f.time, f.window))
    if t <= s:
        return 1 - left(lam, t)
    if t < s + w:
        done = (t - s) / w
        return (1 - done) - left(lam, t) + done * mean_left(times(lam, t - s))
    return left(lam, t - s - w) * mean_left(times(lam, w)) - left(lam, t)


@error.register
def _(f: DistillThenLabels, lam):
    if lam == 0:
        return mp.mpf(1)
    if f.window == 0 and f.time > f.switch_time:
        student = both(left(lam, f.switch_time), left(lam, f.teacher_time))
        return left(lam, mp.mpf(f.time) - f.switch_time) * student
    return left(lam, f.time) + left(lam, f.teacher_time) * teacher_share(f, lam)


@error.register
def _(f: LabelsThenDistill, lam):
    if lam == 0:
        return mp.mpf(1)
    if f.time <= f.switch_time:
        return left(lam, f.time)
    if f.window == 0:
        share = 1 - left(lam, mp.mpf(f.time) - f.switch_time)
    else:
        share = 1 - left(lam, f.time) - teacher_share(f, lam)
    return left(lam, f.time) + left(lam, f.teacher_time) * share


@error.register
def _(f: MemoryReplay, lam):
    alpha, n = mp.mpf(f.copy_weight), f.copies
    if f.interval == np.inf:
        whole, rest = 0, f.time
    elif f.time == np.inf:
        return left(lam, np.inf) if alpha < 1 else mp.mpf(1)
    else:
        whole = int(mp.floor(mp.mpf(f.time) / mp.mpf(f.interval)))
        rest = mp.mpf(f.time) - whole * mp.mpf(f.interval)
    rho, last = left(lam, f.interval), left(lam, rest)
    if n == 1:
        kept = rho + alpha * (1 - rho)
        waned = mp.mpf(0) if kept == 0 < whole else mp.exp(whole * mp.log(kept)) if whole else 1
        return waned * (last + alpha * (1 - last))
    past = [mp.mpf(1)] * n  # latest last
    for _ in range(whole):
        past = [*past[1:], rho * past[-1] + alpha * (1 - rho) * mp.fsum(past) / n]
    return last * past[-1] + alpha * (1 - last) * mp.fsum(past[-n:]) / n


@error.register
def _(f: MeanTeacher, lam):
    a, alpha = mp.mpf(f.rate), mp.mpf(f.label_weight)
    if a == mp.inf:
        return left(times(alpha, lam), f.time)
    root = mp.sqrt((lam - a) ** 2 + 4 * (1 - alpha) * a * lam)
    if root == 0:
        return left(lam, f.time)
    r1, r2 = (lam + a - root) / 2, (lam + a + root) / 2
    p1 = (r2 - alpha * lam) / root
    return p1 * left(r1, f.time) + (1 - p1) * left(r2, f.time)


@error.register
def _(f: Shrinkage, lam):
    w1, w2 = mp.mpf(f.label_weight), mp.mpf(f.zero_weight)
    if w1 + w2 == 0:
        return mp.mpf(1)
    return (w2 + w1 * left(times(lam, w1 + w2), f.time)) / (w1 + w2)


def step(f, lam):
    """Step size times eigenvalue as rounded: to round it is the condition of the problem."""
    exact = mp.mpf(f.step_size) * lam
    return mp.mpf(f.step_size * float(lam)) if exact > 1e-290 or exact == 0 else exact


def errors_with_momentum(f, lam):
    """The errors after 0 to m steps."""
    x, mu = step(f, lam), mp.mpf(f.momentum)
    path = [mp.mpf(1)]
    for index in range(f.steps):
        now = path[-1]
        before = path[-2] if index else now
        if index == 0 and f.nesterov and f.start == "torch":
            path.append(1 - (1 + mu) * x)
        elif f.nesterov:
            path.append((1 - x) * ((1 + mu) * now - mu * before))
        else:
            path.append((1 + mu - x) * now - mu * before)
    return path


@error.register
def _(f: GradientDescent, lam):
    if f.momentum == 0 and not f.nesterov:
        return (1 - step(f, lam)) ** f.steps
    return errors_with_momentum(f, lam)[-1]


@error.register
def _(f: DiscreteTrajectoryAverage, lam):
    a, count = mp.mpf(f.smoothing), f.epochs
    rho, kept = 1 - step(f, lam), 1 - mp.mpf(f.smoothing)
    if count == 0:
        return mp.mpf(1)
    if rho == kept:
        return kept**count + a * count * rho ** (count - 1)
    return kept**count + a * (rho**count - kept**count) / (rho - kept)


def wanted(f, lam, *, digits):
    """The five views of a filter; None where the view is undefined."""
    with mp.workdps(digits):
        missing = error(f, mp.mpf(lam))
        return views_of(1 - missing, missing, mp.mpf(lam))


def views_of(gain, missing, lam):
    """The five views of a gain and its complement."""
    logarithm = -mp.inf if missing == 0 else mp.log(missing) if missing > 0 else None
    return {
        "gain": gain,
        "shortfall": missing,
        "log_shortfall": logarithm,
        "effective_time": None if logarithm is None or gain < 0 else -logarithm / lam,
        "gain_over_eigenvalue": gain / lam,
    }


def misfit(got, want):
    """Relative error; 0 where both leave the range of normal numbers on the same side."""
    if want is None:
        return 0.0 if np.isnan(got) else np.inf
    if abs(want) < 1e-300:
        return 0.0 if abs(got) <= 1.1e-300 else np.inf
    if abs(want) > 1e307:
        return 0.0 if abs(got) > 9e306 and np.sign(got) == mp.sign(want) else np.inf
    return float(abs(mp.mpf(float(got)) - want) / abs(want)) if np.isfinite(got) else np.inf


def usual_times():
    return powers_of_ten(-2, 2)


def usual_weights():
    return st.floats(1e-3, 0.999) | powers_of_ten(-12, 0) | powers_of_ten(-12, -1).map(_complement)


def _normal(x):
    return x == 0 or x >= 1e-290


def _complement(x):
    return 1.0 - x


def extreme_weights():
    return st.sampled_from((0.0, 1e-150, 1e-16, 0.3, 1 - 1e-12, 1.0))


def schemes(time, weight, rate, positive=None):
    """A strategy for each scheme of gradient flow or ridge, of given times, weights and rates."""
    finite = time.filter(np.isfinite)
    positive = time if positive is None else positive
    pulls = st.just(0.0) | powers_of_ten(-3, 3)
    each = {
        "flow": st.builds(GradientFlow, time),
        "ridge": st.builds(Ridge, rate),
        "ridge rounds": st.builds(RidgeRounds, st.lists(rate, min_size=1, max_size=3)),
        "generations": st.builds(Generations, st.lists(time, min_size=1, max_size=5)),
        "weighted generations": st.lists(st.tuples(time, weight), min_size=1, max_size=5).map(
            lambda pairs: Generations(*zip(*pairs, strict=True))
        ),
        "equal weighted generations": st.builds(
            lambda t, a, k: Generations((t,) * k, a), time, weight, st.integers(4, 30)
        ),
        "mixed": st.builds(Mixed, time, time, weight),
        "fixed point": st.builds(MixedFixedPoint, time, weight),
        "trajectory average": st.builds(TrajectoryAverage, rate, time),
        "filter-kd": st.builds(FilterKD, time, rate, time),
        "memory replay": st.builds(MemoryReplay, positive, time, weight),
        "mean teacher": st.builds(MeanTeacher, rate, time, weight),
        "shrinkage": st.builds(Shrinkage, pulls, pulls, time),
    }
    for name, kind in (("kd, labels", DistillThenLabels), ("labels, kd", LabelsThenDistill)):
        each[name] = st.builds(kind, time, time, time)
        each[f"{name} ramp"] = st.builds(kind, time, time, time, finite)
    return each


def usual(name):
    """A scheme of times around 1."""
    return schemes(usual_times(), usual_weights(), usual_times())[name]


def extreme(name, lam):
    """A scheme whose times and rates, times or over ``lam``, are at the ends of the range."""
    progress = st.sampled_from((*EXTREMES, np.inf))
    times = progress.map(lambda x: x / lam).filter(_normal)
    rates = progress.map(lambda x: x * lam).filter(_normal)
    positive = times.filter(bool)
    return schemes(times, extreme_weights(), rates, positive)[name]


SCHEMES = tuple(schemes(*[st.nothing()] * 3))
