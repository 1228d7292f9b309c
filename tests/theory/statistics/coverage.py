"""How often intervals cover the truth, over simulated data sets.

The standard error of a coverage over ``sets`` data sets is root(c (1 - c) / sets); bands in the
tests are at least five of them, a false alarm once in two million.
"""

import numpy as np


def band(sets, level=0.95):
    """Five standard errors."""
    return 5 * np.sqrt(level * (1 - level) / sets)


def coverage(interval, data, truth):
    """Share of the data sets whose interval covers the truth."""
    return float(np.mean([not interval(sample).excludes(truth) for sample in data]))
