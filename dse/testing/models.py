"""The contract that every model of a catalogue keeps: lowers, checks, and reads back, for every scheme and phase."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from onnx import checker

from dse.ir.lowering import LoweringRequest, Part, Phase
from dse.ir.onnx_read import read_onnx
from dse.ir.precision import precision
from dse.ir.summary import summarise_workload

if TYPE_CHECKING:
    from dse.ir.lowering import Model

DECODE = LoweringRequest(
    phase=Phase.DECODE,
    batch=2,
    query_len=1,
    cache_len=33,
    attention="",
    precision=precision("bf16"),
    rope=True,
    norms=True,
    part=Part.LAYER,
    layer=None,
)
"""A decode step; the scheme is put in."""
PREFILL = replace(DECODE, phase=Phase.PREFILL, query_len=5, cache_len=5)
"""A prefill step; the scheme is put in."""


class ModelContract:
    """Subclass it in a test module with a fixture `model` that gives the models to check."""

    def test_has_name_summary_and_schemes(self, model: Model) -> None:
        """Names are what a command line can take."""
        assert model.name.isidentifier()
        assert model.name == model.name.lower()
        assert model.summary
        assert model.attention_schemes
        assert len(set(model.attention_schemes)) == len(model.attention_schemes)

    def test_every_scheme_and_phase_lowers_checks_and_reads_back(self, model: Model) -> None:
        """Strict checker, concrete shapes, every operator costed, counts positive."""
        for scheme in model.attention_schemes:
            for request in (DECODE, PREFILL):
                lowered = model.lower(replace(request, attention=scheme, part=Part.ATTENTION))
                assert lowered.tokens == request.tokens
                for part in lowered.parts:
                    checker.check_model(part.onnx, full_check=True)
                summary = summarise_workload([(read_onnx(p.onnx, name=p.name), p.count) for p in lowered.parts])
                assert summary.totals.macs > 0
                assert summary.totals.weight_bytes > 0
                assert summary.totals.cache_bytes > 0

    def test_whole_model_reads_back(self, model: Model) -> None:
        """Every part of all layers, with parameters in total at least those that are active."""
        for request in (DECODE, PREFILL):
            lowered = model.lower(replace(request, attention=model.attention_schemes[0]))
            assert all(part.count >= 1 for part in lowered.parts)
            assert lowered.parameters_total >= lowered.parameters_active > 0
            assert all(read_onnx(p.onnx, name=p.name).operators for p in lowered.parts)

    def test_lowering_is_deterministic(self, model: Model) -> None:
        """The same request gives the same bytes."""
        request = replace(DECODE, attention=model.attention_schemes[0])
        first, second = (model.lower(request) for _ in range(2))
        assert [p.onnx.SerializeToString(deterministic=True) for p in first.parts] == [
            p.onnx.SerializeToString(deterministic=True) for p in second.parts
        ]
