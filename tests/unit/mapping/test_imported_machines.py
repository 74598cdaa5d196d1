"""Imported machines with all their memories: never above what ZigZag found on them, row by row; figures are copied.

Rows whose latency lies below the busy time of the DRAM port cannot be met by any machine: there the bound is the compulsory bytes at
the port's width, which our result then has to reach within a shade.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from dse.cost.one_operator import MappedProduct, map_product
from dse.cost.row_prices import MapObjective
from dse.files import dump_yaml
from dse.hw.importers.convert import Assumptions, accelerator_values
from dse.hw.importers.levels import Buffering, Levels
from dse.hw.importers.report import Report
from dse.hw.importers.zigzag import CoreSource
from dse.mapping.problem import MatmulProblem
from dse.plugins import load_accelerator
from tests.unit.mapping.test_nest import DATA, machine

FREE = json.loads((Path(__file__).parent / "zigzag_free_rows.json").read_text())
HARDWARE = {**DATA["hardware"], **FREE["hardware"]}
HZ = 1e9
SLACK = 1 + 1e-9


@lru_cache
def imported(name: str, folder: Path) -> Any:
    """The machine as `dse import zigzag --memories all --buffers single` writes it."""
    source = CoreSource("core", machine(name, HARDWARE), "", "", (), (), ())
    assumed = Assumptions(HZ / 1e6, "generic_7nm", "int8", Levels.ALL, Buffering.SINGLE)
    path = folder / f"{name}.yaml"
    path.write_text(dump_yaml(accelerator_values(source, name, assumed, Report())))
    return load_accelerator(str(path))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("machines")


def check(name: str, problem: MatmulProblem, objective: str, theirs: tuple[float, float], folder: Path) -> MappedProduct:
    """Never above: our latency in cycles, energy or their product against `theirs` (latency, energy)."""
    chip = imported(name, folder)
    found = map_product(problem, chip.geometry, chip.table({}), MapObjective(objective))
    cycles, least = found.latency_s * HZ, found.bounds.latency_s * HZ
    ours = {"latency": cycles, "energy": found.energy_pj, "edp": cycles * found.energy_pj}[objective]
    limit = {"latency": max(theirs[0], least), "energy": theirs[1], "edp": max(theirs[0], least) * theirs[1]}[objective]
    assert ours <= limit * SLACK, (ours / limit, found.mapping)
    assert found.dram_bytes >= found.bounds.dram_bytes
    assert found.energy_pj >= found.bounds.energy_pj
    assert cycles >= least
    return found


def of(row: dict[str, Any]) -> Any:
    """The row as a parameter; some of them only where long tests are asked for (`-m long`)."""
    few = row["shape"][0] == 128 or (row["shape"][0] == 1 and row["objective"] == "energy")
    name = f"{row['arch']}-{row['shape'][0]}x{row['shape'][1]}-{row['objective']}"
    return pytest.param(row, id=name, marks=() if few else pytest.mark.long)


@pytest.mark.parametrize("row", [of(row) for row in FREE["rows"]])
def test_never_above_zigzag_with_free_unrolling(row: dict[str, Any], folder: Path) -> None:
    problem = MatmulProblem(1, *row["shape"], 8, 8, 8, 16, "int8")
    check(row["arch"], problem, row["objective"], (row["latency_cycles"], row["energy_pj"]), folder)


CASES = sorted({(r["arch"], r["case"]) for r in DATA["gemm"]})


@pytest.mark.parametrize(("arch", "case"), CASES)
def test_never_above_rows_of_the_reference(arch: str, case: str, folder: Path) -> None:
    """The least latency, energy and product of its searches for a product."""
    rows = [r for r in DATA["gemm"] if (r["arch"], r["case"]) == (arch, case)]
    sizes, bits = (dict(zip("mnk", rows[0]["sizes"].values(), strict=True)), rows[0]["bits"])
    problem = MatmulProblem(1, sizes["m"], sizes["k"], sizes["n"], bits["I"], bits["W"], bits["O_final"], bits["O_partial"], "int8")
    least = {
        "latency": min(r["latency_cycles"] for r in rows),
        "energy": min(r["energy_pj"] for r in rows),
    }
    for objective in least:
        check(arch, problem, objective, (least["latency"], least["energy"]), folder)
