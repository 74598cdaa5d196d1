"""Hugging Face `config.json` of the DeepSeek-V3 family as a model configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from pydantic import ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from dse.errors import InputError, did_you_mean
from dse.files import FileForm, parse_yaml, validate
from workloads.config import FfnConfig, MlaConfig, ModelConfig, MoeConfig, Scoring

if TYPE_CHECKING:
    from dse.files import Document
    from workloads.config import MhaConfig

MODEL_TYPES: Final = ("deepseek_v2", "deepseek_v3", "kimi_k2")
"""Architectures that can be read."""
_MAX_CONFIG_BYTES: Final = 4 * 1024**2


class DeepseekConfigFile(FileForm):
    """The keys of a `config.json` that fix dimensions; all others are left alone."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True)

    model_type: str
    """Architecture."""
    hidden_size: PositiveInt
    """Model width."""
    num_hidden_layers: PositiveInt
    """Decoder layers."""
    vocab_size: PositiveInt
    """Entries of the vocabulary."""
    tie_word_embeddings: bool = False
    """The output head uses the embedding's matrix."""
    rms_norm_eps: PositiveFloat
    """Epsilon of the normalisations."""
    num_attention_heads: PositiveInt
    """Attention heads."""
    q_lora_rank: PositiveInt | None
    """Width of the query latent; null where queries are projected directly."""
    kv_lora_rank: PositiveInt
    """Width of the cached latent."""
    qk_nope_head_dim: PositiveInt
    """Query and key width per head without position."""
    qk_rope_head_dim: PositiveInt = Field(multiple_of=2)
    """Rotary width."""
    v_head_dim: PositiveInt
    """Value width per head."""
    intermediate_size: PositiveInt
    """Inner width of the dense layers."""
    first_k_dense_replace: int = Field(ge=0)
    """Dense layers at the start."""
    moe_layer_freq: Literal[1] = 1
    """Every later layer is a mixture of experts."""
    n_routed_experts: PositiveInt
    """Routed experts."""
    num_experts_per_tok: PositiveInt
    """Routed experts per token."""
    n_shared_experts: int | None = Field(default=None, ge=0)
    """Shared experts."""
    moe_intermediate_size: PositiveInt
    """Inner width of one expert."""
    scoring_func: Literal["sigmoid", "softmax"]
    """How router logits become weights."""
    topk_method: Literal["noaux_tc", "greedy", "group_limited_greedy"] = "greedy"
    """How experts are selected."""
    norm_topk_prob: bool
    """Weights of the chosen experts sum to one."""
    routed_scaling_factor: PositiveFloat
    """Factor on the weights of routed experts."""
    n_group: PositiveInt | None = None
    """Groups of the group-limited selection."""
    topk_group: PositiveInt | None = None
    """Groups a token may use."""

    @model_validator(mode="after")
    def _fits(self) -> DeepseekConfigFile:
        if self.num_experts_per_tok > self.n_routed_experts:
            raise ValueError(f"num_experts_per_tok {self.num_experts_per_tok} is larger than n_routed_experts {self.n_routed_experts}")
        if self.first_k_dense_replace > self.num_hidden_layers:
            raise ValueError(
                f"first_k_dense_replace {self.first_k_dense_replace} is larger than num_hidden_layers {self.num_hidden_layers}"
            )
        return self


def load_config(path: str) -> ModelConfig:
    """The model in a Hugging Face `config.json`; it is called like its folder is not known: `<model_type>_config`.

    Raises:
        InputError: missing or broken file, unknown architecture, a key that is missing or of the wrong kind; with line.
    """
    document = _read(path)
    found = document.data.get("model_type")
    if found not in MODEL_TYPES:
        given = f"'{found}'" if found is not None else "missing"
        near = did_you_mean(str(found), MODEL_TYPES)
        raise InputError.single(
            document.where(("model_type",)),
            f"key 'model_type' is {given}; supported architectures: {', '.join(MODEL_TYPES)}.{near} "
            "Others come in as ONNX (--onnx) or as a YAML of our form (dse schema model)",
        )
    return _to_config(validate(document, DeepseekConfigFile))


def _read(path: str) -> Document:
    """The JSON file as a document whose values know their lines."""
    file = Path(path)
    try:
        with file.open("rb") as opened:
            content = opened.read(_MAX_CONFIG_BYTES + 1)
        text = content.decode("utf-8-sig")
    except FileNotFoundError as e:
        raise InputError.single(path, "no such file") from e
    except OSError as e:
        raise InputError.single(path, f"cannot be read: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise InputError.single(path, "is not text in UTF-8; save it as UTF-8") from e
    if len(content) > _MAX_CONFIG_BYTES:
        raise InputError.single(path, f"is larger than {_MAX_CONFIG_BYTES} bytes; is this the right file?")
    try:
        top = json.loads(text)
    except json.JSONDecodeError as e:
        raise InputError.single(f"{path}:{e.lineno}", f"is not valid JSON: {e.msg}") from e
    except (RecursionError, ValueError) as e:
        raise InputError.single(path, "is not a configuration: nested too deeply or a number too long") from e
    if not isinstance(top, dict):
        raise InputError.single(f"{path}:1", "does not start with '{'; the top of a config.json must be an object")
    return parse_yaml(text.replace("\t", " "), path)  # valid JSON is YAML 1.2 but for tabs


def _to_config(file: DeepseekConfigFile) -> ModelConfig:
    attention = MlaConfig(
        d_model=file.hidden_size,
        heads=file.num_attention_heads,
        q_rank=file.q_lora_rank,
        kv_rank=file.kv_lora_rank,
        qk_nope=file.qk_nope_head_dim,
        qk_rope=file.qk_rope_head_dim,
        v_head=file.v_head_dim,
        rms_eps=file.rms_norm_eps,
    )
    moe = MoeConfig(
        d_model=file.hidden_size,
        width=file.moe_intermediate_size,
        experts=file.n_routed_experts,
        experts_per_token=file.num_experts_per_tok,
        shared_experts=file.n_shared_experts or 0,
        scoring=Scoring(file.scoring_func),
        selection_bias=file.topk_method == "noaux_tc",
        normalise_weights=file.norm_topk_prob,
        routed_scaling=file.routed_scaling_factor,
        groups=file.n_group or 1,
        groups_per_token=file.topk_group or 1,
    )
    return ModelConfig(
        name=f"{file.model_type}_config",
        summary=f"{file.model_type} from a Hugging Face config.json, {file.num_hidden_layers} layers",
        layers=file.num_hidden_layers,
        dense_layers=file.first_k_dense_replace,
        vocabulary=file.vocab_size,
        tied_embedding=file.tie_word_embeddings,
        attention=attention,
        dense=FfnConfig(d_model=file.hidden_size, width=file.intermediate_size),
        moe=moe,
        mha_small=_published_baseline(attention),
    )


def _published_baseline(attention: MlaConfig) -> MhaConfig | None:
    """The MLA paper's MHA_s, where the attention is the one of the paper (DeepSeek-V3's)."""
    from workloads.catalogue import model_config

    paper = model_config("deepseek_v3")
    return paper.mha_small if paper.attention == attention else None
