"""Published configurations, as their publishers write them, give the models of the catalogue.

The files in tests/data/configs are config.json of google/gemma-3-27b-it, openai/gpt-oss-20b, deepseek-ai/DeepSeek-V3.2-Exp,
Qwen/Qwen3-235B-A22B, stepfun-ai/step3, moonshotai/Kimi-K2-Instruct, meta-llama/Llama-4-Scout-17B-16E-Instruct and zai-org/GLM-4.5-Air at
huggingface.co, without keys of tokenizers, vision and training.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from dse.ir.lowering import LoweringRequest, Part, Phase
from dse.ir.precision import precision
from workloads.catalogue import CATALOGUE, model_config
from workloads.huggingface import load_config

DATA = Path(__file__).resolve().parents[2] / "data" / "configs"
PRECISIONS = {"deepseek_v3_2": "fp8_block", "gpt_oss_20b": "experts=mxfp4"}
SAME = ("pattern", "moe", "vocabulary", "tied_embedding", "positions", "mtp_layers", "post_norms", "layer_norm", "logit_softcap")


@pytest.mark.parametrize("path", sorted(DATA.glob("*.json")), ids=lambda p: p.stem)
def test_configuration_is_the_catalogue_model(path: Path):
    read, known = load_config(str(path)), model_config(path.stem)
    assert {name: getattr(read, name) for name in SAME} == {name: getattr(known, name) for name in SAME}
    assert read.dense == known.dense or all(kind.moe for kind in known.pattern)
    assert read.precision == PRECISIONS.get(path.stem, "bf16")
    assert (read.embedding_scale or 0) == pytest.approx(known.embedding_scale or 0)
    found = []
    for model in (CATALOGUE.from_file(str(path)), CATALOGUE.load(path.stem)):
        request = LoweringRequest(
            phase=Phase.DECODE,
            batch=2,
            query_len=1,
            cache_len=9000,
            attention=model.attention_schemes[0],
            precision=precision("bf16"),
            rope=True,
            norms=True,
            part=Part.LAYER,
            layer=None,
        )
        lowered = model.lower(request)
        found.append(
            (lowered.parameters_total, lowered.parameters_active, [(p.name, p.count, len(p.onnx.graph.node)) for p in lowered.parts])
        )
    assert found[0] == found[1]
