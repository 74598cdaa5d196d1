"""`dse lower`, `eval`, `frontier` and `compare` as scripts use them: keys, columns, streams, exit codes, closed forms."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from dse import cli
from dse.errors import ExitCode

ATTENTION = ("--model", "deepseek_v3", "--part", "attention")


@pytest.fixture
def dse(capsys: pytest.CaptureFixture[str]):
    """Run a command in this process; what it wrote on standard output."""

    def run(*arguments: str, code: int = ExitCode.DONE) -> str:
        got = cli.main(list(arguments))
        captured = capsys.readouterr()
        assert got == code, captured.err
        assert bool(captured.err) == (code != ExitCode.DONE), captured.err
        return captured.out

    return run


def rows(text: str) -> list[dict[str, str]]:
    """The records of a CSV, every row as wide as the header."""
    lines = list(csv.reader(io.StringIO(text)))
    assert all(len(line) == len(lines[0]) for line in lines)
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


P = 174_063_616
CLOSED = {  # MACs per token, MACs per token and position, elements of weights, elements of cache per position, parameters
    "mha_l": (469_762_048, 32_768, 469_762_048, 32_768, 469_762_048),
    "mha_s": (172_006_912, 19_712, 172_006_912, 19_712, 172_006_912),
    "left_to_right": (P, 131_072, P, 512, P),
    "reuse": (241_172_480, 131_072, 241_172_480, 512, P),
    "recompute": (241_172_480 + 12_884_901_888, 131_072, P, 512, P),
    "reuse_both": (585_105_408, 131_072, 585_105_408, 512, P),
    "recompute_both": (585_105_408 + 73_014_444_032, 131_072, P, 512, P),
    "naive": (157_286_400, 16_777_216 + 32_768, P, 512, P),
}


@pytest.mark.parametrize("cache_len", [1, 4096, 65_536])
@pytest.mark.parametrize("scheme", CLOSED)
def test_lower_gives_the_closed_forms(scheme: str, cache_len: int, dse: Any) -> None:
    """Geens and Verhelst, arXiv 2506.02523: one layer, one new token, batch 1, no rope; bf16."""
    text = dse("lower", *ATTENTION, "--attention", scheme, "--rope", "off", "--cache-len", str(cache_len), "--summary", "--format", "json")
    found = json.loads(text)
    fixed, per_position, weights, cache, parameters = CLOSED[scheme]
    assert found["totals"]["macs"] == fixed + per_position * cache_len
    assert found["totals"]["weight_bytes"] == 2 * weights
    assert found["totals"]["cache_bytes"] == 2 * cache * cache_len
    assert found["parameters_total"] == found["parameters_active"] == parameters
    for name in ("macs", "weight_bytes", "cache_bytes", "activation_bytes"):
        assert sum(o[name] * o["count"] for o in found["operators"]) == found["totals"][name]


def test_rope_adds_parameters(dse: Any) -> None:
    found = json.loads(dse("lower", *ATTENTION, "--rope", "on", "--summary", "--format", "json"))
    assert found["parameters_total"] == 187_105_280


def test_lower_keys(dse: Any) -> None:
    """More keys may come; these stay, in this order."""
    found = json.loads(dse("lower", "--model", "deepseek_v3", "--summary", "--format", "json"))
    assert list(found)[:4] == ["parameters_total", "parameters_active", "totals", "operators"]
    assert list(found)[4:] == ["roles", "parameters_active_with_embedding", "precision"]
    counts = ["macs", "weight_bytes", "cache_bytes", "activation_bytes"]
    assert [k for k in found["totals"] if k in counts] == counts
    assert all({"name", "op_type", "count", *counts} <= set(o) for o in found["operators"])
    assert len({o["name"] for o in found["operators"]}) == len(found["operators"])


def test_lower_csv_is_bare(dse: Any) -> None:
    found = rows(dse("lower", "--model", "deepseek_v3", "--all-layers", "--summary", "--format", "csv"))
    as_json = json.loads(dse("lower", "--model", "deepseek_v3", "--all-layers", "--summary", "--format", "json"))
    assert {"name", "op_type", "macs", "weight_bytes", "cache_bytes", "activation_bytes", "count"} <= set(found[0])
    assert sum(int(r["macs"]) * int(r["count"]) for r in found) == as_json["totals"]["macs"]
    assert {r["count"] for r in found} == {"1", "3", "58"}


@pytest.mark.parametrize("form", ["json", "csv"])
def test_lower_writes_onnx_and_keeps_the_summary_clean(form: str, dse: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "layer.onnx"
    code = cli.main(["lower", *ATTENTION, "-o", str(target), "--summary", "--format", form])
    captured = capsys.readouterr()
    assert code == 0
    assert captured.err == f"{target}\n"
    assert str(target) not in captured.out
    again = json.loads(dse("lower", "--onnx", str(target), "--summary", "--format", "json"))
    assert again["totals"] == json.loads(dse("lower", *ATTENTION, "--summary", "--format", "json"))["totals"]
    assert again["parameters_total"] == 187_105_280


EVAL_KEYS = [
    "latency_cycles",
    "latency_s",
    "energy_j",
    "area_mm2",
    "tokens_per_s",
    "joules_per_token",
    "bound",
    "roofline_cycles",
    "roofline_ratio",
    "feasible",
    "infeasibility",
    "breakdown",
]
BREAKDOWN = ["operator", "component", "role", "cycles", "energy_j", "bytes"]


@pytest.mark.parametrize("objective", ["latency", "energy", "edp"])
@pytest.mark.parametrize("schedule", ["fused", "layer_by_layer"])
def test_eval_json(objective: str, schedule: str, dse: Any) -> None:
    arguments = ("-a", "flat_cloud", "--batch", "4", "--objective", objective, "--schedule", schedule)
    found = json.loads(dse("eval", *ATTENTION, *arguments, "--format", "json"))
    assert [k for k in found if k in EVAL_KEYS] == EVAL_KEYS
    assert set(found["bound"]) == {"resource", "share"}
    assert found["feasible"] is True
    assert found["infeasibility"] == []
    assert all(list(b) == BREAKDOWN for b in found["breakdown"])
    assert sum(b["energy_j"] for b in found["breakdown"]) == pytest.approx(found["energy_j"], rel=1e-12)
    assert found["latency_cycles"] == pytest.approx(found["latency_s"] * 940e6, rel=1e-12)
    assert found["roofline_ratio"] == pytest.approx(found["latency_cycles"] / found["roofline_cycles"], rel=1e-12)
    assert found["roofline_ratio"] >= 1
    assert found["tokens_per_s"] == pytest.approx(4 / found["latency_s"], rel=1e-12)
    assert found["joules_per_token"] == pytest.approx(found["energy_j"] / 4, rel=1e-12)


@pytest.mark.parametrize("batch", [1, 32, 128])
def test_eval_roofline_of_left_to_right_on_tpu7x(batch: int, dse: Any) -> None:
    """374,210,560 B of weights and 4,747,400 B per sequence at 7370 GB/s / 1.1 GHz = 6700 B per cycle (see test_roofline)."""
    arguments = ("--attention", "left_to_right", "--cache-len", "4096", "--batch", str(batch), "-a", "tpu7x", "--format", "json")
    found = json.loads(dse("eval", *ATTENTION, *arguments))
    assert found["roofline_cycles"] == pytest.approx((374_210_560 + batch * 4_747_400) / 6700, rel=1e-12)


def test_eval_csv_is_the_breakdown(dse: Any) -> None:
    found = rows(dse("eval", *ATTENTION, "-a", "flat_cloud", "--format", "csv"))
    assert list(found[0]) == BREAKDOWN
    as_json = json.loads(dse("eval", *ATTENTION, "-a", "flat_cloud", "--format", "json"))
    assert sum(float(r["energy_j"]) for r in found) == pytest.approx(as_json["energy_j"], rel=1e-12)


def test_eval_settings_change_what_they_name(dse: Any) -> None:
    """At twice the DRAM rate a decode step bound by DRAM takes half as long, or nearly."""
    slow, fast = (
        json.loads(dse("eval", *ATTENTION, "-a", "h100_sxm", "--set", f"memories.hbm.bandwidth_gb_per_s={rate}", "--format", "json"))
        for rate in (500, 1000)
    )
    assert slow["bound"]["resource"] == fast["bound"]["resource"] == "dram"
    assert slow["latency_s"] / fast["latency_s"] == pytest.approx(2, rel=0.02)
    assert slow["roofline_cycles"] == pytest.approx(2 * fast["roofline_cycles"], rel=1e-12)


def test_eval_infeasible_is_a_result_and_a_code(dse: Any) -> None:
    """A MoE layer of DeepSeek-V3 does not fit 8 GiB."""
    text = dse("eval", "--model", "deepseek_v3", "-a", "flat_edge", "--format", "json", code=ExitCode.NOTHING_FEASIBLE)
    found = json.loads(text)
    assert [k for k in found if k in EVAL_KEYS] == EVAL_KEYS
    assert found["feasible"] is False
    assert [found[k] for k in ("latency_cycles", "latency_s", "energy_j", "tokens_per_s", "bound", "roofline_ratio")] == [None] * 6
    (why,) = found["infeasibility"]
    assert why["resource"] == "dram_capacity"
    assert why["demand_bytes"] > why["bound_bytes"] == 8 * 2**30
    assert found["breakdown"] == []
    assert rows(dse("eval", "--model", "deepseek_v3", "-a", "flat_edge", "--format", "csv", code=ExitCode.NOTHING_FEASIBLE)) == []
    assert dse("eval", "--model", "deepseek_v3", "-a", "flat_edge", code=ExitCode.NOTHING_FEASIBLE) == ""


def test_frontier_csv(dse: Any) -> None:
    """facts: 128 x 576 x 4096 in 16 Ki elements moves 7,413,760 elements with dividing sides, 5,316,608 with any."""
    for factors, least in (("perfect", 7_413_760), ("ragged", 5_316_608)):
        text = dse("frontier", "--gemm", "128,576,4096", "--factors", factors, "--format", "csv")
        assert text.splitlines()[0] == "footprint_elements,dram_elements,stationary,tile_m,tile_k,tile_n"
        found = rows(text)
        footprint, moved = ([int(r[k]) for r in found] for k in ("footprint_elements", "dram_elements"))
        assert footprint == sorted(set(footprint))
        assert moved == sorted(set(moved), reverse=True)
        assert min(d for f, d in zip(footprint, moved, strict=True) if f <= 16_384) == least
        assert moved[-1] == 128 * 576 + 576 * 4096 + 128 * 4096


def test_frontier_of_attention(dse: Any) -> None:
    """64 x 64 x 16 x 16 fused: 34,816 elements with 136, 18,432 with 272, 4,096 with 2,082."""
    found = rows(dse("frontier", "--attention", "heads=1,queries=64,keys=64,qk=16,v=16", "--fused", "--format", "csv"))
    points = [(int(r["footprint_elements"]), int(r["dram_elements"])) for r in found]
    for need, moved in ((136, 34_816), (272, 18_432), (2_082, 4_096)):
        assert min(d for f, d in points if f <= need) == moved


@pytest.mark.parametrize("arguments", [("--gemm", "128,576,4096"), ("--attention", "heads=8,queries=1,keys=512,qk=64,v=64", "--fused")])
def test_frontier_json_has_the_records_of_the_csv(arguments: tuple[str, ...], dse: Any) -> None:
    as_json = json.loads(dse("frontier", *arguments, "--format", "json"))
    as_csv = rows(dse("frontier", *arguments, "--format", "csv"))
    assert [{k: str(v) for k, v in r.items()} for r in as_json] == as_csv


@pytest.mark.parametrize("size", [1, 2])
def test_frontier_of_the_smallest(size: int, dse: Any) -> None:
    found = rows(dse("frontier", "--gemm", f"{size},{size},{size}", "--format", "csv"))
    assert int(found[-1]["dram_elements"]) == 3 * size * size


def test_frontier_at_its_largest_stays_positive(dse: Any) -> None:
    """2^20 cubed: compulsory 3 x 2^40 elements at most, and nothing below; one dimension of 2^31 - 2 with its divisors."""
    found = [int(r["dram_elements"]) for r in rows(dse("frontier", "--gemm", "1048576,1048576,1048576", "--format", "csv"))]
    assert min(found) == 3 * 2**40
    assert max(found) < 2**62
    found = [int(r["dram_elements"]) for r in rows(dse("frontier", "--gemm", "2147483646,3,5", "--factors", "perfect", "--format", "csv"))]
    assert min(found) == 2_147_483_646 * 8 + 15


def test_compare_two_accelerators(dse: Any) -> None:
    found = {r["quantity"]: r for r in json.loads(dse("compare", "flat_cloud", "tpu7x", *ATTENTION, "--format", "json"))}
    one, two = (json.loads(dse("eval", *ATTENTION, "-a", a, "--format", "json")) for a in ("flat_cloud", "tpu7x"))
    for name in ("latency_s", "energy_j", "tokens_per_s", "joules_per_token", "area_mm2", "latency_cycles"):
        assert (found[name]["a"], found[name]["b"]) == (one[name], two[name])
        assert found[name]["ratio"] == pytest.approx(two[name] / one[name])
    assert (found["bound"]["a"], found["bound"]["b"]) == (one["bound"]["resource"], two["bound"]["resource"])


def test_compare_reads_results_of_eval(dse: Any, tmp_path: Path) -> None:
    """A result on file against a name: what the name gives, without evaluating the file again."""
    file = tmp_path / "before.json"
    file.write_text(dse("eval", *ATTENTION, "-a", "flat_cloud", "--format", "json"), encoding="utf-8")
    found = rows(dse("compare", str(file), "flat_cloud", *ATTENTION, "--format", "csv"))
    assert list(found[0]) == ["quantity", "a", "b", "ratio"]
    assert {r["ratio"] for r in found if r["ratio"]} == {"1.0"}


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("lower", "--model", "deepseek_v3", "--batch", "many"), "--batch"),
        (("lower", "--model", "deepseek_v3", "--phase", "prefil"), "--phase"),
        (("eval", "--model", "deepseek_v3"), "--accelerator"),
        (("eval", "--model", "deepseek_v3", "-a", "flat_cloud", "--objective", "speed"), "--objective"),
        (("compare", "flat_cloud", "--model", "deepseek_v3"), "'B'"),
    ],
)
def test_options_that_the_parser_refuses(arguments: tuple[str, ...], option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(list(arguments)) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert option in captured.err
    assert "Traceback" not in captured.err


def test_results_are_the_same_with_and_without_kept_frontiers(dse: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dse.mapping.cache import cached_frontier

    monkeypatch.setenv("DSE_CACHE_DIR", str(tmp_path))
    found = []
    for options in ((), (), ("--no-cache",)):
        cached_frontier.cache_clear()
        found.append(dse(*options, "eval", *ATTENTION, "-a", "edge32", "--cache-len", "64", "--format", "json"))
        kept = {p.name: p.stat().st_mtime_ns for p in tmp_path.rglob("*.frontier")}
        assert kept
    assert found[0] == found[1] == found[2]
    assert os.environ["DSE_CACHE_DIR"] == str(tmp_path)
