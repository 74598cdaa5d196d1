"""Figure 2: operations of the computation orders over cache length, for batches of 1, 4 and 16."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments import mla
from experiments.kit import Outcome, Table, figure
from experiments.plots import key, scheme_lines, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDERS = ("naive", "left_to_right", "recompute", "reuse")
BATCHES = (1, 4, 16)
SCORE = ("query_up", "query_absorbed", "query_composite", "keys_expanded", "score")


def score_macs(scheme: str, cache_len: int, batch: int) -> float:
    """MACs of the score chain alone, closed form."""
    h, q, r, n = mla.H, mla.Q, mla.R, mla.N
    if scheme == "naive":
        return batch * (q * h * n + cache_len * r * h * n + cache_len * h * n)
    first = {"left_to_right": batch * (q * h * n + h * n * r), "reuse": batch * q * h * r, "recompute": q * h * n * r + batch * q * h * r}
    return first[scheme] + batch * cache_len * h * r


def lowered_score_macs(layer: mla.Layer) -> int:
    """The same, added up over the operators of the lowered layer."""
    operators = mla.workload(layer).summary_json()["operators"]
    assert isinstance(operators, list)
    return sum(int(o["macs"]) for o in operators if o["name"] in SCORE)


def crossing(batch: int) -> int:
    """Least cache length at which expanding the keys takes more operations than recomputing the composite."""
    return next(n for n in range(1, 8192) if score_macs("naive", n, batch) > score_macs("recompute", n, batch))


def run(*, smoke: bool) -> Outcome:
    lengths = [500, 4000] if smoke else [1, 250, 500, 1000, 1500, 2000, 2500, 3000, 3500, 4000]
    chip = mla.template()
    same = least = True
    rows: list[tuple[float | str, ...]] = []
    for batch in BATCHES[:2] if smoke else BATCHES:
        for n in lengths:
            counts = {s: lowered_score_macs(mla.Layer(s, n, batch)) for s in ORDERS}
            same &= all(counts[s] == score_macs(s, n, batch) for s in ORDERS)
            least &= n == 1 or min(counts, key=lambda s: counts[s]) == "left_to_right"
            us = {s: float(mla.modelled(mla.Layer(s, n, batch), chip).latency_s[0]) * 1e6 for s in ORDERS}
            rows += [(batch, n, s, 2 * counts[s], us[s]) for s in ORDERS]
    values: dict[str, float | bool | str] = {"lowered_equals_closed": same, "left_to_right_least": least}
    values |= {f"crossing_{b}": crossing(b) for b in BATCHES}
    table = Table(("batch", "cache_len", "scheme", "score_operations", "layer_us_on_flat_cloud"), rows)
    return Outcome(values, {"operations": table}, lambda: draw(rows, lengths))


def draw(rows: list[tuple[float | str, ...]], lengths: list[int]) -> Figure:
    made, axes = figure(9, 5, columns=3, rows=2)
    for i, batch in enumerate(BATCHES):
        for row, column, name in ((0, 3, "operations of the score chain"), (1, 4, "layer on the template, us")):
            lines = {s: [float(r[column]) for r in rows if r[0] == batch and r[2] == s] for s in ORDERS}
            scheme_lines(axes[3 * row + i], lengths, lines)
            titled(axes[3 * row + i], f"batch {batch}", "cache length", name if i == 0 else "", log="y")
    key(axes[0])
    return made
