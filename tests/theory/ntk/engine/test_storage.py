"""Large tensors in the memory of NumPy's arrays."""

import pytest
import torch

from theory.ntk.engine.storage import Space, room


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3, 5), (0, 4), (1500, 2003)])
def test_of_any_size_and_type(dtype, shape):
    found = room(torch.zeros(1, dtype=dtype), *shape)
    assert found.shape == shape
    assert found.dtype == dtype
    assert found.is_contiguous()
    found.fill_(3)
    assert (found == 3).all()
    assert found.data_ptr() % 64 == 0


def test_room_lives_as_long_as_the_tensor():
    views = [room(torch.zeros(1), 1 << 21).fill_(number)[5:9] for number in range(4)]
    assert [view.tolist() for view in views] == [[float(number)] * 4 for number in range(4)]


def test_space_is_taken_again_and_grows():
    space = Space(torch.zeros(0, dtype=torch.float64))
    small = space.take(2, 3).fill_(1)
    assert space.take(6).data_ptr() == small.data_ptr()
    large = space.take(1000, 700)
    assert large.shape == (1000, 700)
    assert large.dtype == torch.float64
    assert space.take(2, 3).data_ptr() == large.data_ptr()
