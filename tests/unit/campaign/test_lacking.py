"""What designs lack that do not fit is in the journal, the table, the page and the last words of a campaign."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import pytest

from dse.campaign.record import records_from_json, records_to_json
from dse.campaign.view import load_run
from dse.cli import main
from dse.errors import ExitCode

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "schema_version: 1\nname: tight\nobjectives: [{metric: tpot_s}]\nsampler: exhaustive\n"
DRAM = """\
workload: {model: deepseek_v3, phase: decode, cache_len: 1024, part: ffn, layer: 3}
accelerator: [edge32, tpu7x_quad]
space: {memories.dram.capacity_gib: {values: [1, 4, 2]}}
"""
REGISTERS = """\
workload: {model: deepseek_v2_lite, phase: decode, cache_len: 64, part: attention, layer: 3}
accelerator: chip.yaml
space:
  memories.rf.capacity_bytes: {values: [0.5, 1]}
"""
SYSTEM = """\
workload: {model: deepseek_r1, cache_len: 65536, batch: 65536}
system: b200_x32
space: {system.chips.memory_gib: {values: [180, 192, 96]}}
"""
CHIP = """\
schema_version: 1
name: small
summary: registers that hold less than an element
leakage_w: 0
technology: generic_7nm
clock_mhz: 1000
core:
  array:
    dims: {d1: {size: 16, unrolls: [k]}, d2: {size: 16, unrolls: [n]}}
    stationary: [right]
    folds: pipelined
    macs_per_pe_per_cycle: {bf16: 1, fp8: 1}
  vector: {lanes: 16}
memories:
  rf: {kind: registers, capacity_bytes: 2, operands: [right], serves: []}
  sram: {kind: buffer, capacity_kib: 512, bandwidth_gb_per_s: 100, double_buffered: true}
  dram: {kind: dram, capacity_gib: 64, bandwidth_gb_per_s: 50, latency_ns: 0}
"""


@pytest.mark.parametrize(
    ("text", "resource", "bound_bytes"),
    [(DRAM, "dram_capacity", 4 * 2**30), (REGISTERS, "rf capacity", 1), (SYSTEM, "memory", 192 * 2**30)],
    ids=["dram", "registers", "system"],
)
def test_the_nearest_design_is_told_everywhere(
    text: str, resource: str, bound_bytes: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "chip.yaml").write_text(CHIP)
    (tmp_path / "campaign.yaml").write_text(HEAD + text)
    folder = tmp_path / "run"
    assert main(["search", str(tmp_path / "campaign.yaml"), "--run-dir", str(folder)]) == ExitCode.NOTHING_FEASIBLE
    told = capsys.readouterr().err
    run = load_run(folder)
    for record in run.records:
        assert record.lacking is not None
        why = record.lacking.why
        assert why.resource == resource
        assert why.demand_bytes > why.bound_bytes
        assert 0.9 * bound_bytes <= why.bound_bytes <= bound_bytes  # the design with most room; of a system the share that is usable
        assert why.contributors
        assert why.levers
        assert str(why) in told
        assert main(["show", str(folder), "--trial", str(record.number), "--format", "json"]) == ExitCode.DONE
        assert json.loads(capsys.readouterr().out)["lacking"] == {"inner": record.lacking.inner, **why.to_json_dict()}
    assert records_from_json(records_to_json(run.records)) == run.records
    rows = list(csv.DictReader((folder / "trials.csv").read_text().splitlines()))
    assert [row["infeasibility"] for row in rows] == [str(r.lacking.why) for r in run.records if r.lacking]
    assert "comes nearest to fitting lacks" in (folder / "report.html").read_text()


def test_trials_in_which_a_design_fits_lack_nothing(tmp_path: Path) -> None:
    (tmp_path / "campaign.yaml").write_text(HEAD + DRAM.replace("[1, 4, 2]", "[1, 64]").replace("[edge32, tpu7x_quad]", "edge32"))
    assert main(["search", str(tmp_path / "campaign.yaml"), "--run-dir", str(tmp_path / "run")]) == ExitCode.DONE
    (record,) = load_run(tmp_path / "run").records
    assert record.lacking is None
    assert "lacking" not in records_to_json([record])[0]
