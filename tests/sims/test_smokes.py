"""Every experiment at its smallest size, twice: the same numbers, and the second time for free."""

import numpy as np
import pytest

from sims import experiments, runner
from sims.context import Context


@pytest.mark.slow
@pytest.mark.parametrize("name", experiments.names())
def test_every_smoke_gives_the_same_twice_in_one_process_and_in_two(name, tmp_path):
    config = experiments.get(name).config("smoke")
    finished = []
    for folder, workers in (("alone", 1), ("together", 2)):
        with Context(tmp_path / folder, workers=workers) as context:
            finished.append(runner.finish(name, config, context=context))
    first, second = (one.result for one in finished)
    assert first.findings == second.findings
    assert sorted(first.arrays) == sorted(second.arrays)
    for key, array in first.arrays.items():
        np.testing.assert_array_equal(array, second.arrays[key], err_msg=key)


@pytest.mark.slow
@pytest.mark.parametrize("name", experiments.names())
def test_a_finished_smoke_is_fetched(name, tmp_path):
    config = experiments.get(name).config("smoke")
    for expected in (False, True):
        with Context(tmp_path, workers=1) as context:
            assert runner.finish(name, config, context=context).fetched is expected
