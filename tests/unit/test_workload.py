"""From options to a step: defaults, what excludes what, and ONNX files."""

from __future__ import annotations

from pathlib import Path

import pytest

from dse.errors import ExitCode, GraphError, InputError, UsageError
from dse.ir.lowering import Part, Phase
from dse.workload import Switch, WorkloadOptions, load_workload, lowering_request

SYMBOLIC = str(Path(__file__).parent.parent / "errors" / "onnx_symbolic.onnx")


def request(**given: object):
    return lowering_request(WorkloadOptions(**given), default_scheme="left_to_right", last_layer=60)  # type: ignore[arg-type]


def test_what_is_left_out() -> None:
    """Decode of one token at 4096 positions, bf16, the last layer with norms, the model's first scheme."""
    found = request()
    assert (found.phase, found.batch, found.query_len, found.cache_len) == (Phase.DECODE, 1, 1, 4096)
    assert (found.attention, found.precision.name, found.rope, found.norms) == ("left_to_right", "bf16", True, True)
    assert (found.part, found.layer) == (Part.LAYER, 60)


@pytest.mark.parametrize(
    ("given", "query_len", "cache_len"),
    [
        ({"phase": Phase.PREFILL}, 4096, 4096),
        ({"phase": Phase.PREFILL, "query_len": 100}, 100, 100),
        ({"phase": Phase.PREFILL, "cache_len": 100}, 100, 100),
        ({"phase": Phase.PREFILL, "query_len": 10, "cache_len": 100}, 10, 100),
        ({"query_len": 2}, 2, 4096),
        ({"cache_len": 100}, 1, 100),
    ],
)
def test_lengths(given: dict[str, object], query_len: int, cache_len: int) -> None:
    found = request(**given)
    assert (found.query_len, found.cache_len) == (query_len, cache_len)


@pytest.mark.parametrize(
    ("part", "norms", "expected"),
    [
        (Part.LAYER, Switch.AUTO, True),
        (Part.ATTENTION, Switch.AUTO, False),
        (Part.FFN, Switch.AUTO, False),
        (Part.ATTENTION, Switch.ON, True),
        (Part.LAYER, Switch.OFF, False),
    ],
)
def test_norms(part: Part, norms: Switch, expected: bool) -> None:
    assert request(part=part, norms=norms).norms is expected


def test_layers() -> None:
    assert request(layer=3).layer == 3
    assert request(layer=0).layer == 0
    assert request(all_layers=True).layer is None
    with pytest.raises(UsageError, match="--layer and --all-layers exclude each other"):
        request(layer=0, all_layers=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "none"),
        ({"model": "deepseek_v3", "config": "a.json"}, "--model and --config"),
        ({"model": "deepseek_v3", "onnx": "a.onnx"}, "--model and --onnx"),
        ({"config": "a.json", "onnx": "a.onnx"}, "--config and --onnx"),
    ],
)
def test_exactly_one_source(options: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=f"given: {said}$"):
        load_workload(WorkloadOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("dim", ["tokens", "tokens=", "=4", "tokens=x", "tokens=-1", "tokens=1.5", "tokens=1e3"])
def test_malformed_dims(dim: str) -> None:
    with pytest.raises(UsageError, match="give NAME=VALUE with a whole number of at least 0"):
        load_workload(WorkloadOptions(onnx=SYMBOLIC, dims=(dim,)))


def test_a_size_of_nothing_leaves_nothing_to_compute() -> None:
    """0 is a size (an empty past), but not one that a whole graph can have."""
    with pytest.raises(GraphError, match="nothing to compute"):
        load_workload(WorkloadOptions(onnx=SYMBOLIC, dims=("tokens=0",)))


def test_an_onnx_file_with_a_symbolic_dimension() -> None:
    """x [tokens, 16] times w [16, 8]: 4 x 16 x 8 MACs; both are graph inputs, so nothing is a weight."""
    found = load_workload(WorkloadOptions(onnx=SYMBOLIC, dims=("tokens=4",)))
    assert found.title == "onnx_symbolic"
    assert found.models == ()
    assert found.summary_json()["totals"]["macs"] == 4 * 16 * 8  # type: ignore[index]
    assert found.step.tokens == 1


def test_a_config_without_a_slash_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--config config` is never looked up among catalogue names."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"\./deepseek_v3: no such file") as caught:
        load_workload(WorkloadOptions(config="deepseek_v3"))
    assert caught.value.exit_code is ExitCode.BAD_INPUT


def test_what_dram_must_hold() -> None:
    """Attention without rope: 174,063,616 weights and 2 x 1000 x 512 cached values in bf16; stored composites count instead."""
    for scheme, weights in (("left_to_right", 174_063_616), ("reuse", 241_172_480)):
        options = WorkloadOptions(model="deepseek_v3", attention=scheme, part=Part.ATTENTION, batch=2, cache_len=1000, rope=Switch.OFF)
        assert load_workload(options).step.stored_bytes == 2 * (weights + 2 * 1000 * 512)


def test_dram_holds_experts_that_no_token_meets() -> None:
    """A MoE layer of DeepSeek-V3 has 256 + 1 experts of 3 x 7168 x 2048, whatever the batch."""
    found = load_workload(WorkloadOptions(model="deepseek_v3", part=Part.FFN))
    router = 7168 * 256
    assert found.parameters_total - router == pytest.approx(257 * 3 * 7168 * 2048, rel=1e-6)
    assert found.step.stored_bytes == 2 * found.parameters_total
    assert found.parameters_active - router == pytest.approx(9 * 3 * 7168 * 2048, rel=1e-6)
