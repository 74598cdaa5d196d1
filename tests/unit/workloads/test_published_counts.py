"""Parameters of the catalogue against published figures; where a publisher's figure cannot be met, the reason is said.

Total: all weights of the language model, without multi-token-prediction modules. Active: what one token uses, with one
row of the embedding ("row") or with its whole table ("table"): publishers differ, and each figure is held against the
definition that gives it.
"""

from __future__ import annotations

import pytest

from dse.ir.lowering import LoweringRequest, Part, Phase
from dse.ir.precision import precision
from workloads.catalogue import CATALOGUE

EXACT = {  # sums of the shapes of the published weight files, or printed to the last digit by the publisher
    "llama2_7b": 6_738_415_616,
    "llama2_70b": 68_976_648_192,
    "llama3_8b": 8_030_261_248,
    "llama3_70b": 70_553_706_496,
    "mistral_7b": 7_241_732_096,
    "mixtral_8x7b": 46_702_792_704,
    "qwen2_5_7b": 7_615_616_512,
    "qwen2_5_72b": 72_706_203_648,
    "qwen3_30b_a3b": 30_532_122_624,
    "qwen3_235b_a22b": 235_093_634_560,
    "gemma2_9b": 9_241_705_984,
    "gemma2_27b": 27_227_128_320,
}
TOTAL = {  # (published, allowed deviation)
    "deepseek_v2": (236e9, 0.005),  # arXiv 2405.04434, abstract
    "deepseek_v3": (671e9, 0.005),  # arXiv 2412.19437, abstract
    "deepseek_v3_2": (671e9, 0.005),  # as V3; its indexers add 0.85e9
    "llama3_405b": (405e9, 0.005),  # arXiv 2407.21783, abstract
    "mixtral_8x22b": (141e9, 0.005),  # mistral.ai, release of 8x22B
    "qwen3_32b": (32.8e9, 0.005),  # model card
    "gpt_oss_20b": (20.91e9, 0.0005),  # arXiv 2508.10925, table 1
    "gpt_oss_120b": (116.83e9, 0.0005),  # arXiv 2508.10925, table 1
    "llama4_maverick": (400e9, 0.005),  # model card
    "gpt3_175b": (175e9, 0.005),  # arXiv 2005.14165, table 2.1
    "gemma3_27b": (27e9, 0.005),  # arXiv 2503.19786, table 1, without the vision encoder
    # What follows cannot be met by the published dimensions; the figures are rounded or count more than the language model.
    "kimi_k2": (1.04e12, 0.014),  # arXiv 2507.20534, table 2: 1.04T; the published config.json gives 1.026e12
    "llama4_scout": (109e9, 0.012),  # model card, with the vision encoder; the language model has 107.8e9
    "glm4_5": (355e9, 0.0065),  # arXiv 2508.06471, table 1; without the multi-token-prediction layer 352.8e9
    "glm4_5_air": (106e9, 0.0085),  # arXiv 2508.06471, table 1; 106.85e9
}
ACTIVE = {  # (published, allowed deviation, definition)
    "deepseek_v3": (36.7e9, 0.005, "row"),  # README_WEIGHTS.md of the model's repository: 36.7B; the report rounds to 37B
    "mixtral_8x7b": (12.9e9, 0.005, "table"),  # arXiv 2401.04088: 12.9B
    "mixtral_8x22b": (39e9, 0.005, "table"),  # mistral.ai, release of 8x22B
    "gpt_oss_20b": (3.61e9, 0.001, "row"),  # arXiv 2508.10925, table 1: embeddings are not counted as active
    "gpt_oss_120b": (5.13e9, 0.001, "row"),  # arXiv 2508.10925, table 1
    # Published as whole billions: held to the half of the last digit.
    "deepseek_v2": (21e9, 0.5 / 21, "row"),  # arXiv 2405.04434
    "kimi_k2": (32e9, 0.5 / 32, "row"),  # arXiv 2507.20534
    "qwen3_235b_a22b": (22e9, 0.5 / 22, "table"),  # arXiv 2505.09388
    "llama4_maverick": (17e9, 0.5 / 17, "table"),  # model card
    "llama4_scout": (17e9, 0.5 / 17, "table"),  # model card
}


def counts(name: str) -> tuple[int, int, int]:
    model = CATALOGUE.load(name)
    request = LoweringRequest(
        phase=Phase.DECODE,
        batch=1,
        query_len=1,
        cache_len=64,
        attention=model.attention_schemes[0],
        precision=precision("bf16"),
        rope=True,
        norms=True,
        part=Part.LAYER,
        layer=None,
    )
    lowered = model.lower(request)
    return lowered.parameters_total, lowered.parameters_active, lowered.parameters_active + lowered.embedding_parameters


@pytest.mark.parametrize("name", EXACT)
def test_exact_totals(name: str):
    assert counts(name)[0] == EXACT[name]


@pytest.mark.parametrize("name", TOTAL)
def test_published_totals(name: str):
    published, deviation = TOTAL[name]
    assert counts(name)[0] == pytest.approx(published, rel=deviation)


@pytest.mark.parametrize("name", ACTIVE)
def test_published_active_parameters(name: str):
    published, deviation, definition = ACTIVE[name]
    _, row, table = counts(name)
    assert (row if definition == "row" else table) == pytest.approx(published, rel=deviation)


@pytest.mark.parametrize("name", ["llama3_70b", "gemma2_9b", "qwen3_32b", "gpt3_175b"])
def test_dense_models_use_all_parameters(name: str):
    total, row, table = counts(name)
    assert row <= total == table
