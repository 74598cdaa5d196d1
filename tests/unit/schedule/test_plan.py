"""Plans: traffic of a graph counted by hand, fused against layer by layer, and the closed forms of MLA."""

from __future__ import annotations

import numpy as np
import pytest

from dse.cost.evaluation import evaluate
from dse.cost.frontier_pricing import TIE_TOLERANCE
from dse.cost.metrics import Objective
from dse.cost.roofline import compulsory_bytes
from dse.cost.workload_pricing import CompiledPart, price_part
from dse.errors import GraphError
from dse.evaluate import Schedule, compile_step, graph_step, price
from dse.plugins import accelerator_names, load_model
from dse.schedule.place import place
from dse.schedule.plan import Plan, make_plans, plan_totals
from tests.unit.cost.compiled import accelerator, compiled, step
from tests.unit.cost.design_points import points

from .graphs import GEOMETRY, swiglu_chain, two_layers


def table(**columns: float | list[float]):
    """Prices under which bytes of DRAM are all that counts."""
    found = points(dram_bytes_per_s=1.0, **columns)
    found.mac_pj["fp16"] = np.ones(found.size)
    return found


def test_layer_by_layer_traffic_by_hand() -> None:
    """up 64 + 256 + 128, relu 128 + 128, down 128 + 256 + 64: 1,152 bytes; one second per byte."""
    found = price(compile_step(graph_step(two_layers(), 4), GEOMETRY, schedule=Schedule.LAYER_BY_LAYER), table())
    assert found.dram_bytes.tolist() == [1152]
    assert found.latency_s[0] == pytest.approx(1152)


def test_fused_traffic_by_hand() -> None:
    """h and a never leave: 64 + 256 + 256 + 64 = 640 bytes, where the buffer holds them; 1,152 where it holds nothing."""
    found = price(compile_step(graph_step(two_layers(), 4), GEOMETRY), table(buffer_capacity_bytes=[0.0, 31.0, 1024.0]))
    assert found.dram_bytes[0] == 1152
    assert found.dram_bytes[2] == 640
    assert found.dram_bytes[0] >= found.dram_bytes[1] >= found.dram_bytes[2]


def test_placed_operators_by_hand() -> None:
    """The plan that holds the most keeps h and a on chip: up reads x and w1 from DRAM, down writes y there."""
    book = make_plans(two_layers(), Schedule.FUSED, GEOMETRY)
    plan = max(book.plans, key=lambda p: p.peak_bytes)
    placed = {o.name: o for o in place(book, plan, GEOMETRY)}
    assert list(placed) == ["up", "relu", "down"]
    assert [(p.tensor, p.on_chip) for o in placed.values() for p in (*o.inputs, *o.outputs)] == [
        ("x", False),
        ("w1", False),
        ("h", True),
        ("h", True),
        ("a", True),
        ("a", True),
        ("w2", False),
        ("y", False),
    ]
    assert not placed["relu"].work.touches_dram
    assert sum(o.work.launches for o in placed.values()) == len(plan.segments)
    assert sum(o.work.macs for o in placed.values()) == 2 * 4 * 8 * 16
    assert sum(o.work.vector_ops for o in placed.values()) == 4 * 16


def test_the_first_plan_is_layer_by_layer() -> None:
    fused, alone = (make_plans(two_layers(), s, GEOMETRY) for s in Schedule)
    assert isinstance(fused.plans[0], Plan)
    assert fused.plans[0] == alone.plans[0]
    assert len(alone.plans) == 1


def test_a_type_that_the_array_lacks_names_the_node() -> None:
    geometry = type(GEOMETRY)(
        type(GEOMETRY.array)(32, 32, 1, GEOMETRY.array.dataflows, GEOMETRY.array.folds, (("int8", 1),)), double_buffered=True
    )
    with pytest.raises(GraphError, match=r"two_layers: node 'up': multiplies in fp16, which the array cannot compute; it computes int8"):
        compile_step(graph_step(two_layers(), 4), geometry)


@pytest.mark.parametrize("scheme", load_model("deepseek_v2_lite").attention_schemes)
@pytest.mark.parametrize("name", accelerator_names())
def test_fused_is_never_worse_than_layer_by_layer(name: str, scheme: str) -> None:
    given, prices = step("deepseek_v2_lite", scheme, batch=4, cache_len=256), accelerator(name).table({})
    never_worse(compiled(given, name), compiled(given, name, Schedule.LAYER_BY_LAYER), prices)


@pytest.mark.parametrize("scheme", load_model("deepseek_v3").attention_schemes)
def test_fused_is_never_worse_for_deepseek_v3(scheme: str) -> None:
    given, prices = step("deepseek_v3", scheme), accelerator("flat_cloud").table({})
    never_worse(compiled(given, "flat_cloud"), compiled(given, "flat_cloud", Schedule.LAYER_BY_LAYER), prices)


def never_worse(fused, alone, prices) -> None:
    """Latency and energy; the product against the product of the latency optimum, from which its search starts."""
    for objective, metric in ((Objective.LATENCY, "latency_s"), (Objective.ENERGY, "energy_j"), (Objective.EDP, "edp_js")):
        best, other = price(fused, prices, objective=objective), price(alone, prices, objective=objective)
        assert best.metric(metric)[0] <= other.metric(metric)[0] * (1 + 1e-12), objective


@pytest.mark.parametrize(
    ("scheme", "weights"),
    [
        ("left_to_right", 174_063_616),
        ("recompute", 174_063_616),
        ("naive", 174_063_616),
        ("reuse", 241_172_480),
        ("reuse_both", 585_105_408),
    ],
)
def test_flat_cloud_moves_the_closed_form(scheme: str, weights: int) -> None:
    """DeepSeek-V3, one token, bf16, L = 4096, rope off: weights + 512 L elements, as the papers count, with the token in and
    out and its index. 32 MiB hold what these schemes form slice by slice, so neither the energy optimum where DRAM is all that
    costs nor the latency optimum moves 2 % more."""
    chip, given = accelerator("flat_cloud"), step("deepseek_v3", scheme, rope=False)
    closed = 2 * (weights + 512 * 4096)
    least = compulsory_bytes(given.graphs[0][0])
    assert least == closed + 2 * 2 * 7168 + 8
    dear = chip.table({"memories.dram.read_energy_pj_per_byte": 1e9, "memories.dram.write_energy_pj_per_byte": 1e9})
    found = price(compiled(given, "flat_cloud"), dear, objective=Objective.ENERGY)
    # Plans whose energy ties within TIE_TOLERANCE are decided by latency: here that is a tie in DRAM bytes.
    assert least <= found.dram_bytes[0] <= 1.0001 * (1 + TIE_TOLERANCE) * least
    assert closed <= found.dram_bytes[0] <= 1.02 * closed
    usual = price(compiled(given, "flat_cloud"), chip.table({}))
    assert least <= usual.dram_bytes[0] <= 1.02 * least


def test_layer_by_layer_recompute_moves_its_composite() -> None:
    """Formed, written and read again: 2 x 128 x 1536 x 512 elements more than compulsory, and less than 2 % beside."""
    given = step("deepseek_v3", "recompute", rope=False)
    chip = accelerator("flat_cloud")
    dear = chip.table({"memories.dram.read_energy_pj_per_byte": 1e9, "memories.dram.write_energy_pj_per_byte": 1e9})
    found = price(compiled(given, "flat_cloud", Schedule.LAYER_BY_LAYER), dear, objective=Objective.ENERGY)
    closed = compulsory_bytes(given.graphs[0][0]) + 2 * 2 * 128 * 1536 * 512
    assert closed <= found.dram_bytes[0] <= 1.02 * closed


@pytest.mark.parametrize("scheme", ["left_to_right", "naive", "recompute"])
def test_a_plans_lower_bound_is_what_it_moves_where_dram_is_all_that_costs(scheme: str) -> None:
    """The DRAM bytes by which plans are compared are those that pricing finds, where a buffer of 1 GiB takes every tile."""
    chip, given = accelerator("flat_cloud"), step("deepseek_v3", scheme, rope=False)
    dear = chip.table(
        {
            "memories.dram.read_energy_pj_per_byte": 1e9,
            "memories.dram.write_energy_pj_per_byte": 1e9,
            "memories.sram.capacity_kib": 4 * 2**20,
        }
    )
    part = compiled(given, "flat_cloud").parts[0]
    for plan in part.plans:
        alone = CompiledPart(part.name, 1, part.book, (plan,))
        moved = price_part(alone, dear, Objective.ENERGY).moved[0]
        assert moved[0] + moved[1] == pytest.approx(plan_totals(part.book.of(plan.plan).builder, plan.plan)[1], rel=TIE_TOLERANCE)


def test_a_cache_longer_than_the_buffer_is_read_once() -> None:
    """DeepSeek-V3, 8 sequences of 65,536 positions, bf16: 75.5 MB of latent cache each, 50 MB of buffer. Scores, probabilities and
    context run in slices of the keys with running statistics, so the cache crosses once; the vector unit adds up the parts."""
    given, chip = step("deepseek_v3", "left_to_right", batch=8, cache_len=65536), accelerator("h100_sxm")
    least = compulsory_bytes(given.graphs[0][0])
    found = evaluate(compiled(given, "h100_sxm"), chip.table({}), Objective.LATENCY)
    moved = sum(b.bytes for b in found.breakdown if b.component == "dram")
    assert least <= moved <= 1.02 * least
    combined = next(o for o in found.operators if o.operator == "context.combine")
    softmax = next(o for o in found.operators if o.operator == "probability")
    assert combined.runs == softmax.runs > 8
    assert combined.latency_s > 0
    scores = [b.bytes for b in found.breakdown if b.component == "dram" and b.role == "score"]
    assert sum(scores) == 0


@pytest.mark.parametrize(("rows", "width", "hidden", "blocks", "most"), [(256, 4096, 14336, 1, 1.10 * 53_212), (128, 512, 1024, 8, 20_592)])
def test_swiglu_on_tpu7x(rows: int, width: int, hidden: int, blocks: int, most: float) -> None:
    """One wide block within 1.10 of its roofline; eight small ones in series within the 20,592 cycles of Stream 2.1.1 with cuts
    made by hand, fill, drain and weight load of the array counted."""
    chip = accelerator("tpu7x")
    compiled_chain = compile_step(graph_step(swiglu_chain(rows, width, hidden, blocks), rows), chip.geometry)
    found = evaluate(compiled_chain, chip.table({}), Objective.LATENCY)
    assert found.roofline.cycles <= found.latency_s * found.clock_hz <= most


def test_scores_that_fit_stay_though_they_are_few_of_all_bytes() -> None:
    """DeepSeek-V3's heads as large plain attention over 16,384 positions: 4 MB of scores among 4 GB. The energy optimum on 32 MiB keeps
    them and lies within 0.1 % of what no schedule can beat."""
    found = evaluate(
        compiled(step("deepseek_v3", "mha_l", cache_len=16384), "flat_cloud"), accelerator("flat_cloud").table({}), Objective.ENERGY
    )
    assert not [b for b in found.breakdown if b.component == "dram" and b.role == "score"]
    assert 0 <= found.schedule_gap < 1e-3
