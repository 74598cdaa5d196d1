"""What is in the wheel: engine and catalogues, nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

FILES = ("setup.cfg", "pyproject.toml", "LICENSE")
FOLDERS = ("dse", "workloads", "accelerators", "tests", "experiments", "docs")


@pytest.mark.slow
def test_wheel(tmp_path: Path, repository: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in FILES:
        shutil.copy(repository / name, source)
    (source / "README.md").write_text("readme", encoding="utf-8")
    for name in FOLDERS:
        if (repository / name).is_dir():
            shutil.copytree(repository / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "runs"))
    (source / "experiments" / "__init__.py").write_text("", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(tmp_path),
        str(source),
    ]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("attention_dse-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"dse", "workloads", "accelerators"}
    for folder in ("accelerators/catalogue", "accelerators/technology", "workloads/models"):
        assert {f"{folder}/{path.name}" for path in (repository / folder).glob("*.yaml")} <= names
    assert {"dse/py.typed", "workloads/py.typed", "accelerators/py.typed", "dse/commands/listing.py"} <= names
    entry_points = next(zipfile.ZipFile(wheel).read(name).decode() for name in names if name.endswith("entry_points.txt"))
    assert "dse = dse.cli:main" in entry_points
