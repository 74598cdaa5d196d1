"""`dse eval --calibrated`: three settings of the chip, from its calibration."""

from __future__ import annotations

import json

import pytest

from dse.cli import main
from dse.errors import UsageError
from dse.ir.lowering import Part
from dse.ir.precision import precision
from dse.plugins import load_accelerator
from dse.single import evaluate_any, evaluate_single
from dse.validation.silicon.chip import read_chip
from dse.validation.silicon.sustained import sustained_settings
from dse.workload import WorkloadOptions

LAYER = WorkloadOptions(model="deepseek_v2_lite", part=Part.FFN, layer=0, batch=8)


def test_settings_are_those_of_products() -> None:
    chip = load_accelerator("h100_sxm")
    fitted = read_chip(chip).constants("gemm", "bf16")
    found = sustained_settings(chip, precision("bf16"))
    assert found["overheads.launch_latency_us"] == fitted["launch_us"]
    assert found["core.array.sustained_fraction"] == min(1.0, fitted["array_fraction"])
    assert found["memories.hbm.sustained_fraction"] == min(1.0, fitted["dram_fraction"])


def test_formats_choose_their_constants() -> None:
    chip = load_accelerator("h100_sxm")
    launches = {p: sustained_settings(chip, precision(p))["overheads.launch_latency_us"] for p in ("bf16", "fp8", "fp8_block", "w8a16_fp8")}
    fitted = {t: read_chip(chip).constants("gemm", t)["launch_us"] for t in ("bf16", "fp8", "fp8_block")}
    assert launches == {**fitted, "w8a16_fp8": fitted["bf16"]}


def test_calibrated_is_slower_and_takes_the_same_energy() -> None:
    peak, sustained = (evaluate_single(LAYER, "h100_sxm", calibrated=c) for c in (False, True))
    assert sustained.latency_s > peak.latency_s + 3 * 3e-6  # three products, 3.5 us each to launch
    assert sustained.energy_j == pytest.approx(peak.energy_j, rel=0.05)


def test_settings_of_the_user_come_last() -> None:
    given = ["overheads.launch_latency_us=0", "core.array.sustained_fraction=1", "memories.hbm.sustained_fraction=1"]
    assert evaluate_single(LAYER, "h100_sxm", given, calibrated=True).latency_s == evaluate_single(LAYER, "h100_sxm").latency_s


@pytest.mark.parametrize(("chip", "words"), [("flat_cloud", "names no calibration"), ("tpu_like_quad", "a chip of many cores")])
def test_what_was_not_measured_is_refused(chip: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        evaluate_any(LAYER, chip, calibrated=True)


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--model", "deepseek_v2_lite", "--part", "ffn", "--layer", "0", "-a", "h100_sxm", "--format", "json"]
    seconds = []
    for extra in ([], ["--calibrated"]):
        assert main(["eval", *options, *extra]) == 0
        seconds.append(json.loads(capsys.readouterr().out)["latency_s"])
    assert seconds[1] > seconds[0]
