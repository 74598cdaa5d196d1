"""Attention on the two-level machine, line by line: what the public command lists against formulas and figures that nobody here made.

N_q query rows, N_k keys, widths E and F, S elements of buffer, T elements moved. Formulas: FlashAttention (NeurIPS 2022),
FlashAttention-2 (arXiv 2307.08691), FLAT (ASPLOS 2023), FuseMax (MICRO 2024). Figures: AccelForge 1.0.467 run on the same problems,
its perfect factors only; its tables are copied below.
"""

from __future__ import annotations

import json
import random
from itertools import pairwise

import numpy as np
import pytest

from dse.cli import main
from dse.mapping.frontier import vector_frontier
from dse.mapping.problem import VectorProblem
from dse.mapping.two_level_attention import AttentionPoint, AttentionShape, Form, attention_frontier

# AccelForge 1.0.467, two-level machine, attention of one head: (elements of buffer, elements moved).
UNFUSED_64 = [
    (3, 275456), (4, 209920), (6, 177152), (7, 144384), (11, 111616), (19, 95232), (21, 78848), (37, 62464), (69, 51200), (73, 46080),
    (137, 34816), (265, 32768), (273, 26624), (529, 22528), (1041, 20480),
]  # fmt: skip
FUSED_64 = [
    (3, 267264), (4, 201728), (6, 168960), (7, 136192), (11, 103424), (19, 87040), (21, 70656), (37, 54272), (69, 43008), (73, 37888),
    (136, 34816), (137, 26624), (256, 25600), (265, 24576), (272, 18432), (512, 17408), (529, 16384), (544, 10240), (1088, 6144),
    (2082, 4096),
]  # fmt: skip
UNFUSED_256 = [
    (3, 16990208), (4, 12795904), (6, 10698752), (7, 8601600), (11, 6504448), (19, 5455872), (21, 4407296), (37, 3358720), (69, 2834432),
    (73, 2310144), (137, 1785856), (265, 1523712), (273, 1261568), (529, 999424), (1041, 819200), (1057, 737280), (2081, 557056),
    (4129, 524288), (4161, 425984), (8257, 360448), (16449, 327680),
]  # fmt: skip


def listed(capsys: pytest.CaptureFixture[str], attention: str, *options: str) -> list[tuple[int, int, str, int]]:
    """Points of `dse frontier --attention`: (need, moved, form, block)."""
    assert main(["frontier", "--attention", attention, *options, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    return [(r["footprint_elements"], r["dram_elements"], r["form"], r["block"]) for r in rows]


def least(points: list[tuple[int, int, str, int]], capacity: int) -> int:
    return min(moved for need, moved, _, _ in points if need <= capacity)


def sizes(shape: tuple[int, int, int, int]) -> str:
    return "heads=1,queries={},keys={},qk={},v={}".format(*shape)


SHAPES = [(64, 64, 16, 16), (2048, 2048, 192, 128), (37, 501, 24, 40), (1000, 90, 64, 64)]


@pytest.mark.parametrize("shape", SHAPES)
def test_compulsory(shape: tuple[int, int, int, int], capsys: pytest.CaptureFixture[str]) -> None:
    """Fused N_q (E + F) + N_k (E + F), N_k E where values are a slice of keys; unfused 4 N_q N_k more, 2 with softmax folded in."""
    rows, keys, e, f = shape
    compulsory = (rows + keys) * (e + f)
    assert listed(capsys, sizes(shape), "--fused")[-1][1] == compulsory
    assert listed(capsys, sizes(shape))[-1][1] == compulsory + 4 * rows * keys
    mixed = attention_frontier(AttentionShape(1, rows, keys, e, f), Form.MIXED)
    assert mixed[-1].dram_elements == compulsory + 2 * rows * keys
    if f <= e:
        assert listed(capsys, f"{sizes(shape)},alias_v", "--fused")[-1][1] == rows * (e + f) + keys * e


@pytest.mark.parametrize("shape", SHAPES)
def test_least_buffer_for_compulsory_traffic(shape: tuple[int, int, int, int], capsys: pytest.CaptureFixture[str]) -> None:
    """min(N_q (E + F + 2), N_k (E + F) + E + F + 2)."""
    rows, keys, e, f = shape
    assert listed(capsys, sizes(shape), "--fused")[-1][0] == min(rows * (e + f + 2), keys * (e + f) + e + f + 2)


@pytest.mark.parametrize("columns", [1, 32])
@pytest.mark.parametrize("statistics", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_fused_orders_by_brute_force(
    shape: tuple[int, int, int, int], columns: int, statistics: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every block size of both orders and of whole rows, written out: the listed points are the least at every size of buffer."""
    rows, keys, e, f = shape
    stats = 2 if statistics else 0
    every = []
    for b in range(1, rows + 1):
        moved = rows * (e + f) + -(-rows // b) * keys * (e + f)
        every.append((b * (e + f) + 2 * b * min(columns, keys) + stats * b, moved))  # query stationary
        every.append((b * keys + b * (e + f) + max(e, f), moved))  # whole rows, FLAT
    for b in range(1, keys + 1):
        t = -(-keys // b)
        moved = keys * (e + f) + t * rows * e + (2 * t - 1) * rows * f + stats * (2 * t - 1) * rows
        every.append((b * (e + f) + e + f + 2 + stats, moved))  # key stationary
    points = listed(capsys, f"{sizes(shape)},columns={columns}" + ",statistics" * statistics, "--fused")
    assert all(a[0] < b[0] and a[1] > b[1] for a, b in pairwise(points))
    for capacity in sorted({need for need, _ in every})[:: max(1, len(every) // 200)]:
        assert least(points, capacity) == min(moved for need, moved in every if need <= capacity)


@pytest.mark.parametrize(("capacity", "moved"), [(136, 34_816), (272, 18_432), (544, 10_240), (1088, 6_144), (2082, 4_096)])
def test_the_fused_front_of_accelforge(capacity: int, moved: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert least(listed(capsys, sizes((64, 64, 16, 16)), "--fused"), capacity) == moved


def test_key_stationary_beats_accelforge_which_lacks_it(capsys: pytest.CaptureFixture[str]) -> None:
    """7,168 elements with a buffer of 1,058, against its 10,240."""
    points = listed(capsys, sizes((64, 64, 16, 16)), "--fused")
    assert (1058, 7168, "key_stationary", 32) in points
    assert max(moved for need, moved in FUSED_64 if need <= 1058) >= 10_240


@pytest.mark.parametrize(
    ("shape", "options", "theirs"),
    [
        ((64, 64, 16, 16), (), UNFUSED_64),
        ((64, 64, 16, 16), ("--best",), FUSED_64),
        ((256, 256, 64, 64), (), UNFUSED_256),
    ],
)
def test_never_more_than_accelforge(shape, options, theirs, capsys: pytest.CaptureFixture[str]) -> None:
    """At every point of its fronts; where sides divide, the same."""
    points = listed(capsys, sizes(shape), *options)
    for capacity, moved in theirs:
        assert least(points, capacity) <= moved


def test_ragged_blocks_of_queries(capsys: pytest.CaptureFixture[str]) -> None:
    """Prefill 2048 / 192 / 128 with 64 KiB of bytes and 32 columns: 170 rows fit; 13 blocks of 158 move 9,175,040 bytes, 16 of 128,
    the best divisor, 11,141,120."""
    points = listed(capsys, f"{sizes((2048, 2048, 192, 128))},columns=32", "--fused")
    assert 65_536 // (192 + 128 + 2 * 32) == 170
    best = max((p for p in points if p[0] <= 65_536), key=lambda p: p[0])
    assert best == (158 * 384, 9_175_040, "query_stationary", 158)
    assert 2048 * 320 + 16 * 2048 * 320 == 11_141_120


def test_scores_go_out_where_blocks_of_queries_would_be_too_small(capsys: pytest.CaptureFixture[str]) -> None:
    """The same in 16 KiB: fused has blocks of 42 rows, 49 times all keys; scores written once and read once move less."""
    shape = f"{sizes((2048, 2048, 192, 128))},columns=32"
    fused, best, unfused = (listed(capsys, shape, *o) for o in (("--fused",), ("--best",), ()))
    assert least(fused, 16_384) == 2048 * 320 + -(-2048 // 42) * 2048 * 320
    chosen = max((p for p in best if p[0] <= 16_384), key=lambda p: p[0])
    assert chosen[2] == "mixed"
    assert chosen[1] < min(least(fused, 16_384), least(unfused, 16_384))
    assert max((p for p in best if p[0] <= 65_536), key=lambda p: p[0])[2] == "query_stationary"


@pytest.mark.parametrize("keys", [64, 4096])
def test_whole_rows_need_a_buffer_that_grows_with_the_keys(keys: int) -> None:
    """FLAT against FlashAttention: the same traffic for R rows, R (N_k - 2) + max(E, F) elements more."""
    shape = AttentionShape(heads=1, queries=64, keys=keys, qk=16, v=16)
    need = {(p.form, p.dram_elements): p.footprint_elements for p in every_fused_point(shape)}
    for rows in (1, 8, 64):
        moved = 64 * 32 + -(-64 // rows) * keys * 32
        assert need["whole_rows", moved] - need["query_stationary", moved] == rows * (keys - 2) + 16


def every_fused_point(shape: AttentionShape) -> list[AttentionPoint]:
    from dse.mapping import two_level_attention as module

    return [*module._query_stationary(shape), *module._whole_rows(shape)]


def test_passes_of_a_softmax() -> None:
    """FuseMax: with more than one pass over the keys a row lies on chip or is read again; 100 rows of 4,096 elements of 2 bytes."""
    row = 4096 * 2.0
    found = vector_frontier(VectorProblem(100 * row, 100 * row, 0.0, 0.0, 1.0, 2 * row, rereads=True), double_buffered=False)
    c = found.counts
    by_reads = {round(float(r) / (100 * row)): float(f) for f, r in zip(c.footprint_bytes, c.dram_read_bytes, strict=True)}
    assert set(by_reads) == {1, 2}
    assert by_reads[1] >= row
    assert by_reads[2] < row


def test_fused_never_moves_more_than_unfused() -> None:
    """Where both fit; and aliased values save N_k F at least once (bounds on random shapes)."""
    draw = random.Random(5)
    for _ in range(25):
        rows, keys, f = (draw.randint(1, 300) for _ in range(3))
        e = f + draw.randint(0, 64)
        shape = AttentionShape(1, rows, keys, e, f)
        best, unfused = attention_frontier(shape, Form.BEST), attention_frontier(shape, Form.UNFUSED)
        for need in {p.footprint_elements for p in unfused}:
            assert moved_at(best, need) <= moved_at(unfused, need)
        alias = AttentionShape(1, rows, keys, e, f, alias_v=True)
        saved = attention_frontier(shape, Form.FUSED)[-1].dram_elements - attention_frontier(alias, Form.FUSED)[-1].dram_elements
        assert saved == keys * f


def moved_at(points: tuple[AttentionPoint, ...], capacity: int) -> int:
    return int(np.min([p.dram_elements for p in points if p.footprint_elements <= capacity]))
