"""Profiles, skips, threads and the data root, for all tests."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ["HF_HUB_OFFLINE"] = "1"  # no test fetches anything, here or in a process of its own
_quiet = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("dev", max_examples=30, **_quiet)
settings.register_profile(
    "ci", max_examples=100, derandomize=True, database=None, print_blob=True, **_quiet
)
settings.register_profile("nightly", max_examples=1_000, print_blob=True, **_quiet)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_addoption(parser):
    parser.addoption("--runslow", action="store_true", help="also run the tests marked slow")


def pytest_collection_modifyitems(config, items):
    slow = pytest.mark.skip(reason="slow: pass --runslow, or run make test-slow")
    gpu = pytest.mark.skip(reason="no CUDA device on this machine")
    for item in items:
        if item.get_closest_marker("slow") and not config.getoption("--runslow"):
            item.add_marker(slow)
        if item.get_closest_marker("gpu") and not _cuda():
            item.add_marker(gpu)


def _cuda():
    import torch  # only where a test marked gpu was collected

    return torch.cuda.is_available()


@pytest.fixture(scope="session", autouse=True)
def _one_blas_thread():
    """One thread of linear algebra for each worker of pytest-xdist: workers share the cores."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        yield
        return
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield


@pytest.fixture(autouse=True)
def _one_torch_thread():
    """The same for torch, wherever a test has loaded it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_root():
    """The folder of image sets, or a skip with the reason."""
    root = os.environ.get("STILLROOM_DATA")
    if not root:
        pytest.skip("STILLROOM_DATA is not set: no image sets on this machine")
    if not Path(root).is_dir():
        pytest.fail(f"STILLROOM_DATA={root} is not a folder")
    return Path(root)
