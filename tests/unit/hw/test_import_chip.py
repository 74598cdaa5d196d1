"""Multi-core files of Stream as chips: cores kept apart, links with their rates; figures by hand from the fixture files."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from accelerators.catalogue import TECHNOLOGIES
from dse.cli import app
from dse.hw.interconnect import transfer_s
from dse.hw.many_core_read import ChipDescription, read_chip_file

FILES = Path(__file__).parents[2] / "data" / "hardware"


def imported(name: str, folder: Path, *options: str) -> tuple[ChipDescription, str]:
    """The chip, checked, and what went to standard error."""
    out = folder / "chip.yaml"
    result = CliRunner().invoke(app, ["import", "stream", str(FILES / name), "--chip", "-o", str(out), *options])
    assert result.exit_code == 0, result.output
    return read_chip_file(out, TECHNOLOGIES), result.stderr


def test_cores_that_differ_are_kinds(tmp_path: Path) -> None:
    chip, said = imported("unlike_cores.yaml", tmp_path)
    assert [c.kind for c in chip.chip.cores] == list(chip.file.cores)
    assert len(chip.chip.cores) == 2
    assert [link.kind for link in chip.file.links.values()] == ["bus"]
    assert chip.file.links["bus0"].bandwidth_gb_per_s == 4  # 32 bits at 1 GHz
    assert "read: cores 0 as 1 x" in said


def test_equal_cores_are_counted_and_linked(tmp_path: Path) -> None:
    chip, said = imported("two_cores.yaml", tmp_path, "--clock-mhz", "500")
    kinds = {k: c.count for k, c in chip.file.cores.items()}
    assert max(kinds.values()) == 2
    first, second = (c.name for c in chip.chip.cores if c.kind == max(kinds, key=lambda k: kinds[k]))
    route = chip.chip.interconnect.route(first, second)
    assert transfer_s(route, 1e6) > 0
    assert "assumed: clock 500 MHz" in said
    whole = CliRunner().invoke(app, ["import", "stream", str(FILES / "two_cores.yaml")])
    assert "links between cores: transfers over them take no time" in whole.stderr
    assert "links between cores" not in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["zigzag", "systolic.yaml", "--chip"], "--chip belongs to files of stream"),
        (["stream", "two_cores.yaml", "--chip", "--core", "0"], "not together with --core"),
        (["stream", "systolic.yaml", "--chip"], "describes one core; import it without --chip"),
    ],
)
def test_what_cannot_be_a_chip(options: list[str], message: str) -> None:
    tool, name, *rest = options
    result = CliRunner().invoke(app, ["import", tool, str(FILES / name), *rest])
    assert result.exit_code != 0
    assert message in (result.stderr + str(result.exception))


def test_units_on_one_memory_are_one_core_that_runs_products_and_all_else(tmp_path: Path) -> None:
    chip, said = imported("shared_memory.yaml", tmp_path)
    (core,) = chip.chip.cores
    assert core.has_array
    assert core.has_vector
    assert core.op_types is None  # products of the array that names nothing, and every operator of the vector core
    assert "'compute' runs every operator of a vector unit, though it names Add, Exp, Mul only" in said


def test_links_of_units_on_one_memory_are_one_link(tmp_path: Path) -> None:
    """Routes take one channel: two links side by side would leave the second idle."""
    chip, said = imported("shared_memory.yaml", tmp_path)
    (link,) = chip.file.links.values()
    assert link.bandwidth_gb_per_s == 16  # twice 64 bits at 1 GHz, as the import as one core has it
    assert "connection 1 is part of 'link0', which joins the same two here: the bandwidth of both" in said


def test_what_is_not_read_is_told_with_its_line(tmp_path: Path) -> None:
    _, said = imported("shared_memory.yaml", tmp_path)
    assert "shared_memory.yaml:7: 'unit_energy_cost': energy of a connection is not read, it names no unit: 0 here" in said
    assert "shared_memory.yaml:9: 'technology_node': the node is not read" in said
    assert (
        "shared_memory.yaml:10: 'core_conectivity' is no key that an import knows; it is left out. Did you mean 'core_connectivity'?"
        in said
    )


def test_cores_without_an_array_are_not_told_of_one(tmp_path: Path) -> None:
    chip, said = imported("two_cores.yaml", tmp_path)
    assert chip.file.cores["simd"].array is None
    assert chip.file.cores["simd"].op_types is None
    assert set(chip.file.cores["compute"].op_types or ()) == {"Conv", "Einsum", "Gemm", "MatMul"}
    assert said.count("assumed: array:") == 1  # that of the matrix cores
