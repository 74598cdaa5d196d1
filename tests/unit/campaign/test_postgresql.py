"""A central optuna storage on a real PostgreSQL, as Debian packages it; skipped where there is none."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
import pytest
from sqlalchemy.pool import NullPool

from dse.campaign.folder import FolderRequest
from dse.campaign.session import SessionRequest, run_session
from dse.errors import UsageError
from tests.search_fakes import FakeFactory, fake_plan

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow


def binaries() -> Path:
    """Folder of initdb and pg_ctl; skips where there is none."""
    pytest.importorskip("psycopg", reason="psycopg is not installed (extra 'postgresql')")
    places = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), Path(shutil.which("initdb") or "/none").parent]
    found = next((place for place in places if (place / "initdb").exists()), None)
    if found is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    return found


def as_owner() -> list[str]:
    """PostgreSQL refuses to run as root: its packages bring a user for it."""
    if os.geteuid() != 0:
        return []
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("root cannot run PostgreSQL, and there is no user postgres")
    return ["runuser", "-u", "postgres", "--"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server of our own, on a free port of the loopback, with its data in a folder of the test."""
    place, owner = binaries(), as_owner()
    home = Path("/tmp") / f"dse-postgresql-{os.getpid()}"  # the owner must be able to reach it, and sockets have short paths
    home.mkdir()
    if owner:
        shutil.chown(home, "postgres", "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data, log = home / "data", home / "log"
    try:
        subprocess.run([*owner, place / "initdb", "-D", data, "-U", "dse", "-A", "trust", "-N"], check=True, capture_output=True, cwd=home)
        options = f"-p {port} -k {home} -c listen_addresses=127.0.0.1 -c fsync=off"
        start = [*owner, place / "pg_ctl", "-D", data, "-o", options, "-l", log, "-w", "start"]
        subprocess.run(start, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=home)
        yield f"postgresql+psycopg://dse@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*owner, place / "pg_ctl", "-D", data, "-m", "immediate", "stop"], check=False, capture_output=True, cwd=home)
        shutil.rmtree(home)


def test_a_central_storage_gets_a_copy_and_follows_a_resumed_run(tmp_path: Path, server: str) -> None:
    for trials in (15, 40):
        plan = fake_plan(("trials: 40", f"trials: {trials}"))
        run_session(plan, FakeFactory(), SessionRequest(folder=FolderRequest(run_dir=tmp_path), storage=server))
    storage = optuna.storages.RDBStorage(server, engine_kwargs={"poolclass": NullPool})
    (name,) = optuna.get_all_study_names(storage)
    study = optuna.load_study(study_name=name, storage=storage)
    assert len(study.trials) == 40
    assert not [t for t in study.trials if t.state is optuna.trial.TrialState.RUNNING]
    front = [t for t in study.best_trials if all(value <= 0 for value in t.constraints.values())]
    assert front
    assert {"workload.attention", "designs_priced"} <= set(front[0].user_attrs)


def test_a_server_that_is_not_there_is_told_before_anything_runs(tmp_path: Path, server: str) -> None:
    wrong = server.rpartition(":")[0] + ":1/postgres"
    request = SessionRequest(folder=FolderRequest(run_dir=tmp_path), storage=wrong)
    with pytest.raises(UsageError, match="optuna cannot open it"):
        run_session(fake_plan(), FakeFactory(), request)
