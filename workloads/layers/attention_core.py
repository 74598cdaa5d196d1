"""What every attention shares: cache append, mask, softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.ir.tensor import Role

if TYPE_CHECKING:
    from workloads.builder import GraphBuilder
    from workloads.config import Step


def append(b: GraphBuilder, cache: str, new: str, axis: int) -> str:
    """Write the new rows behind the cached ones, in place; gives `<cache>_after`, an output of the graph.

    `write_indices` [B] says where each sequence's new rows go (T - S where the cache is full after this step).
    """
    after = b.node("TensorScatter", f"{cache}_after", cache, new, "write_indices", role=Role.CACHE, axis=axis)
    b.output(after)
    return after


def attention_inputs(b: GraphBuilder, step: Step) -> None:
    """Inputs that the core needs: write positions and, for several queries, the causal mask."""
    b.index("write_indices", step.batch)  # [B]
    if step.query_len > 1:
        b.activation("mask", step.query_len, step.cache_len)  # [S, T], 0 or minus infinity


def probabilities(b: GraphBuilder, score: str, step: Step) -> str:
    """Softmax over the last axis of score [B, H, S, T], with the causal mask added where S > 1.

    The whole rectangle S x T is computed and counted, as in the closed forms; skipping the masked half is a matter of the
    mapping.
    """
    if step.query_len > 1:
        score = b.node("Add", "score_masked", score, "mask", role=Role.SCORE)  # [B, H, S, T]
    return b.node("Softmax", "probability", score, role=Role.SCORE, axis=-1)  # [B, H, S, T]
