"""Where tiles lie and what that counts: instances, ports, copies, weights that stay; by hand on tiny products."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dse.cli import main
from dse.hw.accelerator import ArrayGeometry, Dataflow, Folds, Geometry, MemoryGeometry, OperandName
from dse.mapping.frontier import mapping_traffic
from dse.mapping.matmul import InnerTile, Kept, MatmulMapping, Stationary
from dse.mapping.problem import MatmulProblem
from dse.mapping.residence import residence

L, R, OUT = OperandName.LEFT, OperandName.RIGHT, OperandName.OUT
ARRAY = ArrayGeometry(2, 2, 1, (Dataflow.WEIGHT_STATIONARY,), Folds.BROADCAST, (("int8", 1),))
PROBLEM = MatmulProblem(1, 4, 2, 4, 8, 8, 8, 8, "int8")
"""4 x 2 x 4 in bytes: A and B have 8, C has 16; two passes along n, one along k."""


def only(kept: Kept, inner: Kept | None = None) -> MatmulMapping:
    """Everything as one tile, held in these memories."""
    inside = None if inner is None else InnerTile(Stationary.LEFT, inner, 4, 2, 4)
    return MatmulMapping(Dataflow.WEIGHT_STATIONARY, Stationary.LEFT, kept, 4, 2, 4, 1, inner=inside)


NOTHING = Kept(left=False, right=False, out=False)
LEFT = Kept(left=True, right=False, out=False)
RIGHT = Kept(left=False, right=True, out=False)


def inner_counts(memory: MemoryGeometry, kept: Kept) -> tuple[float, ...]:
    """Footprint of an instance, bytes read and written of the one memory inside the outermost buffer; then DRAM bytes read."""
    geometry = Geometry(ARRAY, double_buffered=False, inner=(memory,))
    _, counts = mapping_traffic(PROBLEM, geometry, only(NOTHING, kept))
    assert counts.inner is not None
    return (*counts.inner[0].tolist(), float(counts.dram_read_bytes[0]))


def test_one_instance_feeds_all() -> None:
    """A: 8 bytes come once and are read for each of two passes along n; weights come once, 8 bytes."""
    assert inner_counts(MemoryGeometry(operands=(L,)), LEFT) == (8, 16, 8, 16)


def test_copies_along_a_loop_that_the_operand_lacks() -> None:
    """One instance for each of two columns (n): both hold all of A, are filled and read; DRAM is read once for both."""
    assert inner_counts(MemoryGeometry(operands=(L,), replicated=("columns",), instances=2), LEFT) == (8, 32, 16, 16)


def test_shares_along_a_loop_that_indexes_the_operand() -> None:
    """One instance for each row (k): half of A in each. For each element: one of two columns of two rows of B, twice along n."""
    assert inner_counts(MemoryGeometry(operands=(L,), replicated=("rows",), instances=2), LEFT) == (4, 16, 8, 16)
    every = MemoryGeometry(operands=(R,), replicated=("rows", "columns"), instances=4)
    footprint, read, written, _ = inner_counts(every, RIGHT)
    assert (footprint, written) == (2, 8)
    assert read == 8  # once per stay


def test_registers_that_hold_a_tile() -> None:
    """Two weights in each of four elements: read once per MAC, 32, written once, 8."""
    registers = MemoryGeometry(registers=True, overlapped=True, operands=(R,), replicated=("rows", "columns"), instances=4)
    assert inner_counts(registers, RIGHT) == (2, 32, 8, 24)  # A passes by twice


def test_a_tile_that_is_replaced_takes_twice_its_bytes() -> None:
    """Two tiles of 2 x 2 of A: 4 bytes in one copy, 8 in two; a tile that is loaded once takes 8 either way."""
    for double, replaced in ((False, 4), (True, 8)):
        geometry = Geometry(ARRAY, double_buffered=double)
        halves = replace(only(LEFT), tile_m=2)
        assert mapping_traffic(PROBLEM, geometry, halves)[1].footprint_bytes[0] == replaced
        assert mapping_traffic(PROBLEM, geometry, only(LEFT))[1].footprint_bytes[0] == 8


def test_weights_that_stay_on_chip_move_nothing_off_chip() -> None:
    """They are held by the plan: no room here, no byte of DRAM, read from the buffer as often as the array asks (8, once)."""
    geometry = Geometry(ARRAY, double_buffered=False)
    traffic, counts = mapping_traffic(replace(PROBLEM, right_on_chip=True), geometry, only(NOTHING))
    assert counts.dram_read_bytes[0] == 16  # A alone, once per pass along n
    assert (traffic[1].dram_read_bytes[0], traffic[1].buffer_read_bytes[0], counts.footprint_bytes[0]) == (0, 8, 0)


def test_memories_of_each_operand() -> None:
    """Weights in a buffer of their own at the outermost level, two buffers inside for A; the last two where nothing is said."""
    inner = (MemoryGeometry(operands=(L,)), MemoryGeometry(operands=(L, OUT)), MemoryGeometry(operands=(R,)))
    found = residence(Geometry(ARRAY, False, MemoryGeometry(operands=(L, OUT)), inner))
    assert (found.of(L), found.of(R), found.of(OUT)) == ((0, 1, -1), (2,), (1, -1))
    assert (found.default(L), found.default(R), found.default(OUT)) == ((-1, 1), (2, 2), (-1, 1))
    assert found.pairs(L) == ((1, 0), (-1, 0), (-1, 1))


def test_more_memories_than_tiles_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], repository: Path) -> None:
    """An operand that three memories may hold has tiles in two of them where the file allows no more: the result says so."""
    rates = "bandwidth_gb_per_s: 400, read_energy_pj_per_byte: 0.1, write_energy_pj_per_byte: 0.1, double_buffered: false, overlapped: true"
    text = (repository / "accelerators/catalogue/edge32.yaml").read_text(encoding="utf-8")
    levels = [f"  {name}: {{kind: buffer, capacity_kib: {kib}, {rates}, operands: [left, out]}}\n" for name, kib in (("l0", 4), ("l1", 64))]
    asked = ["map", "--gemm", "64,64,64", "--set", "core.most_tiles=2", "--format"]
    for given, expected in ((levels[:1], {}), (levels, {"left": ["l0", "l1", "glb"], "out": ["l0", "l1", "glb"]})):
        path = tmp_path / f"chip{len(given)}.yaml"
        path.write_text(text.replace("memories:\n", "memories:\n" + "".join(given)), encoding="utf-8")
        assert main([*asked, "json", "-a", str(path)]) == 0
        assert json.loads(capsys.readouterr().out)["two_tiles_in"] == expected
        assert main([*asked, "table", "-a", str(path)]) == 0
        assert ("may lie in l0, l1, glb" in capsys.readouterr().out) == bool(expected)
        assert main([*asked[:3], "--format", "json", "-a", str(path)]) == 0
        assert json.loads(capsys.readouterr().out)["two_tiles_in"] == {}


@pytest.mark.parametrize(("port", "busy"), [("bandwidth_gb_per_s: 4", {"inner0_port"}), ("read_gb_per_s: 4, write_gb_per_s: 4", None)])
def test_ports(port: str, busy: set[str] | None, tmp_path: Path, capsys: pytest.CaptureFixture[str], repository: Path) -> None:
    """One port is busy with the sum of what is read and written, two with one each, at 4 bytes per cycle."""
    energies = "read_energy_pj_per_byte: 0.1, write_energy_pj_per_byte: 0.1"
    more = f"  l1: {{kind: buffer, capacity_kib: 64, {port}, {energies}, double_buffered: false, overlapped: true}}\n"
    text = (repository / "accelerators/catalogue/edge32.yaml").read_text(encoding="utf-8")
    path = tmp_path / "chip.yaml"
    path.write_text(text.replace("memories:\n", f"memories:\n{more}"), encoding="utf-8")
    assert main(["map", "--gemm", "64,64,64", "-a", str(path), "--objective", "energy", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    read, written, cycles = found["counts"]["l1_read_bytes"], found["counts"]["l1_write_bytes"], found["busy_cycles"]
    assert read > 0
    if busy:
        assert cycles["inner0_port"] == pytest.approx((read + written) / 4)
    else:
        assert (cycles["inner0_read"], cycles["inner0_write"]) == (pytest.approx(read / 4), pytest.approx(written / 4))
    assert [tile["memory"] for tile in found["tiles"]]
    assert all(border["ratio"] >= 1 - 1e-12 for border in found["borders"])


def test_primes_and_buffers_below_one_element(capsys: pytest.CaptureFixture[str]) -> None:
    """Everything passes the buffer by: 7 x 13 weights come once, A once per pass along n; three levels of bounds hold."""
    asked = ["map", "--gemm", "1,7,13", "-a", "edge32", "--set", "memories.glb.capacity_kib=0.0005", "--format", "json"]
    assert main(asked) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["counts"]["footprint_bytes"] == 0
    assert found["dram_bytes"] == 7 + 7 * 13 + 13
    assert min(found["bound_ratio"].values()) >= 1 - 1e-12


def test_three_tiles_of_an_operand_by_hand() -> None:
    """A in two rows of tiles: 8 bytes cross each border once on their way in, and the array reads them from the nearest memory twice, once
    for each pass along n."""
    inner = (MemoryGeometry(operands=(L,)), MemoryGeometry(operands=(L,)))
    level = InnerTile(Stationary.LEFT, LEFT, 2, 2, 4)
    mapping = replace(only(LEFT), inner=replace(level, inside=replace(level, tile_m=1)))
    traffic, counts = mapping_traffic(PROBLEM, Geometry(ARRAY, double_buffered=False, inner=inner), mapping)
    assert counts.inner is not None
    assert counts.inner[0].tolist() == [2, 16, 8, 4, 8, 8]  # rows of 1, then of 2
    assert (counts.footprint_bytes[0], traffic[0].dram_read_bytes[0], traffic[0].buffer_read_bytes[0]) == (8, 8, 8)


def test_a_mapping_with_three_tiles_is_written_and_read(tmp_path: Path, capsys: pytest.CaptureFixture[str], repository: Path) -> None:
    """Registers, a buffer and the outermost one for all operands: the file of what is found costs the same, and tiles that do not lie inside
    one another are refused."""
    rates = "bandwidth_gb_per_s: 900, double_buffered: false, overlapped: true"
    text = (repository / "accelerators/catalogue/edge32.yaml").read_text(encoding="utf-8")
    levels = [
        f"  {name}: {{kind: buffer, capacity_kib: {kib}, read_energy_pj_per_byte: {pj}, write_energy_pj_per_byte: {pj}, {rates}}}\n"
        for name, kib, pj in (("l0", 2, 0.01), ("l1", 16, 0.2))
    ]
    chip, saved = tmp_path / "chip.yaml", tmp_path / "mapping.yaml"
    chip.write_text(text.replace("memories:\n", "memories:\n" + "".join(levels)), encoding="utf-8")
    asked = ["map", "-a", str(chip), "--set", "memories.glb.capacity_kib=80", "--objective", "energy", "--format", "json"]
    assert main([*asked, "--gemm", "128,192,256", "--partial-bits", "16", "--save-mapping", str(saved)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {tile["memory"] for tile in found["tiles"]} == {"glb", "l1", "l0"}
    assert "inner2:" in saved.read_text(encoding="utf-8")
    assert main([*asked, "--mapping", str(saved)]) == 0
    given = json.loads(capsys.readouterr().out)
    assert {key: given[key] for key in ("latency_cycles", "energy_pj", "counts", "tiles", "loop_nest", "inner")} == {
        key: found[key] for key in ("latency_cycles", "energy_pj", "counts", "tiles", "loop_nest", "inner")
    }
    assert given["optimum_ratio"]["energy"] == pytest.approx(1.0)
