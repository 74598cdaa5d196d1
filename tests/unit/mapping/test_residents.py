"""Inputs that lie whole in the outermost buffer before and after: weights that stay over steps."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from dse.cli import main
from dse.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHAPE = ("--gemm", "8,512,512", "-a", "edge32")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """The JSON of `dse map`."""

    def ran(*words: str, code: ExitCode = ExitCode.DONE) -> dict[str, Any]:
        assert main(["map", *words, "--format", "json"]) == code
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return ran


def test_weights_that_stay_come_from_no_dram(run: Callable[..., dict[str, Any]]) -> None:
    """A and C are 8 x 512 bytes. By hand: DRAM 8,192 bytes at 64 pJ, MACs 8 x 512 x 512 at 0.2 pJ; the array takes B once and A once for
    each of 16 blocks of columns, sums of A's 16 blocks of rows come 15 times back, each read at 4.8 pJ and each write at 5.6."""
    found = run(*SHAPE, "--on-chip", "right", "--objective", "energy")
    a = c = 8 * 512
    b = 512 * 512
    assert found["dram_bytes"] == found["bound"]["dram_bytes"] == a + c
    assert found["on_chip"] == {"right": b}
    read, written = b + 16 * a + 15 * c + c, a + 16 * c
    assert (found["counts"]["buffer_read_bytes"], found["counts"]["buffer_write_bytes"]) == (read, written)
    assert found["energy_pj"] == pytest.approx(64 * (a + c) + 0.2 * 8 * b + 4.8 * read + 5.6 * written)
    assert run(*SHAPE, "--objective", "energy")["dram_bytes"] == a + b + c
    held = {t["operand"]: t["tile"] for t in found["tiles"] if t["memory"] == "glb"}
    assert held["right"] == {"k": 512, "n": 512}


def test_results_that_the_next_operator_takes_go_to_no_dram(run: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    """A and B come once, C goes nowhere; sums and results are written to the buffer 16 times and read back 15."""
    a = c = 8 * 512
    b = 512 * 512
    file = str(tmp_path / "mapping.yaml")
    found = run(*SHAPE, "--on-chip", "out", "--objective", "energy", "--save-mapping", file)
    assert found["on_chip"] == {"out": c}
    assert found["dram_bytes"] == found["bound"]["dram_bytes"] == a + b
    read, written = 16 * a + 15 * c, a + 16 * c
    assert (found["counts"]["buffer_read_bytes"], found["counts"]["buffer_write_bytes"]) == (read, written)
    assert found["energy_pj"] == pytest.approx(64 * (a + b) + 0.2 * 8 * b + 4.8 * read + 5.6 * written)
    again = run("--mapping", file, "-a", "edge32")
    assert (again["energy_pj"], again["on_chip"]) == (found["energy_pj"], {"out": c})


def test_nothing_moves_where_all_stays(run: Callable[..., dict[str, Any]]) -> None:
    found = run(*SHAPE, "--on-chip", "left,right,out", "--objective", "dram_bytes")
    assert found["dram_bytes"] == found["bound"]["dram_bytes"] == 0
    assert found["bound_ratio"]["dram_bytes"] == 1
    assert found["latency_cycles"] == 8 * 16 * 16


def test_results_stay_above_their_bounds(run: Callable[..., dict[str, Any]]) -> None:
    for kib in (257, 300, 2048):
        for objective in ("latency", "energy", "edp", "dram_bytes"):
            found = run(*SHAPE, "--on-chip", "right", "--objective", objective, "--set", f"memories.glb.capacity_kib={kib}")
            assert min(found["bound_ratio"].values()) >= 1 - 1e-12
            assert min(border["ratio"] for border in found["borders"]) >= 1 - 1e-12


def test_tiles_have_the_room_that_is_left(run: Callable[..., dict[str, Any]]) -> None:
    """B takes 256 KiB; what it leaves is not enough for all of A and C."""
    small = run(*SHAPE, "--on-chip", "right", "--objective", "energy", "--set", "memories.glb.capacity_kib=257")
    assert small["counts"]["footprint_bytes"] <= 1024
    assert small["energy_pj"] > run(*SHAPE, "--on-chip", "right", "--objective", "energy")["energy_pj"]


def test_residents_without_room(run: Callable[..., dict[str, Any]]) -> None:
    asked = (*SHAPE, "--on-chip", "left,right", "--set", "memories.glb.capacity_kib=259")
    (why,) = run(*asked, code=ExitCode.NOTHING_FEASIBLE)["infeasibility"]
    assert (why["resource"], why["contributors"]) == ("glb capacity", {"left": 4096, "right": 262144})
    assert (why["demand_bytes"], why["bound_bytes"]) == (260 * 1024, 259 * 1024)


def test_a_share_of_the_capacity_holds_its_own(run: Callable[..., dict[str, Any]], repository: Path, tmp_path: Path) -> None:
    """Half of 600 KiB holds the weights; a quarter of it would not."""
    text = (repository / "accelerators/catalogue/edge32.yaml").read_text(encoding="utf-8")
    for share, code in ((0.5, ExitCode.DONE), (0.25, ExitCode.NOTHING_FEASIBLE)):
        shares = f"    capacity_shares: {{left: 0.25, right: {share}, out: 0.25}}\n    overlapped: true"
        (tmp_path / "chip.yaml").write_text(text.replace("    overlapped: true", shares).replace(": 2048", ": 600"), encoding="utf-8")
        found = run("--gemm", "8,512,512", "-a", str(tmp_path / "chip.yaml"), "--on-chip", "right", code=code)
        assert found["feasible"] is (code is ExitCode.DONE)


def test_the_file_of_a_mapping_says_what_stays(run: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    file = str(tmp_path / "mapping.yaml")
    found = run(*SHAPE, "--on-chip", "left,right", "--save-mapping", file)
    again = run("--mapping", file, "-a", "edge32")
    for key in ("latency_cycles", "energy_pj", "dram_bytes", "counts", "on_chip", "tiles"):
        assert again[key] == found[key]
    assert again["optimum_ratio"]["latency"] == 1
    tight = run("--mapping", file, "-a", "edge32", "--set", "memories.glb.capacity_kib=260.1", code=ExitCode.NOTHING_FEASIBLE)
    assert set(tight["infeasibility"][0]["contributors"]) == {"left", "right", "out"}
