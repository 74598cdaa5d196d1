"""Where reading and writing DRAM cost the same, a frontier compares their sum: shorter, and with the same optimum at every such price."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.cost.charges import Charges
from dse.cost.frontier_pricing import OperatorPricer
from dse.cost.metrics import Objective
from dse.errors import UsageError
from dse.mapping.comparison import Comparison
from dse.mapping.frontier import matmul_frontier, not_dominated
from dse.mapping.problem import MatmulProblem
from dse.plugins import load_accelerator
from dse.schedule.place import Work

CHIPS = ("edge32", "fusemax", "tpu_v4i", "rtx_pro_6000")
READ, WRITE = "read_energy_pj_per_byte", "write_energy_pj_per_byte"


@settings(max_examples=25, deadline=None)
@given(
    chip=st.sampled_from(CHIPS),
    sizes=st.tuples(*(st.sampled_from((1, 3, 16, 31, 128, 250)) for _ in range(3))),
    groups=st.sampled_from((1, 5)),
    on_chip=st.sampled_from(("", "left", "right", "out")),
)
def test_rows_are_those_of_the_long_frontier_that_the_sum_leaves(chip: str, sizes: tuple[int, int, int], groups: int, on_chip: str) -> None:
    """As sets of what is compared; every row of the short one counts what some row of the long one counts."""
    description = load_accelerator(chip)
    problem = MatmulProblem(groups, *sizes, 16, 16, 16, 32, "bf16", **{f"{on_chip}_on_chip": True} if on_chip else {})
    short = matmul_frontier(problem, description.geometry_for()).counts.matrix()
    long = matmul_frontier(problem, description.geometry).counts.matrix()
    seen = Comparison.of(description.geometry_for(), long.shape[1])
    left = seen.columns(long[not_dominated(seen.columns(long))])
    assert sorted(map(tuple, seen.columns(short))) == sorted(map(tuple, left))
    assert np.array_equal(seen.counted(seen.laid(long)), long)
    assert {tuple(row) for row in seen.columns(short)} <= {tuple(row) for row in seen.columns(long)}


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("objective", list(Objective))
def test_optima_are_the_same_at_every_price(chip: str, objective: Objective) -> None:
    """200 random designs: buffers of any size, any rates, clocks and energies, reading DRAM as dear as writing it."""
    description, rng = load_accelerator(chip), np.random.default_rng(7)
    ranges = {p.path: p.value for p in description.paths() if p.effect == "price" and isinstance(p.value, int | float) and p.value > 0}
    wanted = ("capacity_kib", "gb_per_s", "clock_mhz", "energy_pj_per_byte")
    columns = {path: value * np.exp(rng.uniform(-4, 4, 200)) for path, value in ranges.items() if path.endswith(wanted)}
    dram = description.file.dram[0]
    columns[f"memories.{dram}.{WRITE}"] = columns[f"memories.{dram}.{READ}"] = 64.0 * np.exp(rng.uniform(-4, 4, 200))
    work = Work(MatmulProblem(1, 96, 512, 200, 16, 16, 16, 32, "bf16"), 1, 0.0, 0.0, 0.0, 1, True)
    table = description.table(columns)
    short, long = (OperatorPricer(work, g).price(table, objective) for g in (description.geometry_for(), description.geometry))
    assert np.array_equal(np.isfinite(short.latency_s), np.isfinite(long.latency_s))
    some = np.isfinite(long.latency_s)
    assert some.sum() > 20
    for mine, theirs in ((short.latency_s, long.latency_s), (short.energy_j, long.energy_j)):
        assert mine[some] == pytest.approx(theirs[some], rel=2e-9)


def test_geometry_follows_the_energies_and_what_varies() -> None:
    """Equal and fixed: alike. Different in the file, or a column of its own: not."""
    chip = load_accelerator("edge32")
    assert chip.geometry_for(["clock_mhz"]) == replace(chip.geometry, dram_alike=True)
    assert chip.geometry_for([f"memories.dram.{READ}"]) == chip.geometry
    assert chip.with_overrides({f"memories.dram.{WRITE}": 70}).geometry_for() == chip.geometry
    flash = load_accelerator("h100_sxm").with_overrides({f"memories.hbm.{READ}": 1})  # energies that the file leaves to the technology
    assert flash.geometry_for() == flash.geometry


def test_other_energies_are_refused() -> None:
    """A table that charges writes more is not priced with frontiers that took them for alike."""
    chip = load_accelerator("edge32")
    table = chip.table({f"memories.dram.{WRITE}": [64.0, 65.0]})
    with pytest.raises(UsageError, match="equal energies of reading and writing DRAM"):
        Charges.of(chip.geometry_for(), table)
    Charges.of(chip.geometry, table)


@pytest.mark.parametrize(("chip", "sizes"), [("h100_sxm", (300, 500, 700)), ("rtx_pro_6000", (33, 128, 250))])
def test_no_shorter_frontier_is_exact(chip: str, sizes: tuple[int, int, int]) -> None:
    """Every row is the one of least latency on a design that has just its room, and on which it keeps all resources equally busy."""
    description = load_accelerator(chip)
    pricer = OperatorPricer(Work(MatmulProblem(1, *sizes, 16, 16, 16, 32, "bf16"), 1, 0.0, 0.0, 0.0, 1, True), description.geometry_for())
    counts, (buffer, _), (dram, _) = pricer.counts, description.file.buffer, description.file.dram
    seconds = counts[:, 5] / 1e9
    tiny = 1e-3  # bytes: where a row needs none, a rate that lets no other row need any
    columns = {
        "clock_mhz": np.full(len(counts), 1e3),
        f"memories.{buffer}.capacity_kib": np.maximum(counts[:, 0], tiny) / 1024,
        f"memories.{dram}.bandwidth_gb_per_s": (counts[:, 1] + counts[:, 2]) / seconds / 1e9,
        f"memories.{buffer}.read_gb_per_s": np.maximum(counts[:, 3], tiny) / seconds / 1e9,
        f"memories.{buffer}.write_gb_per_s": np.maximum(counts[:, 4], tiny) / seconds / 1e9,
    }
    found = pricer.price(description.table(columns), Objective.LATENCY)
    assert len(counts) > 100
    assert found.latency_s == pytest.approx(seconds)
    assert np.array_equal(found.row, np.arange(len(counts)))
