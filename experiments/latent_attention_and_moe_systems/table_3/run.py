"""Table III: arithmetic intensity of decompression and score, with and without reordering, from the lowered layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.validation.counts import attention_counts
from experiments.kit import Outcome, Table, figure
from experiments.plots import bars, key, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODEL, HEADS, HEAD, LATENT = "deepseek_r1", 128, 128, 512  # arXiv 2507.15465v3, table II


def run(*, smoke: bool) -> Outcome:
    length = 1024 if smoke else 4096
    naive, left = (attention_counts(MODEL, s, length).operator_macs for s in ("naive", "left_to_right"))
    prompt_naive, prompt_left = (attention_counts(MODEL, s, length, prefill=True).operator_macs for s in ("naive", "left_to_right"))
    keys, cache, scores = length * HEADS * HEAD, length * LATENT, HEADS * length  # elements, as the table's byte formulas have them
    rows = [
        ("decode", "K decompress", "without", 512.0, naive["keys_expanded"] / keys),
        ("decode", "K decompress", "with", 128.0, left["query_absorbed"] / (HEADS * LATENT)),
        ("decode", "score", "without", 1.0, naive["score"] / keys),
        ("decode", "score", "with", 102.4, left["score"] / (cache + scores)),
        ("decode", "score and context, cache shared", "with", 204.8, 2 * left["score"] / (cache + scores)),
        ("prefill", "K decompress", "without", 512.0, prompt_naive["keys_expanded"] / keys),
        ("prefill", "K decompress", "with", 102.4, prompt_left["query_absorbed"] / (keys + length * HEADS * LATENT)),
        ("prefill", "score", "without", 128.0, prompt_naive["score"] / (scores * length)),
        ("prefill", "score", "with", 512.0, prompt_left["score"] / (scores * length)),
    ]
    values: dict[str, float | bool | str] = {f"{s} {w} {r}": ours for s, w, r, _, ours in rows}
    values["score operations rise"] = left["score"] / naive["score"]
    return Outcome(values, {"intensity": Table(("stage", "layer", "reordering", "published", "ours"), list(rows))}, lambda: draw(rows))


def draw(rows: list[tuple[str, str, str, float, float]]) -> Figure:
    made, (axes,) = figure(9, 3.4)
    short = {"score and context, cache shared": "score + context"}
    names = [f"{stage}\n{short.get(layer, layer)}\n{reordering}" for stage, layer, reordering, _, _ in rows]
    bars(axes, names, {"published": [r[3] for r in rows], "ours": [r[4] for r in rows]})
    titled(axes, "with and without reordering", "", "Op/B", log="y")
    key(axes)
    return made
