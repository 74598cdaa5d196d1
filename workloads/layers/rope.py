"""Rotary position embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workloads.builder import GraphBuilder
    from workloads.config import Step


@dataclass(frozen=True, slots=True)
class RotaryTables:
    """Names of the cosine and sine inputs of this step's positions, each [B, S, width / 2]."""

    cos: str
    sin: str


def rotary_tables(b: GraphBuilder, step: Step, width: int) -> RotaryTables:
    """Graph inputs with the cosines and sines of the new tokens' positions."""
    shape = (step.batch, step.query_len, width // 2)  # [B, S, E/2]
    return RotaryTables(cos=b.activation("rope_cos", *shape), sin=b.activation("rope_sin", *shape))


def rotate_heads(b: GraphBuilder, name: str, x: str, tables: RotaryTables, width: int, *, interleaved: bool = True) -> str:
    """Rotate the first `width` elements of each head of x [B, H, S, E], by neighbouring pairs or the two halves.

    Source: Su et al. 2021, arXiv 2104.09864, equation 34; pairs interleaved as in DeepSeek-V3's inference/model.py.
    """
    return b.node(
        "RotaryEmbedding", name, x, tables.cos, tables.sin, interleaved=int(interleaved), rotary_embedding_dim=width
    )  # [B, H, S, E]


def rotate_shared(b: GraphBuilder, name: str, x: str, tables: RotaryTables) -> str:
    """Rotate the one key x [B, S, E] that all heads share."""
    return b.node("RotaryEmbedding", name, x, tables.cos, tables.sin, interleaved=1, num_heads=1)  # [B, S, E]
