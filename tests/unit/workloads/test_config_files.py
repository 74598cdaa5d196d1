"""Model files: a Hugging Face config.json gives the catalogue's model; bad files name file, line and key."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

import workloads
from dse.errors import DseError, ExitCode, InputError, UsageError
from dse.ir.lowering import LoweringRequest, Part, Phase
from dse.ir.precision import PRECISIONS, precision
from workloads.catalogue import CATALOGUE, model_config
from workloads.huggingface import load_config

V3 = {  # the dimension keys of huggingface.co/deepseek-ai/DeepSeek-V3/blob/main/config.json, and some of the others
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "attention_bias": False,
    "bos_token_id": 0,
    "first_k_dense_replace": 3,
    "hidden_act": "silu",
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "kv_lora_rank": 512,
    "moe_intermediate_size": 2048,
    "moe_layer_freq": 1,
    "n_group": 8,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "norm_topk_prob": True,
    "num_attention_heads": 128,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 61,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "rms_norm_eps": 1e-06,
    "rope_scaling": {"beta_fast": 32, "factor": 40, "type": "yarn"},
    "rope_theta": 10000,
    "routed_scaling_factor": 2.5,
    "scoring_func": "sigmoid",
    "tie_word_embeddings": False,
    "topk_group": 4,
    "topk_method": "noaux_tc",
    "v_head_dim": 128,
    "vocab_size": 129280,
}


def written(folder: Path, **changes: object) -> str:
    content = {k: v for k, v in {**V3, **changes}.items() if v is not ...}
    path = folder / "config.json"
    path.write_text(json.dumps(content, indent=2))
    return str(path)


@pytest.mark.parametrize("indent", [2, "\t", None])
def test_config_json_gives_the_catalogue_model(tmp_path: Path, indent: int | str | None):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(V3, indent=indent))
    read, ours = load_config(str(path)), model_config("deepseek_v3")
    assert replace(read, name=ours.name, summary=ours.summary) == ours
    assert CATALOGUE.from_file(str(path)).attention_schemes == CATALOGUE.load("deepseek_v3").attention_schemes


def test_other_dimensions_have_no_published_small_baseline(tmp_path: Path):
    model = CATALOGUE.from_file(written(tmp_path, num_attention_heads=64))
    assert "mha_s" not in model.attention_schemes
    assert "mha_l" in model.attention_schemes


def test_config_without_query_latent(tmp_path: Path):
    assert load_config(written(tmp_path, q_lora_rank=None)).attention.q_width == 7168


@pytest.mark.parametrize(
    ("changes", "key", "what"),
    [
        (
            {"model_type": "mamba"},
            "model_type",
            "key 'model_type' is 'mamba'; supported architectures: deepseek_v2, deepseek_v3, deepseek_v32, kimi_k2",
        ),
        ({"model_type": "deepsek_v3"}, "model_type", "Did you mean 'deepseek_v3'?"),
        ({"model_type": ...}, "", "key 'model_type' is missing; supported architectures"),
        ({"kv_lora_rank": ...}, "", "'kv_lora_rank' is missing; add it"),
        ({"q_lora_rank": ...}, "", "'q_lora_rank' is missing"),
        ({"hidden_size": "7168"}, "hidden_size", "hidden_size"),
        ({"hidden_size": -1}, "hidden_size", "hidden_size"),
        ({"qk_rope_head_dim": 63}, "qk_rope_head_dim", "qk_rope_head_dim"),
        ({"moe_layer_freq": 2}, "moe_layer_freq", "moe_layer_freq"),
        ({"scoring_func": "tanh"}, "scoring_func", "scoring_func"),
        ({"num_experts_per_tok": 257}, "", "num_experts_per_tok 257 is larger than n_routed_experts 256"),
    ],
)
def test_bad_config_names_file_line_and_key(tmp_path: Path, changes: dict[str, object], key: str, what: str):
    path = written(tmp_path, **changes)
    lines = Path(path).read_text().splitlines()
    line = next((n for n, text in enumerate(lines, 1) if key and text.startswith(f'  "{key}"')), 1)
    with pytest.raises(InputError) as caught:
        CATALOGUE.from_file(path)
    assert caught.value.exit_code is ExitCode.BAD_INPUT
    assert what in str(caught.value)
    assert str(caught.value).startswith(f"{path}:{line}: ")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ('{"a": 1,\n "b": }', ":2: is not valid JSON"),
        ("[1, 2]", "must be an object"),
        ("", ":1: is not valid JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "number too long"),
    ],
)
def test_broken_json(tmp_path: Path, content: str, what: str):
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(InputError, match=what):
        CATALOGUE.from_file(str(path))


def test_missing_and_unreadable_files(tmp_path: Path):
    for name in ("none.json", "none.yaml"):
        with pytest.raises(InputError, match="no such file"):
            CATALOGUE.from_file(str(tmp_path / name))
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        CATALOGUE.from_file(str(tmp_path / "bytes.json"))


def test_bad_yaml_names_line_and_key(tmp_path: Path):
    text = (Path(workloads.__file__).parent / "models" / "deepseek_v3.yaml").read_text()
    path = tmp_path / "model.yaml"
    for old, new, what in (
        ("  kv_rank: 512", "  kv_rnak: 512", "Did you mean 'kv_rank'"),
        ("  experts_per_token: 8", "  experts_per_token: 300", "larger than experts 256"),
        ("layers: 61", "layers: 2", "dense.layers 3 is larger than layers 2"),
        ("heads: 128 ", "heads: 0 ", "heads"),
    ):
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(InputError, match=what) as caught:
            CATALOGUE.from_file(str(path))
        assert str(caught.value).startswith(f"{path}:")


def test_damaged_configs_never_give_a_traceback(tmp_path: Path):
    rng = random.Random(2)
    good = json.dumps(V3, indent=1)
    path = tmp_path / "config.json"
    for _ in range(200):
        damaged = list(good)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.choice('{}[]",:0-9.eE tn\x00\n')
        path.write_text("".join(damaged))
        try:
            CATALOGUE.from_file(str(path))
        except DseError as e:
            assert str(e).startswith(str(path))


REQUEST = LoweringRequest(
    phase=Phase.DECODE,
    batch=1,
    query_len=1,
    cache_len=8,
    attention="reuse",
    precision=precision("bf16"),
    rope=True,
    norms=True,
    part=Part.LAYER,
    layer=0,
)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"batch": 0}, "--batch is 0; allowed: 1 to"),
        ({"query_len": 0}, "--query-len is 0"),
        ({"cache_len": 0}, "--cache-len is 0"),
        ({"query_len": 9}, "--cache-len 8 is less than --query-len 9"),
        ({"batch": 2**40}, "allowed: 1 to 2147483647"),
        ({"attention": "resue"}, r"scheme 'resue' is not known for deepseek_v3; allowed: left_to_right, .*Did you mean 'reuse'"),
        ({"layer": 61}, "layer 61 does not exist in deepseek_v3; allowed: 0 to 60"),
        ({"layer": -1}, "layer -1"),
        ({"attention": "mha_s"}, "mha_s has width 4363, deepseek_v3 has 7168; lower it with --part attention only"),
    ],
)
def test_requests_that_do_not_fit(changes: dict[str, object], what: str):
    with pytest.raises(UsageError, match=what) as caught:
        CATALOGUE.load("deepseek_v3").lower(replace(REQUEST, **changes))
    assert caught.value.exit_code is ExitCode.USAGE


def test_unknown_names():
    with pytest.raises(UsageError, match="Did you mean 'deepseek_v3'"):
        CATALOGUE.load("deepsek_v3")
    with pytest.raises(UsageError, match=r"precision 'bf15' is not known; allowed: .*Did you mean 'bf16'"):
        precision("bf15")


@pytest.mark.parametrize("name", PRECISIONS)
def test_every_precision_lowers(name: str):
    lowered = CATALOGUE.load("deepseek_v3").lower(replace(REQUEST, precision=precision(name)))
    assert lowered.parts[0].onnx.ByteSize() > 0
