"""The forms of `dse system`: what each writes, and that the same command writes the same bytes."""

import json

import pytest

from dse.cli import main

POINT = ["system", "--model", "deepseek_v2_lite", "--system", "b200_node", "--batch", "64", "--cache-len", "1024"]


def run(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main([*POINT, *words, "--format", "json"]) == code
    return capsys.readouterr().out


def test_a_point_has_its_keys_and_its_operators(capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "--parallel", "tp=2,ep=8")
    assert text == run(capsys, "--parallel", "tp=2,ep=8")
    point = json.loads(text)
    assert {"tpot_s", "ttft_s", "tokens_per_s_per_chip", "max_batch", "shares", "feasible", "ridge_batch", "imbalance"} <= set(point)
    listed = json.loads(run(capsys, "--parallel", "tp=2,ep=8", "--operators"))
    assert listed == point["operators"]
    step_s = sum(o["count"] * o["seconds"] for o in listed)
    assert step_s == pytest.approx(point["tpot_s"], rel=1e-9)


def test_degrees_are_listed_with_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(run(capsys, "--degrees", "--parallel", "tp=*,ep=4|8"))
    assert len(rows) == 8
    (refused,) = [r for r in rows if not r["legal"]]
    assert refused["reason"] == "ep x moe_tp = 4 is less than tp=8; give ep=8 or moe_tp=8"


def test_pools(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(run(capsys, "--prefill-chips", "4", "--output-len", "100"))
    assert found["prefill"]["chips"] + found["decode"]["chips"] == found["chips"] == 8
    assert found["requests_per_s"] * 100 / 8 == pytest.approx(found["tokens_per_s_per_chip"])
    assert run(capsys, "--prefill-chips", "4", "--output-len", "100", "--batch", "1000000", code=4)


def test_systems_at_equal_power(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(run(capsys, "--versus", "h100_node", "--equal", "power", "--batches", "64,256"))
    assert [r["system"] for r in rows] == ["b200_node", "h100_node"]
    assert rows[0]["tokens_per_s_ratio"] == 1
    assert all(r["cost"] <= rows[0]["cost"] and r["cost_unit"] == "W" for r in rows)


@pytest.mark.parametrize("model", ["roofline", "calibrated"])
def test_measured_exchange_and_kernels(capsys: pytest.CaptureFixture[str], model: str) -> None:
    direct = json.loads(run(capsys, "--chip-model", model))
    measured = json.loads(run(capsys, "--chip-model", model, "--exchange", "low_latency"))
    assert measured["shares"]["attention"] * measured["tpot_s"] == pytest.approx(direct["shares"]["attention"] * direct["tpot_s"])
    assert measured["tpot_s"] != direct["tpot_s"]


def test_a_calibrated_chip_is_slower_than_its_roofline(capsys: pytest.CaptureFixture[str]) -> None:
    roofline, calibrated = (json.loads(run(capsys, "--chip-model", m))["tpot_s"] for m in ("roofline", "calibrated"))
    assert calibrated > roofline
