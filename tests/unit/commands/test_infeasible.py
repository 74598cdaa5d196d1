"""What does not fit is a value everywhere: resource, demand, bound, contributors and levers, exit code 4 where nothing is feasible."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from dse import cli
from dse.errors import ExitCode

if TYPE_CHECKING:
    from pathlib import Path

LAYER = ("--model", "deepseek_v3", "--part", "layer", "--format", "json")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize(
    "arguments",
    [
        ("eval", *LAYER, "-a", "tpu_v4i"),
        ("eval", "--model", "deepseek_v3", "-a", "tpu7x_quad", "--set", "memories.hbm.capacity_gib=1", "--format", "json"),
        ("map", "--gemm", "64,64,64", "--bits", "16", "-a", "flat_edge", "--set", "memories.dram.capacity_gib=1e-6", "--format", "json"),
        ("system", "--model", "deepseek_r1", "--system", "b200_x32", "--batch", "65536", "--cache-len", "65536", "--format", "json"),
        (
            *("system", "--model", "deepseek_r1", "--system", "gb200_nvl72", "--batch", "1000032", "--precision", "fp8"),
            *("--prefill-chips", "24", "--output-len", "512", "--format", "json"),
        ),
    ],
)
def test_what_is_lacking_and_what_would_help(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    code, out, err = run(capsys, *arguments)
    found = json.loads(out)
    assert (code, found["feasible"]) == (ExitCode.NOTHING_FEASIBLE, False)
    for why in found["infeasibility"]:
        assert why["demand_bytes"] > why["bound_bytes"] > 0
        assert 0 < sum(why["contributors"].values()) <= why["demand_bytes"] * (1 + 1e-9)
        assert why["levers"]
        assert f"{why['resource']}: {why['message']}" in err


def test_a_lever_of_a_system_helps(capsys: pytest.CaptureFixture[str]) -> None:
    work = ("system", "--model", "deepseek_r1", "--system", "b200_x32", "--cache-len", "65536", "--format", "json", "--batch")
    (why,) = json.loads(run(capsys, *work, "65536")[1])["infeasibility"]
    most = int(why["levers"][0].removeprefix("a batch of at most "))
    assert run(capsys, *work, str(most))[0] == ExitCode.DONE
    assert run(capsys, *work, str(most + 32))[0] == ExitCode.NOTHING_FEASIBLE
    assert sum(why["contributors"].values()) == pytest.approx(why["demand_bytes"])


def test_compare_says_what_a_side_lacks(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    code, out, _ = run(capsys, "compare", "flat_cloud", "tpu_v4i", *LAYER)
    why = next(row for row in json.loads(out) if row["quantity"] == "infeasibility")
    assert (code, why["a"], why["b"]) == (ExitCode.DONE, None, "dram_capacity 21.44 GiB of 8.00 GiB")
    assert "B, tpu_v4i, is not feasible: dram_capacity: weights and caches take 21.44 GiB" in caplog.text
    result = tmp_path / "result.json"
    result.write_text(run(capsys, "eval", *LAYER, "-a", "tpu_v4i")[1])
    code, out, err = run(capsys, "compare", str(result), "tpu_v4i", *LAYER)
    assert code == ExitCode.NOTHING_FEASIBLE
    assert "A, " in err
    assert "; B, tpu_v4i, is not feasible" in err
