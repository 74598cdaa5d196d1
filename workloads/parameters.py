"""Parameter counts of a model and of its parts, from the configuration alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dse.ir.lowering import Part
from workloads.layers import ffn, mha, mla, moe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.ir.lowering import LoweringRequest
    from workloads.config import MhaConfig, ModelConfig


@dataclass(frozen=True, slots=True)
class ParameterCount:
    """All parameters, and those that one token uses."""

    total: int
    active: int

    def times(self, count: int) -> ParameterCount:
        """The count of `count` equal parts."""
        return ParameterCount(self.total * count, self.active * count)

    def plus(self, other: ParameterCount) -> ParameterCount:
        """The sum of two parts."""
        return ParameterCount(self.total + other.total, self.active + other.active)


def of_parts(config: ModelConfig, request: LoweringRequest, counts: Mapping[str, int], baseline: MhaConfig | None) -> ParameterCount:
    """Parameters of the lowered parts; norm gains only where norms are lowered, rotary columns only with rope.

    A routed expert counts as active for k of E experts; of the embedding one row of the table is active, as one token
    reads no more. DeepSeek-V3 as a whole: 671.0e9 in total, 36.6e9 active (published: 671B and 36.6B, README_WEIGHTS.md of
    the model's repository, first version; multi-token-prediction layers are not counted).
    """
    result = ParameterCount(0, 0)
    for kind, count in counts.items():
        result = result.plus(_of_part(config, request, kind, baseline).times(count))
    return result


def _of_part(config: ModelConfig, request: LoweringRequest, kind: str, baseline: MhaConfig | None) -> ParameterCount:
    width = config.attention.d_model
    table = config.vocabulary * width
    gain = width if request.norms else 0
    if kind == "embedding":
        return ParameterCount(table, width)
    if kind == "head":
        return ParameterCount((0 if config.tied_embedding else table) + gain, table + gain)
    result = ParameterCount(0, 0)
    if request.part is not Part.FFN:
        if baseline is None:
            attention = mla.parameters(config.attention, rope=request.rope, norms=request.norms) + gain
        else:
            attention = mha.parameters(baseline) + (baseline.d_model if request.norms else 0)
        result = ParameterCount(attention, attention)
    if request.part is not Part.ATTENTION:
        result = result.plus(ParameterCount(gain, gain)).plus(_of_ffn(config, kind))
    return result


def _of_ffn(config: ModelConfig, kind: str) -> ParameterCount:
    if kind.endswith("moe"):
        assert config.moe is not None
        return ParameterCount(moe.parameters(config.moe, active_only=False), moe.parameters(config.moe, active_only=True))
    dense = ffn.parameters(config.dense)
    return ParameterCount(dense, dense)
