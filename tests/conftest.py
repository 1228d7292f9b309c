"""Profiles, skips and the data root, for all tests."""

import os

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

_quiet = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("dev", max_examples=30, **_quiet)
settings.register_profile(
    "ci", max_examples=100, derandomize=True, database=None, print_blob=True, **_quiet
)
settings.register_profile("nightly", max_examples=2_000, print_blob=True, **_quiet)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_addoption(parser):
    parser.addoption("--runslow", action="store_true", help="also run the tests marked slow")


def pytest_collection_modifyitems(config, items):
    slow = pytest.mark.skip(reason="slow: pass --runslow, or run make test-slow")
    for item in items:
        if item.get_closest_marker("slow") and not config.getoption("--runslow"):
            item.add_marker(slow)
        if item.get_closest_marker("gpu") and not _cuda():
            item.add_marker(pytest.mark.skip(reason="no CUDA device on this machine"))


def _cuda():
    import torch

    return torch.cuda.is_available()


@pytest.fixture(autouse=True)
def one_torch_thread():
    """Keep torch to one thread wherever a test has loaded it: two workers share two cores."""
    if "torch" in sys.modules and sys.modules["torch"].get_num_threads() != 1:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session")
def data_root():
    """The folder of image sets, or a skip with the reason."""
    root = os.environ.get("STILLROOM_DATA")
    if not root:
        pytest.skip("STILLROOM_DATA is not set: no image sets on this machine")
    if not Path(root).is_dir():
        pytest.fail(f"STILLROOM_DATA={root} is not a folder")
    return Path(root)
