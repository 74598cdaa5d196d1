"""Tables of `dse eval` for a chip of many cores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dse.report.output import Format, write_records
from dse.schedule.cores.chip_plan import MOST_OPERATORS_FUSED

if TYPE_CHECKING:
    from dse.cost.many_core import ChipEvaluation
    from dse.report.output import Cell

MOST_NAMES: Final = 5
"""Tensors named; JSON has all."""
MOST_RESOURCES: Final = 12
"""Cores and channels shown, the busiest first; JSON has all."""


def write_chip_tables(found: ChipEvaluation, objective: str) -> None:
    """Results, plan, busiest resources and energy; nothing where no plan fits."""
    if not found.feasible:
        return
    values = found.to_json_dict()
    facts: list[dict[str, Cell]] = [
        {"quantity": name, "value": values[name]}  # type: ignore[dict-item]
        for name in ("latency_s", "latency_cycles", "energy_j", "tokens_per_s", "joules_per_token", "area_mm2")
    ]
    proven = "" if found.placement_gap is None or found.exact else f", {found.placement_gap:.1%} above the least of its groups"
    how = "the best of all assignments" if found.exact else f"the best of {found.trials} assignments simulated"
    facts += [
        {"quantity": "bound", "value": f"{found.bound}, busy {found.bound_share:.1%} of the time"},
        {"quantity": "roofline_cycles", "value": found.roofline.cycles},
        {"quantity": "roofline_ratio", "value": values["roofline_ratio"]},  # type: ignore[dict-item]
        {"quantity": "plan", "value": f"{how}; at most {found.gap:.1%} above the least latency there is{proven}"},
        {"quantity": "spilled", "value": _listed(found.spilled)},
        {"quantity": "over the memory", "value": _listed(found.detours)},
    ]
    if found.not_fused:
        long = f"no operators of {', '.join(found.not_fused)}: more than {MOST_OPERATORS_FUSED}"
        facts.append({"quantity": "fused", "value": long})
    write_records(facts, ("quantity", "value"), Format.TABLE, title=f"Least {objective} of its plans")
    groups: list[dict[str, Cell]] = [
        {
            "group": g.group,
            "cores": _short(g.cores),
            "divided": g.stream or "",
            "start_cycles": round(g.start_s * found.clock_hz),
            "end_cycles": round(g.end_s * found.clock_hz),
            "compute_cycles": round(g.compute_s * found.clock_hz),
            "dram_bytes": g.dram_bytes,
            "transfer_bytes": g.transfer_bytes,
        }
        for g in found.groups
    ]
    write_records(groups, tuple(groups[0]), Format.TABLE, title="Groups of operators in the order of the plan")
    busiest: list[dict[str, Cell]] = [
        {"resource": name, "busy_cycles": round(seconds * found.clock_hz), "share": seconds / found.latency_s}
        for name, seconds in list(found.busy.items())[:MOST_RESOURCES]
    ]
    write_records(busiest, tuple(busiest[0]), Format.TABLE, title="Busiest cores and channels")
    write_records(
        _spent(found), ("component", "role", "energy_j", "energy_share", "bytes"), Format.TABLE, title="Energy by component and role"
    )


def _listed(names: tuple[str, ...]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "") if names else "nothing"


def _short(cores: tuple[str, ...]) -> str:
    return ", ".join(cores) if len(cores) <= 2 else f"{cores[0]} ... {cores[-1]} ({len(cores)})"


def _spent(found: ChipEvaluation) -> list[dict[str, Cell]]:
    rows: list[dict[str, Cell]] = []
    for component, role in sorted({(b.component, b.role) for b in found.breakdown}):
        mine = [b for b in found.breakdown if (b.component, b.role) == (component, role)]
        energy, size = sum(b.energy_j for b in mine), sum(b.bytes for b in mine)
        rows.append({"component": component, "role": role, "energy_j": energy, "energy_share": energy / found.energy_j, "bytes": size})
    return rows
