"""Claims A1 to A19: Geens and Verhelst, arXiv 2506.02523. DeepSeek-V3 attention without RoPE, one token, batch 1."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from dse.plugins import load_accelerator
from dse.units import BYTES_PER_GB
from dse.validation.claims import EXACT, NOT_MET, Claim, compared, holds, unchecked
from dse.validation.counts import AttentionCounts, attention_counts, ridge_ops_per_byte
from dse.validation.paper_a_priced import FOUR, MLA, faster_on, fastest, most_frugal, swing

MODEL: Final = "deepseek_v3"
PAPER: Final = "arXiv 2506.02523"
RC, RU, LARGE, SMALL, LEFT = "recompute", "reuse", "mha_l", "mha_s", "left_to_right"
FIRST, LAST = 1, 4096
"""Cache lengths that stand for an empty cache and for the end of the figures' range."""
DRAM_PJ_PER_BYTE: Final = 64.0
"""8 pJ per bit."""
ON_CHIP: Final = (10.0, 0.1)
"""Factors on the template's on-chip energies: a chip of ten times less and ten times more TOPS/W."""


def _at(scheme: str, cache_len: int) -> AttentionCounts:
    return attention_counts(MODEL, scheme, cache_len)


def paper_a_claims() -> tuple[Claim, ...]:
    """All claims of paper A."""
    return (*_dimensions(), *_traffic(), *_intensity(), *_crossovers(), *_energy())


def _dimensions() -> tuple[Claim, ...]:
    table = f"{PAPER}, Table 1"
    factors, composite = _at(LEFT, LAST), _at(RU, LAST)
    slopes = [(_at(s, LAST).cache - _at(s, FIRST).cache) / (LAST - FIRST) for s in (LEFT, LARGE, SMALL)]
    heads = 128
    two_steps = sum(factors.operator_macs[o] for o in ("query_up", "query_absorbed")) / heads
    return (
        compared("A1", table, [174_063_616], [_at(LEFT, LAST).parameters], band=EXACT, digits=9),
        compared("A2", table, [469_762_048], [_at(LARGE, LAST).parameters], band=EXACT, digits=9),
        compared("A3", table, [172_006_912], [_at(SMALL, LAST).parameters], band=EXACT, digits=9),
        compared("A4", f"{PAPER}, Fig. 1; arithmetic", [512, 32_768, 19_712], slopes, band=EXACT),
        compared("A5", f"{PAPER}, sec. 2", [786_432, 262_144], [composite.operator_macs["query_absorbed"] / heads, two_steps], band=EXACT),
    )


def _traffic() -> tuple[Claim, ...]:
    figure = f"{PAPER}, Fig. 3; arithmetic"
    start = [_at(s, FIRST).weights / 1e6 for s in (SMALL, RC)]
    slopes = [(_at(s, LAST).elements - _at(s, FIRST).elements) / (LAST - FIRST) for s in (LARGE, SMALL, RC, RU)]
    return (
        compared("A6", figure, [172.0, 174.1], start, band=0.001, note=" million elements"),
        compared("A7", figure, [32_768, 19_712, 512, 512], slopes, band=EXACT, note=" elements per token"),
    )


def _intensity() -> tuple[Claim, ...]:
    figure = f"{PAPER}, Fig. 4; arithmetic"
    rc = [_at(RC, n).ops_per_byte(2) for n in (FIRST, LAST)]
    ru = [_at(RU, n).ops_per_byte(2) for n in (FIRST, LAST)]
    mha = [_at(s, n).ops_per_byte(2) for s in (LARGE, SMALL) for n in (FIRST, LAST)]
    prefill = [attention_counts(MODEL, s, LAST, prefill=True).ops_per_byte(2) for s in (LARGE, SMALL, RU, RC)]
    return (
        compared("A8", figure, [1.03], [rc[1] / rc[0]], band=0.01),
        compared("A9", figure, [1.00, 3.20], ru, band=0.01),
        compared("A10", figure, [1.0] * 4, mha, band=0.01),
        unchecked(
            "A11",
            f"{PAPER}, Fig. 4 (secondary note)",
            "3 to 5",
            "the note disagrees with the count of an explicit recompute; the figure was not read",
            ours=f"{rc[0]:.4g} recompute, {_at(LEFT, LAST).ops_per_byte(2):.3g} left to right at {LAST}",
        ),
        holds("A12", figure, "all four high", ", ".join(f"{v:.4g}" for v in prefill), min(prefill) > 100 * max(mha)),
    )


def _crossovers() -> tuple[Claim, ...]:
    figure = f"{PAPER}, Fig. 5; arithmetic"
    rc, ru, both_rc, both_ru = (_at(s, FIRST) for s in (RC, RU, "recompute_both", "reuse_both"))
    ridges = [2 * c.macs / (u.elements * 2) for c, u in ((rc, ru), (both_rc, both_ru))]
    order = fastest((10, 1000), MLA, LAST)
    chips = {name: ridge_ops_per_byte(name) for name in ("a100_sxm", "h100_sxm")}
    at_knees = fastest(tuple(chips.values()), MLA, LAST)
    mla, mha = _at(RC, LAST), _at(SMALL, LAST)
    equal = (mla.weights - mha.weights) / ((mha.cache - mla.cache) / LAST)
    near = [fastest((1000,), (SMALL, RC), n)[0] for n in (FIRST, LAST)]
    return (
        _both(
            compared("A13", figure, [54, 126], ridges, band=0.02, note=" Op/B, query side and both sides, 2 bytes"),
            f"priced at 10 and 1000 Op/B the faster is {', '.join(order)}",
            order == [RU, RC],
        ),
        holds(
            "A14",
            figure,
            "A100, H800 on the recompute side (Edge TPU, A17 Pro: no primary figures)",
            ", ".join(f"{n} {r:.4g} Op/B" for n, r in chips.items())
            + f"; priced on the template at these ratios: {', '.join(at_knees)}; a100_sxm itself: {faster_on('a100_sxm', MLA, LAST)}",
            min(chips.values()) > max(ridges) and set(at_knees) == {RC},
        ),
        _both(
            compared("A15", figure, [107], [equal], band=0.01, note=" cached tokens"),
            f"priced at {FIRST} and {LAST} cached the faster is {', '.join(near)}",
            near == [SMALL, RC],
        ),
    )


def _both(claim: Claim, words: str, fact: bool) -> Claim:
    """A claim of numbers that an order from priced runs must bear out as well."""
    return replace(claim, ours=f"{claim.ours}; {words}", verdict=claim.verdict if fact else NOT_MET)


def _energy() -> tuple[Claim, ...]:
    figure = f"{PAPER}, Fig. 6; arithmetic"
    rc, ru = _at(RC, FIRST), _at(RU, FIRST)
    turn = [2 * (rc.macs - ru.macs) / ((ru.elements - rc.elements) * b * DRAM_PJ_PER_BYTE) for b in (2, 1)]
    order = most_frugal(ON_CHIP, MLA, LAST)
    small = [most_frugal((1.0,), FOUR, n)[0] for n in (FIRST, 16_384)]
    swings = {s: swing(s, LAST, ON_CHIP) for s in FOUR}
    operations = {s: _at(s, LAST).macs for s in FOUR}
    least = "MLA" if min(swings, key=lambda s: swings[s]) in MLA else "MHA"
    return (
        _both(
            compared("A16", figure, [3.0, 6.0], turn, band=0.02, note=" TOPS/W at 2 and 1 bytes"),
            f"priced with on-chip energies times 10 and 1/10 the less is {', '.join(order)}",
            order == [RU, RC],
        ),
        unchecked(
            "A17",
            figure,
            "reuse least sensitive",
            "depends on how the figure normalises energy",
            ours="priced, on-chip energies times 10 over 1/10: "
            f"reuse {'less' if swings[RU] < swings[RC] else 'more'} than recompute; least of four: {least}; "
            f"in joules, which follow operations: reuse {'less' if operations[RU] < operations[RC] else 'more'}; "
            f"least of four: {min(operations, key=lambda s: operations[s])}",
        ),
        holds(
            "A18",
            figure,
            "MHA_s least only for small caches",
            f"priced at {FIRST} and 16384 cached the least of four: {', '.join(small)}",
            small[0] == SMALL and small[1] in MLA,
        ),
        compared(
            "A19",
            PAPER,
            [400],
            [_flat_cloud_gb_per_s()],
            band=EXACT,
            note=" GB/s of flat_cloud; 8 pJ/bit and batch 1 are settings of A13 to A18",
        ),
    )


def _flat_cloud_gb_per_s() -> float:
    return load_accelerator("flat_cloud").table().prices().dram_bytes_per_s / BYTES_PER_GB
