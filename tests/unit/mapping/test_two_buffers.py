"""Two buffers on chip through the commands: edge32 with buffers inside its buffer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dse.cli import main
from dse.cost.one_operator import MapObjective

RATES = "read_gb_per_s: 1024, write_gb_per_s: 1024, read_energy_pj_per_byte: 0.5, write_energy_pj_per_byte: 0.5"
SHARED = f"  l1: {{kind: buffer, capacity_kib: 16, {RATES}, double_buffered: false, overlapped: true}}\n"
SPLIT = (
    f"  acc: {{kind: buffer, capacity_kib: 8, {RATES}, double_buffered: true, operands: [out]}}\n"
    f"  pad: {{kind: buffer, capacity_kib: 8, {RATES}, double_buffered: true, operands: [left, right]}}\n"
)


def chip(repository: Path, tmp_path: Path, more: str) -> str:
    text = (repository / "accelerators/catalogue/edge32.yaml").read_text(encoding="utf-8")
    path = tmp_path / f"chip{len(more)}.yaml"
    path.write_text(text.replace("memories:\n", f"memories:\n{more}"), encoding="utf-8")
    return str(path)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert main(["map", *arguments, "--format", "json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def value(found: dict[str, object], objective: str) -> float:
    latency, energy = float(str(found["latency_cycles"])), float(str(found["energy_pj"]))
    return {"latency": latency, "energy": energy, "edp": latency * energy, "dram_bytes": float(str(found["dram_bytes"]))}[objective]


@pytest.mark.parametrize("more", [SHARED, SPLIT])
@pytest.mark.parametrize("shape", ["1,7168,1536", "61,127,251", "1,1,1", "7,1,13"])
def test_a_second_buffer_never_harms(more: str, shape: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], repository: Path) -> None:
    """All mappings that pass it by are still there; nothing is below its bound, with primes and with a buffer below one element."""
    path = chip(repository, tmp_path, more)
    name = "l1" if more == SHARED else "acc"
    for objective in (MapObjective.LATENCY, MapObjective.ENERGY):
        asked = ("--gemm", shape, "--partial-bits", "32", "--objective", objective)
        plain, found = run(capsys, *asked, "-a", "edge32"), run(capsys, *asked, "-a", path)
        none = run(capsys, *asked, "-a", path, "--set", f"memories.{name}.capacity_kib=0.0005")
        assert value(found, objective) <= value(plain, objective) * (1 + 1e-9)
        assert value(found, objective) <= value(none, objective) * (1 + 1e-9)
        assert found["mapping_excess"] == 0.0
        for result in (found, none):
            ratio = result["bound_ratio"]
            assert isinstance(ratio, dict)
            assert all(x >= 1 - 1e-12 for x in ratio.values())


def test_what_the_inner_buffer_saves(tmp_path: Path, capsys: pytest.CaptureFixture[str], repository: Path) -> None:
    """128 x 576 x 4096: sums that meet inside cross the outer buffer once; edge32 moves 18,874,368 + 9,510,912 bytes there."""
    found = run(capsys, "--gemm", "128,576,4096", "-a", chip(repository, tmp_path, SHARED), "--objective", "energy")
    counts, inner = found["counts"], found["inner"]
    assert isinstance(counts, dict)
    assert isinstance(inner, dict)
    assert "out" in inner["kept"]
    assert found["dram_bytes"] == 2_957_312
    assert counts["buffer_read_bytes"] + counts["buffer_write_bytes"] < 18_874_368
    levels = {str(loop["level"]) for loop in found["loop_nest"]}  # type: ignore[attr-defined]
    assert levels >= {"dram", "array"}


def test_capacity_in_shares(tmp_path: Path, capsys: pytest.CaptureFixture[str], repository: Path) -> None:
    """Shares are never better than one pool of the same size, and as good where one operand has it all."""
    text = (repository / "accelerators/catalogue/edge32.yaml").read_text(encoding="utf-8")
    split = "    overlapped: true  # [AF] latency is the busiest resource all the same\n"
    found = {}
    for name, shares in (("third", "{left: 0.3, right: 0.3, out: 0.4}"), ("left", "{left: 0.9, right: 0.05, out: 0.05}")):
        path = tmp_path / f"{name}.yaml"
        path.write_text(text.replace(split, split + f"    capacity_shares: {shares}\n"), encoding="utf-8")
        found[name] = run(
            capsys, "--gemm", "128,576,4096", "-a", str(path), "--objective", "energy", "--set", "memories.glb.capacity_kib=96"
        )
    pool = run(capsys, "--gemm", "128,576,4096", "-a", "edge32", "--objective", "energy", "--set", "memories.glb.capacity_kib=96")
    assert value(pool, "energy") <= min(value(f, "energy") for f in found.values())
    assert value(found["left"], "energy") < value(found["third"], "energy")  # all of left stays: 73,728 of 88,473 bytes


def test_a_model_on_two_buffers(tmp_path: Path, capsys: pytest.CaptureFixture[str], repository: Path) -> None:
    workload = ("--model", "deepseek_v2_lite", "--part", "attention", "--cache-len", "256")
    energies = []
    for accelerator in ("edge32", chip(repository, tmp_path, SHARED)):
        assert main(["eval", *workload, "-a", accelerator, "--objective", "energy", "--format", "json"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert result["feasible"]
        energies.append(result["energy_j"])
    assert energies[1] < energies[0]
    assert any(row["component"] == "l1" for row in result["breakdown"])
