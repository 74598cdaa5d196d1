"""Parameter counts of a model and of its parts, from the configuration alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dse.ir.lowering import Part
from workloads.config import MlaConfig
from workloads.layers import ffn, gqa, mla, moe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.ir.lowering import LoweringRequest
    from workloads.config import GqaConfig, ModelConfig
    from workloads.kinds import PartKind


@dataclass(frozen=True, slots=True)
class ParameterCount:
    """All parameters, those that one token uses, and those of routed experts."""

    total: int
    active: int
    experts: int = 0

    def times(self, count: int) -> ParameterCount:
        """The count of `count` equal parts."""
        return ParameterCount(self.total * count, self.active * count, self.experts * count)

    def plus(self, other: ParameterCount) -> ParameterCount:
        """The sum of two parts."""
        return ParameterCount(self.total + other.total, self.active + other.active, self.experts + other.experts)


def of_parts(config: ModelConfig, request: LoweringRequest, counts: Mapping[PartKind, int], baseline: GqaConfig | None) -> ParameterCount:
    """Parameters of the lowered parts; norm gains only where norms are lowered, rotary columns only with rope.

    A routed expert counts as active for k of E experts; of the embedding one row of the table is active, as one token
    reads no more. DeepSeek-V3 as a whole: 671.0e9 in total, 36.6e9 active (published: 671B and 36.6B, README_WEIGHTS.md of
    the model's repository, first version; multi-token-prediction layers are counted where they are lowered).
    """
    result = ParameterCount(0, 0)
    for kind, count in counts.items():
        result = result.plus(_of_part(config, request, kind, baseline).times(count))
    return result


def embedding_rows(config: ModelConfig) -> int:
    """Parameters of the embedding that one token reads: one row of each table, but none of one that the head uses whole."""
    return ((0 if config.tied_embedding else 1) + (1 if config.positions else 0)) * config.d_model


def embedding_rest(config: ModelConfig) -> int:
    """Parameters of the embedding that one token does not read."""
    return ((0 if config.tied_embedding else config.vocabulary) + config.positions) * config.d_model - embedding_rows(config)


def _norm(config: ModelConfig) -> int:
    return config.d_model * (2 if config.layer_norm else 1)


def _of_part(config: ModelConfig, request: LoweringRequest, kind: PartKind, baseline: GqaConfig | None) -> ParameterCount:
    table = config.vocabulary * config.d_model
    gain = _norm(config) if request.norms else 0
    match kind.name:
        case "embedding":
            return ParameterCount(table + config.positions * config.d_model, embedding_rows(config))
        case "head":
            return ParameterCount((0 if config.tied_embedding else table) + gain, table + gain)
        case "mtp_head":
            return ParameterCount(gain, table + gain)  # the matrix is the model's
        case "mtp_input":
            join = 2 * config.d_model * config.d_model + 2 * gain
            return ParameterCount(join, join + config.d_model)  # the embedding is the model's, one row of it
    result = ParameterCount(0, 0)
    gains = gain * (2 if config.post_norms else 1)
    if request.part is not Part.FFN:
        attention = _of_attention(config, request, kind, baseline)
        gains_here = gains if baseline is None else (baseline.d_model if request.norms else 0)
        result = ParameterCount(attention + gains_here, attention + gains_here)
    if request.part is not Part.ATTENTION:
        result = result.plus(ParameterCount(gains, gains)).plus(_of_ffn(config, kind))
    return result


def _of_attention(config: ModelConfig, request: LoweringRequest, kind: PartKind, baseline: GqaConfig | None) -> int:
    if baseline is not None:
        return gqa.parameters(baseline, norms=request.norms)
    form = config.local if kind.local else config.attention
    assert form is not None
    if isinstance(form, MlaConfig):
        return mla.parameters(form, rope=request.rope, norms=request.norms)
    return gqa.parameters(form, norms=request.norms)


def _of_ffn(config: ModelConfig, kind: PartKind) -> ParameterCount:
    if kind.moe:
        assert config.moe is not None
        experts = config.moe.experts * moe.expert_parameters(config.moe)
        return ParameterCount(moe.parameters(config.moe, active_only=False), moe.parameters(config.moe, active_only=True), experts)
    assert config.dense is not None
    dense = ffn.parameters(config.dense)
    return ParameterCount(dense, dense)
