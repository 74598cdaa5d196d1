"""What produced a run: versions of code, packages and platform, hashes of input files."""

from __future__ import annotations

import hashlib
import importlib.util
import platform
import sys
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import dse
from dse.campaign.sources import located, routing_file

if TYPE_CHECKING:
    from dse.campaign.plan import Plan

_GROUPS: Final = ("dse.models", "dse.accelerators", "dse.chips", "dse.systems")
_PACKAGES: Final = ("numpy", "moocore", "optuna", "onnx", "networkx", "pydantic", "ruamel.yaml", "matplotlib")
_SUFFIXES: Final = (".py", ".yaml")


def code_version() -> str:
    """`0.1.0+<hash>`: our version and a hash of the engine's and the catalogues' source files."""
    hashed = hashlib.sha256()
    for package in ("dse", *_catalogue_packages()):
        for root in _roots(package):
            for file in sorted(path for path in root.rglob("*") if path.suffix in _SUFFIXES):
                hashed.update(f"{package}/{file.relative_to(root).as_posix()}\0".encode())
                hashed.update(file.read_bytes())
    return f"{dse.__version__}+{hashed.hexdigest()[:12]}"


def input_hashes(plan: Plan) -> tuple[tuple[str, str], ...]:
    """(name, SHA-256) of the files that a plan names by path: models and hardware. Catalogue entries are in the code version."""
    names: set[str] = {*plan.accelerators, *(step.model for step in plan.form.steps.values())}
    for step in plan.form.steps.values():
        names |= {str(value) for value in step.over.get("model", ())}
    for dimension in plan.space.outer:
        if dimension.path.startswith("workload.") and dimension.path.endswith(".model"):
            names |= {str(value) for value in dimension.values}
    files = {name: Path(located(name, plan.folder)) for name in names}
    for routing in _routings(plan):
        file = routing_file(routing, plan.folder)
        if file is not None:
            files[routing] = file
    return tuple((name, hashlib.sha256(files[name].read_bytes()).hexdigest()) for name in sorted(files) if files[name].is_file())


def _routings(plan: Plan) -> set[str]:
    found = {step.routing for step in plan.form.steps.values()}
    for step in plan.form.steps.values():
        found |= {str(value) for value in step.over.get("routing", ())}
    for dimension in plan.space.outer:
        if dimension.path.startswith("workload.") and dimension.path.endswith(".routing"):
            found |= {str(value) for value in dimension.values}
    return found


def environment() -> dict[str, object]:
    """Python, platform and packages; no names of machines or users."""
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "implementation": sys.implementation.name,
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _catalogue_packages() -> list[str]:
    found = {point.module.partition(".")[0] for group in _GROUPS for point in entry_points(group=group)}
    return sorted(found)


def _roots(package: str) -> list[Path]:
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return []
    return [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
