"""What every attention shares: cache append, mask, softmax, and how much of the scores a mask leaves."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from dse.ir.tensor import Role
from workloads.config import Window, WindowForm

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


def attention_inputs(b: GraphBuilder, step: Step, keys: int | None = None) -> None:
    """Inputs that the core needs: write positions and, for several queries, the mask over `keys` positions (T if None)."""
    b.index("write_indices", step.batch)  # [B]
    if step.query_len > 1:
        b.activation("mask", step.query_len, keys or step.cache_len)  # [S, T], 0 or minus infinity


def visible_share(query_len: int, cache_len: int, window: Window | None = None, most: int | None = None) -> Fraction:
    """Share of the score rectangle that causal mask and window leave.

    Query i of S, at position p = T - S + i, sees p + 1 positions, at most `size` of a sliding window, those of its own
    chunk of a chunked one, and at most `most` of a selection. The rectangle is S times the positions that any query
    needs. Derived here. Worked number: S = T = 4, no window: (1 + 2 + 3 + 4) / 16 = 5/8.
    """
    keys = cache_len if window is None else window.length(query_len, cache_len)
    keys = keys if most is None else min(keys, most)
    first = cache_len - query_len + 1  # positions that the first query sees without a window
    if window is not None and window.form is WindowForm.CHUNKED:
        seen = _chunked(cache_len, window.size) - _chunked(first - 1, window.size)
    else:
        limit = cache_len if window is None else window.size
        limit = limit if most is None else min(limit, most)
        seen = _limited(cache_len, limit) - _limited(first - 1, limit)
    return Fraction(seen, query_len * keys)


def _limited(n: int, limit: int) -> int:
    """min(1, limit) + min(2, limit) + ... + min(n, limit)."""
    ramp = min(n, limit)
    return ramp * (ramp + 1) // 2 + (n - ramp) * limit


def _chunked(n: int, size: int) -> int:
    """Positions seen by the first n queries, each of those of its own chunk before it and itself."""
    whole, rest = divmod(n, size)
    return whole * (size * (size + 1) // 2) + rest * (rest + 1) // 2


def probabilities(b: GraphBuilder, score: str, step: Step, visible: Fraction) -> str:
    """Softmax over the last axis of score [..., S, T], with the mask added where S > 1.

    The whole rectangle S x T is computed and counted, as in the closed forms; `visible` is what a kernel must do.
    """
    if step.query_len > 1:
        score = b.node("Add", "score_masked", score, "mask", role=Role.SCORE, visible=visible)  # [..., S, T]
    return b.node("Softmax", "probability", score, role=Role.SCORE, visible=visible, axis=-1)  # [..., S, T]
