"""`dse eval --mapping-excess`: shorter frontiers by choice, with the bound in the result; exact without it."""

from __future__ import annotations

import json

import pytest

from dse import cli
from dse.errors import ExitCode

STEP = (
    "eval",
    "--model",
    "deepseek_v3",
    "--part",
    "attention",
    "--attention",
    "reuse",
    "--batch",
    "8",
    "-a",
    "edge32",
    "--schedule",
    "layer_by_layer",
)


@pytest.mark.parametrize("objective", ["latency", "energy"])
def test_result_is_within_what_it_says(objective: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Layer by layer a step is a sum over operators, each within the excess."""
    found = []
    for given in ((), ("--mapping-excess", "0.1")):
        assert cli.main([*STEP, "--objective", objective, "--format", "json", *given]) == ExitCode.DONE
        found.append(json.loads(capsys.readouterr().out))
    exact, thin = found
    assert (exact["mapping_excess"], thin["mapping_excess"]) == (0.0, 0.1)
    key = {"latency": "latency_s", "energy": "energy_j"}[objective]
    assert thin[key] <= exact[key] * 1.1
    assert cli.main([*STEP, "--mapping-excess", "0.1"]) == ExitCode.DONE
    assert "counts at most 10.0% above the best of the mapping space" in capsys.readouterr().out


@pytest.mark.parametrize("given", ["-0.1", "1.5", "nan", "1e-9", "much"])
def test_shares_out_of_range_are_refused(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A usage error, as for any option."""
    assert cli.main([*STEP, "--mapping-excess", given]) == ExitCode.USAGE
    assert "--mapping-excess" in capsys.readouterr().err
