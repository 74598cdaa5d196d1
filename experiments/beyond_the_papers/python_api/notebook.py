"""The Python API from a layer to a front of chips, in cells; run as a script or cell by cell.

python -m experiments.beyond_the_papers.python_api.notebook
"""

# %% One layer: DeepSeek-V3's attention, one token for each of 16 sequences
import tempfile
from pathlib import Path

import numpy as np
from moocore import is_nondominated

from dse.cost.evaluation import evaluate
from dse.evaluate import Objective, compile_step, price
from dse.ir.lowering import Part
from dse.plugins import load_accelerator
from dse.workload import WorkloadOptions, load_workload

SCHEMES = ("left_to_right", "naive", "reuse", "recompute")
layers = {
    s: load_workload(WorkloadOptions(model="deepseek_v3", cache_len=4096, batch=16, attention=s, part=Part.ATTENTION, layer=3))
    for s in SCHEMES
}
for scheme, layer in layers.items():
    print(scheme, layer.summary_json()["totals"])

# %% One geometry: mapping frontiers and plans are made once
chip = load_accelerator("flat_cloud")
compiled = {s: compile_step(layer.step, chip.geometry) for s, layer in layers.items()}

# %% Ten thousand chips of this geometry are priced in one call
kib, gb_per_s, mhz = (
    g.ravel() for g in np.meshgrid(2.0 ** np.arange(10, 17), np.geomspace(50, 4000, 80), np.linspace(400, 1600, 18), indexing="ij")
)
columns = {"memories.sram.capacity_kib": kib, "memories.dram.bandwidth_gb_per_s": gb_per_s, "clock_mhz": mhz}
table = chip.table(columns)
priced = {s: price(c, table, objective=Objective.EDP) for s, c in compiled.items()}
print(f"{table.size:,} chips, {len(SCHEMES)} schemes")

# %% Which scheme is best where?
edp = np.array([p.metric("edp_js") for p in priced.values()])  # [schemes, designs]
best = np.argmin(edp, axis=0)
for i, scheme in enumerate(SCHEMES):
    print(f"{scheme} has the least energy-delay product on {np.mean(best == i):.1%} of the chips")

# %% The front of area, time and energy, and a knee
one = priced["left_to_right"]
costs = np.column_stack([one.area_mm2, one.latency_s, one.energy_j])
front = np.flatnonzero(is_nondominated(costs))
knee = int(front[np.argmin(costs[front].prod(axis=1))])
print(f"{len(front)} chips on the front; knee: {kib[knee]:g} KiB, {gb_per_s[knee]:.0f} GB/s, {mhz[knee]:.0f} MHz")

# %% Where do time and energy of the knee go?
design = chip.with_overrides({path: float(column[knee]) for path, column in columns.items() if "capacity" not in path})
design = design.with_overrides({"memories.sram.capacity_kib": int(kib[knee])})
explained = evaluate(compiled["left_to_right"], design.table(), Objective.EDP)
print(f"{explained.latency_s * 1e6:.0f} us, {explained.energy_j * 1e3:.2f} mJ, bound by {explained.bound}")
for component in ("array", "vector", "buffer", "dram"):
    joules = sum(row.energy_j for row in explained.breakdown if row.component == component)
    print(f"  {component}: {joules / explained.energy_j:.0%} of the energy")

# %% The same question as a campaign: a run folder that can be interrupted and gone on with
from dse.campaign.evaluator import CatalogueSources, WorkloadEvaluatorFactory
from dse.campaign.folder import FolderRequest
from dse.campaign.plan import load_plan
from dse.campaign.session import SessionRequest, run_session
from dse.campaign.summary import winners

folder = Path(__file__).parents[2] / "mla_reuse_recompute"
with tempfile.TemporaryDirectory() as runs:
    plan = load_plan(folder / "smoke.yaml", CatalogueSources(str(folder)))
    request = SessionRequest(folder=FolderRequest(run_dir=Path(runs) / "smoke"))
    found = run_session(plan, WorkloadEvaluatorFactory(plan), request).run
    for row in winners(found):
        print(row)
