"""Both ways to multiply give the product, whichever is chosen."""

import pytest
import torch

from theory.ntk.engine import gemm


@pytest.fixture(params=[True, False])
def chosen(request, monkeypatch):
    monkeypatch.setattr(gemm, "_onednn_is_faster", lambda threads: request.param)
    return request.param


@pytest.mark.parametrize("shape", [(3, 4, 5), (256, 300, 260)])
def test_products(chosen, shape):
    n, k, m = shape
    random = torch.Generator().manual_seed(0)
    left, right = (torch.randn(k, n, generator=random).mT, torch.randn(m, k, generator=random))
    want = left.double() @ right.double().mT
    wide = torch.full((n, m + 3), 7.0)
    gemm.multiply(left, right, wide[:, :m])
    torch.testing.assert_close(wide[:, :m].double(), want, rtol=1e-5, atol=1e-4)
    gemm.add_product(left, right, wide[:, :m])
    torch.testing.assert_close(wide[:, :m].double(), 2 * want, rtol=1e-5, atol=2e-4)
    assert (wide[:, m:] == 7).all()


def test_the_choice_is_made_once():
    gemm._onednn_is_faster.cache_clear()
    first = gemm._onednn_is_faster(torch.get_num_threads())
    assert gemm._onednn_is_faster(torch.get_num_threads()) is first
    assert gemm._onednn_is_faster.cache_info().hits == 1
