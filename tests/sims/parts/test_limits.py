from types import SimpleNamespace

import pytest

from sims.parts.limits import within


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (1, "n must be at least 2, got 1"),
        (10**20, "n must be at most 50,000, got 1" + 20 * "0"),
        (float("nan"), "n must be at least 2, got nan"),
    ],
)
def test_what_is_beyond_the_limits_is_said_by_name(value, said):
    with pytest.raises(ValueError, match=f"^{said}$"):
        within(SimpleNamespace(n=value), n=(2, 50_000))


@pytest.mark.parametrize("value", [2, 50_000])
def test_the_limits_themselves_are_within(value):
    within(SimpleNamespace(n=value), n=(2, 50_000))
