import subprocess
import sys

import numpy as np
import pytest

from deep.training.streams import stream


def test_keys_do_not_collide():
    keys = [("a", 1), ("a", "1"), ("a", 1, 0), ("a1",), ("a", 10), ("a", 1, 0, 0), ("b", 1)]
    firsts = {float(stream(*key).random()) for key in keys}
    assert len(firsts) == len(keys)


def test_the_same_in_another_process():
    draw = "stream('order', 1, 2).integers(1 << 60)"
    code = f"from deep.training.streams import stream; print(repr({draw}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == repr(stream("order", 1, 2).integers(1 << 60))


def test_the_global_generator_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the state is what is tested
    stream("order", 1).random(10)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("one", [np.int64(1), np.uint8(1), np.array(1), True, np.str_("a")])
def test_a_key_is_what_it_is_worth(one):
    plain = "a" if isinstance(one, str) else 1
    assert stream("a", one).random() == stream("a", plain).random()
    assert stream("a", one).random() != stream("a", str(plain) * 2).random()


@pytest.mark.parametrize("bad", [1.0, np.float64(1), None, np.nan, (1,), np.array([1, 2]), b"1"])
def test_other_keys_are_refused(bad):
    with pytest.raises(ValueError, match="key of a stream must be integers and text, got"):
        stream("a", 1, bad)
    with pytest.raises(ValueError, match="purpose of a stream must be text, got"):
        stream(bad)
