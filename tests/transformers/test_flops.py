"""MACs of our lowered models equal those that torch's FLOP counter sees in the models of the `transformers` package.

Exactly, for whole small models in prefill. Three differences, each a choice of theirs: latent attention is expanded to keys
and values there (our scheme naive); sparse attention is computed densely and masked; Llama 4's experts compute every token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

torch = pytest.importorskip("torch", reason="needs torch and transformers: make test-transformers")
pytest.importorskip("transformers", reason="needs torch and transformers: make test-transformers")

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from dse.ir.lowering import LoweringRequest, Part, Phase  # noqa: E402
from dse.ir.onnx_read import read_onnx  # noqa: E402
from dse.ir.precision import precision  # noqa: E402
from dse.ir.summary import summarise_workload  # noqa: E402
from workloads.catalogue import CATALOGUE  # noqa: E402
from workloads.config import MlaConfig  # noqa: E402

from . import architectures  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

    from dse.ir.summary import Summary
    from workloads.model import DecoderModel

pytestmark = [pytest.mark.transformers, pytest.mark.filterwarnings("ignore")]
BATCH, TOKENS = 2, 6
EXACT = [name for name in architectures.CASES if name not in ("llama4", "deepseek_v32", "glm_moe_dsa")]


def counted(name: str, folder: Path) -> tuple[int, Summary, DecoderModel]:
    """FLOPs of one forward pass of theirs; our counts of the same step, logits of all positions."""
    model = architectures.make(name)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=torch.zeros((BATCH, TOKENS), dtype=torch.long), use_cache=False)
    path = folder / "config.json"
    path.write_text(model.config.to_json_string(use_diff=False))
    ours = CATALOGUE.from_file(str(path))
    request = LoweringRequest(
        phase=Phase.DECODE,
        batch=BATCH,
        query_len=TOKENS,
        cache_len=TOKENS,
        attention="naive" if isinstance(ours.config.attention, MlaConfig) else ours.attention_schemes[0],
        precision=precision("fp32"),
        rope=True,
        norms=True,
        part=Part.LAYER,
        layer=None,
    )
    parts = ours.lower(request).parts
    return counter.get_total_flops(), summarise_workload([(read_onnx(p.onnx, name=p.name), p.count) for p in parts]), ours


@pytest.mark.parametrize("name", EXACT)
def test_macs(name: str, tmp_path: Path):
    flops, summary, _ = counted(name, tmp_path)
    assert flops == 2 * summary.totals.macs


def test_llama4_computes_every_token_with_every_expert(tmp_path: Path):
    flops, summary, model = counted("llama4", tmp_path)
    c = model.config.moe
    assert c is not None
    layers = sum(kind.moe for kind in model.config.pattern)
    more = layers * BATCH * TOKENS * (c.experts - c.experts_per_token) * 3 * c.d_model * c.width
    assert flops == 2 * (summary.totals.macs + more)


def test_sparse_attention_is_computed_densely(tmp_path: Path):
    """Theirs: keys and values of 6 positions once, 6 x 6 scores; ours: those of 5 positions for each of 6 queries, 6 x 5 scores.

    The indexer's sum over heads is a product there, vector work here.
    """
    flops, summary, model = counted("deepseek_v32", tmp_path)
    a = model.config.attention
    assert isinstance(a, MlaConfig)
    assert a.indexer is not None
    kept = a.indexer.top_k
    expanded = a.kv_rank * a.heads * (a.qk_nope + a.v_head)
    scored = a.heads * (a.qk_nope + a.qk_rope + a.v_head)
    dense = BATCH * TOKENS * (expanded + TOKENS * scored)
    sparse = BATCH * TOKENS * kept * (expanded + scored)
    weighted = BATCH * TOKENS * TOKENS * a.indexer.heads
    assert flops == 2 * (summary.totals.macs + model.layers * (dense - sparse + weighted))
