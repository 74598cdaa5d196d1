"""Options and fixtures of all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as `dse` does, before numpy is imported

settings.register_profile("fixed", derandomize=True, database=None, deadline=None)
settings.register_profile("random", deadline=None, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite expected outputs; then read the difference")


@pytest.fixture(scope="session", autouse=True)
def _frontiers(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Frontiers are kept for this run only, shared by its processes."""
    folder = tmp_path_factory.getbasetemp()
    os.environ["DSE_CACHE_DIR"] = str((folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "frontiers")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether expected outputs are to be rewritten."""
    return bool(request.config.getoption("--update-golden"))


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the work tree."""
    return Path(__file__).parent.parent
