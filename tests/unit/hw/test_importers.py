"""Hardware files of ZigZag and Stream: what is read, assumed, lost and refused; figures by hand from the fixture files."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from dse.cli import app
from dse.commands.check import check_file
from dse.errors import InputError, UsageError
from dse.files import load_yaml, validate
from dse.hw.file_form import AcceleratorFile, ArrayDimsForm, ArrayForm
from dse.hw.importers.report import Report
from dse.hw.importers.stream import read_chip
from dse.hw.importers.zigzag import read_core

FILES = Path(__file__).parents[2] / "data" / "hardware"
SYSTOLIC = (FILES / "systolic.yaml").read_text()


def imported(tool: str, file: Path, folder: Path, *options: str) -> tuple[AcceleratorFile, str]:
    """The accelerator file, checked, and what went to standard error."""
    out = folder / "accelerator.yaml"
    result = CliRunner().invoke(app, ["import", tool, str(file), "-o", str(out), *options])
    assert result.exit_code == 0, result.output
    check_file(str(out))
    return validate(load_yaml(out), AcceleratorFile), result.stderr


def test_systolic_array_of_zigzag(tmp_path: Path) -> None:
    form, said = imported("zigzag", FILES / "systolic.yaml", tmp_path, "--memories", "all")
    assert [(n, m.kind) for n, m in form.memories.items()] == [
        ("rf_w", "registers"), ("rf_o", "registers"), ("sram_2mb", "buffer"), ("dram", "dram")
    ]  # fmt: skip
    name, buffer = form.buffer
    assert (name, buffer.capacity_kib, buffer.read_gb_per_s, buffer.operands) == ("sram_2mb", 2048, 256, ("left", "out"))
    assert buffer.read_energy_pj_per_byte == pytest.approx(416.16 / 256)
    assert form.dram[1].bandwidth_gb_per_s == 8  # 64 bits at 1 GHz
    assert form.dram[1].write_energy_pj_per_byte == pytest.approx(750 / 8)
    assert "systolic.yaml:19: 'ports' is given twice; the last counts" in said
    assert "assumed: data type int8" in said
    assert "lost: sram_2MB: accesses are not rounded up to bandwidth_min" in said


def test_equal_cores_become_one_dimension_more(tmp_path: Path) -> None:
    form, said = imported("stream", FILES / "two_cores.yaml", tmp_path, "--clock-mhz", "500")
    array = form.core.array
    assert isinstance(array, ArrayForm)
    assert (array.rows, array.columns, array.count) == (16, 8, 2)
    assert form.core.vector.lanes == 64
    assert form.core.array.macs_per_pe_per_cycle == {"bf16": 1}
    assert form.buffer[1].capacity_kib == 2 * 1024
    assert form.buffer[1].read_gb_per_s == 2 * 512 / 8 * 0.5
    assert "assumed: array dimension D2 is spread over k, since one rf feeds all units along it" in said
    assert "lost: 1 links between cores" in said


def test_one_core_of_a_chip(tmp_path: Path) -> None:
    form, said = imported("stream", FILES / "unlike_cores.yaml", tmp_path, "--core", "0")
    assert form.buffer[1].capacity_kib == 1024
    assert form.dram[1].bandwidth_gb_per_s == 4  # the bus of 32 bits, below the port's 64
    assert form.dram[1].read_energy_pj_per_byte == pytest.approx(1000 / 8)
    assert "lost: compute cores 1" in said
    _, free = imported("stream", FILES / "unlike_cores.yaml", tmp_path, "--core", "1")
    assert "warning: a MAC costs nothing in the source (unit_energy 0)" in free


def test_cores_that_differ_are_named() -> None:
    with pytest.raises(InputError, match=r"compute cores differ \(compute.yaml: cores 0; other.yaml: cores 1\).*--core"):
        read_chip(FILES / "unlike_cores.yaml", Report())
    with pytest.raises(UsageError, match=r"--core 7: no core .* does matrix products; those that do: 0, 1"):
        read_chip(FILES / "unlike_cores.yaml", Report(), core="7")


def test_dram_energy_and_idle_dimensions_warn(tmp_path: Path) -> None:
    text = SYSTOLIC.replace("r_cost: 700", "r_cost: 22") + "dataflows:\n  D1: ['K, 32']\n"
    (tmp_path / "x.yaml").write_text(text)
    _, said = imported("zigzag", tmp_path / "x.yaml", tmp_path)
    assert "warning: dram: read energy 0.34375 pJ/bit is outside the usual 1 to 40" in said
    assert "warning: array dimension D2 (32 units) is in no dataflow of the source" in said


def test_a_memory_for_nothing_warns(tmp_path: Path) -> None:
    extra = "  spare: {size: 8, r_cost: 1, w_cost: 1, operands: [], served_dimensions: [], ports: []}\n"
    (tmp_path / "x.yaml").write_text(SYSTOLIC.replace("  dram:\n", extra + "  dram:\n"))
    assert any("memory 'spare' serves no operand" in str(n) for n in read_core(tmp_path / "x.yaml").notes)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("sizes: [32, 32]", "sizes: [32]", r"x.yaml:\d+: 2 dimensions and 1 sizes"),
        ("size: 16777216", "size: -1", r"x.yaml:13: 'memories.sram_2MB.size' must be a number above 0, not -1"),
        ("size: 16777216", "size: big", r"'memories.sram_2MB.size' must be a number above 0, not 'big'"),
        ("    r_cost: 416.16\n", "", r"'memories.sram_2MB.r_cost' is missing"),
        ("operands: [I1, O]", "operands: [I3]", r"operand 'I3' is not known; allowed: I1, I2, O"),
        ('"I1, tl", "O, tl", "O, th"]', '"I1, xx"]', r"'I1, xx' is not a flow"),
        ('"I1, tl", "O, tl", "O, th"]', '"O, tl", "O, th"]', r"no port of 'sram_2MB' carries I1 tl"),
        ("served_dimensions: [D1, D2]\n  dram", "served_dimensions: [D7]\n  dram", r"array dimension 'D7' is not known; allowed: D1, D2"),
        ("unit_energy: 0.04", "is_imc: true", r"arrays that compute in memory \(is_imc\) are not modelled"),
        ("memories:", "memory:", r"has no 'memories': not a hardware file of ZigZag or Stream"),
    ],
)
def test_bad_files(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in SYSTOLIC
    (tmp_path / "x.yaml").write_text(SYSTOLIC.replace(old, new))
    with pytest.raises(InputError, match=message):
        read_core(tmp_path / "x.yaml")


def test_files_of_other_kinds() -> None:
    with pytest.raises(InputError, match=r"type aie2.compute is timed by measured kernels"):
        read_core(FILES / "cores" / "tile.yaml")
    with pytest.raises(InputError, match=r"describes several cores; import it with `dse import stream`"):
        read_core(FILES / "two_cores.yaml")
    with pytest.raises(InputError, match=r"is a file of dse already"):
        read_core(FILES.parents[2] / "accelerators" / "catalogue" / "tpu7x.yaml")


def test_every_level_of_two_cores(tmp_path: Path) -> None:
    form, _ = imported("stream", FILES / "two_cores.yaml", tmp_path, "--memories", "all")
    assert isinstance(form.core.array, ArrayDimsForm)
    assert {n: (d.size, d.unrolls) for n, d in form.core.array.dims.items()} == {
        "d1": (16, ("m", "k", "n")), "d2": (8, ("k",)), "cores": (2, ("groups", "m", "n"))
    }  # fmt: skip
    assert form.memories["rf"].serves == ("d2",)  # type: ignore[union-attr]


def test_the_default_can_be_mapped(tmp_path: Path) -> None:
    """Registers go into the MAC's energy: 0.04 + 0.095 per weight + 2 x 0.021 per sum."""
    form, said = imported("zigzag", FILES / "systolic.yaml", tmp_path)
    assert list(form.memories) == ["sram_2mb", "dram"]
    assert form.core.array.mac_energy_pj["int8"] == pytest.approx(0.04 + 0.095 + 0.042)
    assert "lost: right passes by the buffer in the source" in said
    result = CliRunner().invoke(app, ["map", "--gemm", "64,64,64", "--bits", "8", "-a", str(tmp_path / "accelerator.yaml")])
    assert result.exit_code == 0, result.output
