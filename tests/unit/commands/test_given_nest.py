"""`dse nest`: the reference mappings of ZigZag through a file, as its users would write them; what is wrong with a file."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from dse import cli
from dse.errors import ExitCode, InputError
from dse.files import dump_yaml, parse_yaml, validate
from dse.mapping.nest_cost import ZIGZAG_RULES, cost_nest
from dse.mapping.nest_form import NestFile, read_nest
from tests.unit.mapping.test_nest import DATA, ROWS, WAYS, machine

HARDWARE = "tests/data/hardware/systolic.yaml"
NEST = "tests/data/mappings/systolic_nest.yaml"


def as_file(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the reference as the values of a nest file."""
    bits, place = row["bits"], {"O": "O", "I": "I1", "W": "I2"}
    if "stride" in row:
        stride = row["stride"]
        slide = [{"index": f"{stride}*{o} + {f}", "limit": row["input_limit"][i]} for o, f, i in (("OY", "FY", "IY"), ("OX", "FX", "IX"))]
        axes: dict[str, list[Any]] = {"O": ["B", "K", "OY", "OX"], "W": ["K", "C", "FY", "FX"], "I": ["B", "C", *slide]}
    else:
        axes = row["operands"]
    operands = {}
    for name in ("O", "I", "W"):
        width = {"bits": bits["O_final"], "partial_bits": bits["O_partial"]} if name == "O" else {"bits": bits[name]}
        operands[name] = {"axes": list(axes[name]), **width, "memory": place[name], "temporal": row["temporal"][name]}
    return {"schema_version": 1, "sizes": row["sizes"], "spatial": row["spatial"], "operands": operands}


@pytest.mark.parametrize("row", ROWS, ids=[f"{r['arch']}-{r['case']}-{i}" for i, r in enumerate(ROWS)])
def test_reference_rows_through_a_file(row: dict[str, Any]) -> None:
    document = parse_yaml(dump_yaml(as_file(row)), "row.yaml")
    problem, nest = read_nest(document, validate(document, NestFile))
    costs = cost_nest(problem, machine(row["arch"]), nest, rules=ZIGZAG_RULES)
    for name, levels in row["words"].items():
        for level, expected in enumerate(levels):
            got = [float(costs.words_of(name, level, way)[0]) for way in WAYS]
            assert got == pytest.approx(expected, rel=0.003, abs=0), (name, level)
    assert float(costs.energy_pj[0]) == pytest.approx(row["energy_pj"], rel=0.01)
    assert float(costs.latency_cycles[0]) == pytest.approx(row["latency_cycles"], rel=0.01)


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = ExitCode.DONE) -> str:
    got = cli.main(["nest", *arguments])
    captured = capsys.readouterr()
    assert got == code, captured.err
    return captured.out


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Weights cross the 64-bit DRAM port once: 128 x 32 bytes in 512 words; 64 x 4 steps of 32 x 32 units."""
    found = json.loads(run(capsys, NEST, "--hardware", HARDWARE, "--rules", "zigzag", "--format", "json"))
    words = {(a["operand"], a["level"], a["direction"]): a["words"] for a in found["accesses"]}
    assert words["right", 1, "read_to_low"] == 512
    assert (found["latency_cycles"], found["array_cycles"], found["least_cycles"]) == (1853, 256, 256)
    assert found["energy_pj"] == pytest.approx(sum(a["energy_pj"] for a in found["accesses"]) + found["mac_energy_pj"])
    ours = json.loads(run(capsys, NEST, "--hardware", HARDWARE, "--format", "json"))
    assert ours["energy_pj"] < found["energy_pj"], "sums that have not begun are not read"
    assert "Accesses of a port's full width" in run(capsys, NEST, "--hardware", HARDWARE)
    assert run(capsys, NEST, "--hardware", HARDWARE, "--format", "csv").startswith("operand,level,memory,direction,words,bits,energy_pj")


def test_no_room(capsys: pytest.CaptureFixture[str], tmp_path: Path, repository: Path) -> None:
    text = (
        (repository / NEST)
        .read_text()
        .replace("[[m, 64]], [[k, 4]]", "[[m, 64], [k, 4]], []")
        .replace("k: 128", "k: 12800")
        .replace("[k, 4]", "[k, 400]")
    )
    (tmp_path / "nest.yaml").write_text(text)
    found = json.loads(run(capsys, str(tmp_path / "nest.yaml"), "--hardware", HARDWARE, "--format", "json", code=ExitCode.NOTHING_FEASIBLE))
    assert found["feasible"] is False
    assert any(m["used_bits"] > m["size_bits"] for m in found["memories"])


@pytest.mark.parametrize(
    ("axis", "text"),
    [("2*m + ", "no sum of dimensions"), ("m*m", "no sum"), ("__import__('os')", "no sum"), ("m + 2*m", "twice"), ("0*m", "no sum")],
)
def test_indices(axis: str, text: str) -> None:
    values = as_file(DATA["gemm"][0])
    values["operands"]["I"]["axes"][0] = axis
    document = parse_yaml(dump_yaml(values), "nest.yaml")
    with pytest.raises(InputError, match=text) as error:
        read_nest(document, validate(document, NestFile))
    assert error.value.problems[0].where.startswith("nest.yaml:")


def test_operands_have_the_same_loops() -> None:
    values = as_file(DATA["gemm"][0])
    values["operands"]["W"]["temporal"] = list(itertools.chain(values["operands"]["W"]["temporal"][:-1], [[["C", 5]]]))
    document = parse_yaml(dump_yaml(values), "nest.yaml")
    with pytest.raises(InputError, match="all have the same"):
        read_nest(document, validate(document, NestFile))
