"""`dse map --mapping` and `--save-mapping`: what is saved costs the same again; any integer tile; ratios to the best."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dse import cli
from dse.errors import ExitCode

SAME = (
    "latency_cycles",
    "latency_s",
    "energy_pj",
    "dram_bytes",
    "utilisation",
    "bound_ratio",
    "loop_nest",
    "counts",
    "busy_cycles",
    "tile",
)


@pytest.fixture
def dse(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command in this process; its JSON."""

    def run(*arguments: str, code: int = ExitCode.DONE) -> Any:
        got = cli.main([*arguments, "--format", "json"])
        captured = capsys.readouterr()
        assert got == code, captured.err
        return json.loads(captured.out)

    return run


@pytest.mark.parametrize(
    ("accelerator", "product", "objective"),
    [
        ("edge32", ("--gemm", "128,576,4096", "--partial-bits", "16"), "energy"),
        ("edge32", ("--gemm", "127,509,1021"), "latency"),
        ("h100_sxm", ("--gemm", "16,512,128", "--groups", "8", "--bits", "16"), "latency"),
        ("flat_edge", ("--gemm", "1,768,300", "--bits", "16"), "edp"),
        ("tpu7x", ("--gemm", "64,64,64", "--bits", "16"), "dram_bytes"),
    ],
)
def test_what_is_saved_costs_the_same_again(accelerator: str, product: tuple[str, ...], objective: str, dse: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "best.yaml")
    found = dse("map", *product, "-a", accelerator, "--objective", objective, "--save-mapping", path)
    again = dse("map", "--mapping", path, "-a", accelerator, "--objective", objective)
    assert {k: again[k] for k in SAME} == {k: found[k] for k in SAME}
    assert (found["given"], again["given"]) == (False, True)
    assert again["optimum_ratio"][objective] == pytest.approx(1.0, rel=1e-9)
    assert min(again["optimum_ratio"].values()) > 0.999
    assert dse("map", *product, "--mapping", path, "-a", accelerator)["counts"] == found["counts"], "saying both is fine where they agree"


def test_tiles_of_any_side(dse: Any, repository: Path) -> None:
    """128 x 576 x 4096 in tiles of 128 x 192 x 100: 41 tiles along n, the last of 96; C stays, A is read once per tile along n.

    DRAM: A 73,728 x 41, B 576 x 4096 once, C 524,288 once. Buffer, read: A once per pass of 32 columns, 4 a tile and 3 for the last,
    40 x 4 + 3 = 163 times 73,728; sums come back 17 times at 16 bits; C leaves for DRAM from it.
    """
    found = dse("map", "--mapping", str(repository / "tests/data/mappings/edge32.yaml"), "-a", "edge32")
    a, b, c = 128 * 576, 576 * 4096, 128 * 4096
    assert found["counts"]["dram_read_bytes"] == 41 * a + b
    assert found["counts"]["dram_write_bytes"] == c
    assert found["counts"]["buffer_read_bytes"] == 163 * a + 17 * 2 * c + c
    assert found["tile"] == {"m": 128, "k": 192, "n": 100}
    assert found["stationary"] == "output"
    assert all(ratio >= 1 for ratio in found["optimum_ratio"].values())
    assert found["optimum_ratio"]["energy"] > 1.05


def test_a_mapping_that_does_not_fit(dse: Any, repository: Path) -> None:
    path = str(repository / "tests/errors/mapping_too_large_for_the_buffer.yaml")
    found = dse("map", "--mapping", path, "-a", "edge32", code=ExitCode.NOTHING_FEASIBLE)
    (reason,) = found["infeasibility"]
    assert reason["resource"] == "glb capacity"
    assert reason["contributors"] == {"left": 128 * 576, "right": 576 * 4096, "out": 128 * 4096}
    assert reason["demand_bytes"] == sum(reason["contributors"].values())


def test_order_of_dram_loops_decides_what_stays(dse: Any, tmp_path: Path) -> None:
    path = tmp_path / "nest.yaml"
    head = "schema_version: 1\ngemm: {m: 64, k: 64, n: 64, bits: 8}\ndataflow: weight_stationary\nkeeps: {buffer: [left, out]}\nloops:\n"
    loops = {d: f"- {{level: dram, loop: {d}, step: 32}}\n" for d in "mkn"}
    stays = {}
    for order in ("mkn", "kmn", "mnk", "nkm"):
        path.write_text(head + "".join(loops[d] for d in order))
        stays[order] = dse("map", "--mapping", str(path), "-a", "edge32")["stationary"]
    assert stays == {"mkn": "input", "kmn": "input", "mnk": "output", "nkm": "weight"}
    path.write_text(head + loops["m"] + loops["n"] + loops["k"].replace("32", "64"))
    assert dse("map", "--mapping", str(path), "-a", "edge32")["stationary"] == "input", "the loop of one step changes nothing"


def test_ways_that_cover_the_same_are_told_apart(dse: Any, tmp_path: Path, repository: Path) -> None:
    """64 elements of k and 16 of n: `a` may have 2 to 32 of k, and `small` then feeds as many instances with other elements of A."""
    chip, path = str(repository / "tests/data/hardware/free_array.yaml"), tmp_path / "mapping.yaml"
    head = (repository / "tests/errors/mapping_covers_two_ways.yaml").read_text(encoding="utf-8")
    head = head.replace("keeps: {buffer: [left, out]}", "keeps: {buffer: [], inner: [left]}")
    written = {}
    for k in (2, 4, 8, 16, 32):
        path.write_text(f"{head}spread: [{{dims: [a], k: {k}, n: {32 // k}}}]\n")
        found = dse("map", "--mapping", str(path), "-a", chip, "--set", "memories.small.capacity_kib=64")
        written[k] = found["counts"]["small_write_bytes"]
    n_on_a = {k: 32 // k for k in written}
    assert {k: w / written[32] for k, w in written.items()} == n_on_a  # a copy of A for each element of n along `a`


def test_a_free_array_costs_the_same_from_its_file(dse: Any, tmp_path: Path, repository: Path) -> None:
    chip, path = str(repository / "tests/data/hardware/free_array.yaml"), str(tmp_path / "mapping.yaml")
    for shape in ("64,256,256", "7,33,5", "1,64,1", "500,3,96"):
        for objective in ("latency", "energy"):
            best = dse("map", "--gemm", shape, "-a", chip, "--objective", objective, "--save-mapping", path)
            again = dse("map", "--mapping", path, "-a", chip)
            assert [again[k] for k in ("latency_cycles", "energy_pj", "counts")] == [
                best[k] for k in ("latency_cycles", "energy_pj", "counts")
            ]
