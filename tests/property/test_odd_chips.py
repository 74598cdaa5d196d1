"""Odd sizes on odd chips: a mapping above every bound, never worse with more of anything, or what does not fit as a value.

Arrays larger than the operator, of one element, of one to four dimensions; primes and ones; memories below an element; ports that are
nothing beside the others.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from dse.cost.capacity import Infeasibility
from dse.cost.one_operator import MapObjective, map_product
from dse.mapping.problem import MatmulProblem
from dse.plugins import load_accelerator
from dse.single_map import measure

if TYPE_CHECKING:
    import pytest

SIDES = st.sampled_from([1, 1, 2, 3, 7, 31, 64, 1024])
SIZES = st.sampled_from([1, 1, 2, 3, 4, 5, 7, 13, 31, 8191])
OPERANDS = st.sets(st.sampled_from(["left", "right", "out"]), min_size=1).map(sorted)
FLOWS = st.sets(st.sampled_from(["weight_stationary", "output_stationary", "input_stationary"]), min_size=1).map(sorted)
SHADE = 5e-4
"""A mapping this much worse may be taken where it halves the other of latency and energy."""


@st.composite
def arrays(draw: st.DrawFn) -> tuple[str, list[str]]:
    """The array of a file, and the names of its dimensions where it is in the long form."""
    folds = draw(st.sampled_from(["broadcast", "pipelined", "serial"]))
    if draw(st.booleans()):
        flows = ", ".join(draw(FLOWS))
        rows, columns, count = draw(SIDES), draw(SIDES), draw(st.sampled_from([1, 1, 3]))
        return f"rows: {rows}, columns: {columns}, count: {count}, dataflows: [{flows}], folds: {folds}", []
    loops = [draw(st.sets(st.sampled_from(["m", "k", "n"]), min_size=1, max_size=2).map(sorted)) for _ in range(draw(st.integers(1, 4)))]
    dims = [f"d{i}: {{size: {draw(st.sampled_from([1, 2, 3, 4]))}, unrolls: [{', '.join(some)}]}}" for i, some in enumerate(loops)]
    stationary = ", ".join(draw(OPERANDS))
    return f"dims: {{{', '.join(dims)}}}, stationary: [{stationary}], folds: {folds}", [f"d{i}" for i in range(len(loops))]


@st.composite
def chips(draw: st.DrawFn) -> str:
    """The text of a file like edge32 with another array and other memories."""
    array, names = draw(arrays())
    memories = []
    if draw(st.booleans()):
        capacity = draw(st.sampled_from([0.1, 1, 4, 64]))
        memories.append(f"rf: {{kind: registers, capacity_bytes: {capacity}, operands: [{', '.join(draw(OPERANDS))}]}}")
    if draw(st.booleans()):
        serves = f", serves: [{', '.join(draw(st.sets(st.sampled_from(names)).map(sorted)))}]" if names else ""
        size, rate = draw(st.sampled_from([1e-4, 0.01, 1])), draw(st.sampled_from([1e-3, 64, 1e6]))
        double, operands = str(draw(st.booleans())).lower(), ", ".join(draw(OPERANDS))
        rates = f"bandwidth_gb_per_s: {rate}, read_energy_pj_per_byte: 0.5, write_energy_pj_per_byte: 0.5"
        memories.append(f"l0: {{kind: buffer, capacity_kib: {size}, {rates}, double_buffered: {double}, operands: [{operands}]{serves}}}")
    outer, rate = draw(st.sampled_from([1e-6, 0.01, 0.5, 64])), draw(st.sampled_from([1e-6, 64, 1e9]))
    ports = "read_gb_per_s: 256, write_gb_per_s: 256, read_energy_pj_per_byte: 4.8, write_energy_pj_per_byte: 5.6"
    memories.append(f"glb: {{kind: buffer, capacity_kib: {outer}, {ports}, double_buffered: {str(draw(st.booleans())).lower()}}}")
    energies = "read_energy_pj_per_byte: 64, write_energy_pj_per_byte: 64"
    memories.append(f"dram: {{kind: dram, capacity_gib: 8, bandwidth_gb_per_s: {rate}, {energies}, latency_ns: 0}}")
    rates = "macs_per_pe_per_cycle: {int8: 1}, mac_energy_pj: {int8: 0.2}"
    return (
        "schema_version: 1\nname: odd\nsummary: odd\ntechnology: generic_7nm\nclock_mhz: 1000\n"
        f"core: {{array: {{{array}, {rates}}}, vector: {{lanes: 32, energy_pj_per_op: 0.5}}}}\n"
        f"memories:\n  {chr(10).join(memories).replace(chr(10), chr(10) + '  ')}\n"
        f"overheads: {{launch_latency_us: 0}}\nleakage_w: 0.01\n"
    )


@settings(max_examples=60)
@given(
    chip=chips(),
    groups=st.sampled_from([1, 1, 2, 5]),
    sizes=st.tuples(SIZES, SIZES, SIZES),
    partial_bits=st.sampled_from([8, 32]),
    objective=st.sampled_from(list(MapObjective)),
    factor=st.sampled_from([1.0000001, 1.5, 1000]),
    pick=st.integers(0, 1000),
)
def test_odd_sizes_on_odd_chips(
    tmp_path_factory: pytest.TempPathFactory,
    chip: str,
    groups: int,
    sizes: tuple[int, int, int],
    partial_bits: int,
    objective: MapObjective,
    factor: float,
    pick: int,
) -> None:
    path = tmp_path_factory.getbasetemp() / "odd.yaml"
    path.write_text(chip, encoding="utf-8")
    description = load_accelerator(str(path))
    problem = MatmulProblem(groups, *sizes, 8, 8, 8, partial_bits, "int8")
    found = map_product(problem, description.geometry, description.table({}), objective)
    if isinstance(found, Infeasibility):
        assert found.demand_bytes > found.bound_bytes
        assert sum(size for _, size in found.contributors) == found.demand_bytes
        assert found.levers
        return
    figures = (
        (found.latency_s, found.bounds.latency_s),
        (found.energy_pj, found.bounds.energy_pj),
        (found.dram_bytes, found.bounds.dram_bytes),
    )
    assert all(math.isfinite(value) and value >= bound * (1 - 1e-9) for value, bound in figures)
    assert all(border.moved_bytes >= border.least_bytes * (1 - 1e-9) for border in found.borders)
    more = [p for p in description.paths() if p.path.endswith(("capacity_kib", "capacity_bytes", "gb_per_s", "clock_mhz"))]
    enlarged = more[pick % len(more)]
    again = map_product(problem, description.geometry, description.table({enlarged.path: float(str(enlarged.value)) * factor}), objective)
    assert not isinstance(again, Infeasibility)
    assert measure(again, objective) <= measure(found, objective) * (1 + SHADE), enlarged.path
