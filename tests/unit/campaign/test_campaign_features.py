"""Limits, several workloads, matrices, includes, seeds, stagnation, and what happens to trials that end their process."""

from __future__ import annotations

from pathlib import Path

import pytest

from dse.campaign.evaluator import CatalogueSources, WorkloadEvaluatorFactory
from dse.campaign.folder import FolderRequest
from dse.campaign.include import cells, load_campaign
from dse.campaign.plan import load_plans
from dse.campaign.runner import Stagnation, stagnated
from dse.campaign.session import SessionRequest, SessionResult, run_session
from dse.campaign.summary import all_runs, diagnosis, run_rows, winners
from dse.campaign.version import input_hashes
from dse.cli import main
from dse.errors import ExitCode, InputError, RunError, UsageError
from dse.files import parse_yaml
from tests.search_fakes import CAMPAIGN, FakeFactory, FakeSources, fake_plan

LIMITED = (
    "constraints:",
    "limits: ['core.array.rows * workload.batch <= 64', 'memories.sram.capacity_kib >= core.array.rows']\nconstraints:",
)


def session(folder: Path, *changes: tuple[str, str], workers: int = 1, factory: FakeFactory | None = None, **more: object) -> SessionResult:
    request = SessionRequest(folder=FolderRequest(run_dir=folder), workers=workers, **more)  # type: ignore[arg-type]
    return run_session(fake_plan(*changes), factory or FakeFactory(), request)


def test_limits_leave_out_choices_and_points(tmp_path: Path) -> None:
    run = session(tmp_path, LIMITED, ("sampler: tpe", "sampler: auto"), ("trials: 40", "trials: 200")).run
    space = run.header.space
    allowed = [i for i in range(space.outer_size) if space.choice(i)["core.array.rows"] * space.choice(i)["workload.batch"] <= 64]  # type: ignore[operator]
    assert sorted(record.outer for record in run.records) == allowed
    assert run.exact
    for record in run.records:
        rows = space.choice(record.outer)["core.array.rows"]
        assert all(space.parameters(record.outer, d.inner)["memories.sram.capacity_kib"] >= rows for d in record.front)  # type: ignore[operator]
    # 64 rows: 16 and 32 KiB are out, 2 of 5 capacities at 7 bandwidths
    assert next(r for r in run.records if space.choice(r.outer)["core.array.rows"] == 64).excluded == 14


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_samplers_keep_the_limits(tmp_path: Path, sampler: str) -> None:
    run = session(tmp_path, LIMITED, ("sampler: tpe", f"sampler: {sampler}"), ("trials: 40", "trials: 30")).run
    assert len({record.outer for record in run.records}) == 30
    assert all(run.header.choices.allows(record.outer) for record in run.records)


def test_a_constraint_on_area_that_nothing_meets_prices_nothing(tmp_path: Path) -> None:
    result = session(tmp_path, ("max: 120", "max: 0.1"))
    assert result.exit_code is ExitCode.NOTHING_FEASIBLE
    assert result.run.priced == 0
    assert "area_mm2 <= 0.1 mm2: violated by" in diagnosis(result.run)
    assert "nearest miss, trial" in diagnosis(result.run)


def test_limits_that_no_inner_point_meets(tmp_path: Path) -> None:
    result = session(tmp_path, ("constraints:", "limits: [memories.sram.capacity_kib > 1000]\nconstraints:"))
    assert result.exit_code is ExitCode.NOTHING_FEASIBLE
    assert "limit: memories.sram.capacity_kib > 1000" in diagnosis(result.run)


def test_several_workloads_make_scenarios() -> None:
    plan = fake_plan(
        (
            "workload: {model: tiny, cache_len: 4096, part: attention, layer: 0}",
            "workloads: {short: {model: tiny, cache_len: 8}, long: {model: tiny, cache_len: 8, weight: 3, over: {cache_len: [16, 32]}}}",
        ),
        ("- metric: tokens_per_s", "- {metric: tokens_per_s, workload: long, across: worst}"),
        ("- metric: joules_per_token", "- {metric: tpot_s, workload: short}"),
    )
    assert [(s.name, s.group, s.weight) for s in plan.goals.scenarios] == [
        ("short", "short", 1.0),
        ("long[cache_len=16]", "long", 1.5),
        ("long[cache_len=32]", "long", 1.5),
    ]
    assert plan.goals.objectives == ("long.worst.tokens_per_s", "short.tpot_s")
    assert plan.goals.report == "mix.edp_js"


def test_a_trial_that_ends_its_process_is_set_aside(tmp_path: Path) -> None:
    poison = (("workload.attention", "reuse"), ("core.array.rows", 32), ("workload.batch", 2), ("accelerator", "chip_a"))
    changes = (("sampler: tpe", "sampler: exhaustive"), ("trials: 40", "trials: 120"))
    result = session(tmp_path / "poisoned", *changes, workers=2, factory=FakeFactory(die_on=poison))
    assert result.exit_code is ExitCode.FAILED_TRIALS
    assert len(result.run.records) == 120
    (failure,) = result.run.failures
    assert result.run.header.space.choice(failure.outer).items() >= dict(poison).items()
    assert failure.error.startswith("WorkerEnded: ")
    healthy = session(tmp_path / "healthy", *changes).run
    assert [r for r in healthy.records if r.outer != failure.outer] == [r for r in result.run.records if r.outer != failure.outer]


def test_warm_start_and_low_fidelity_come_first(tmp_path: Path) -> None:
    earlier = session(tmp_path / "a", ("trials: 40", "trials: 20")).run
    run = session(tmp_path / "b", ("seed: 7", "seed: 8"), warm_start=(str(tmp_path / "a"),)).run
    seeds = run.header.seeds
    assert seeds
    assert set(seeds) <= {member.outer for member in earlier.archive.members}
    assert [record.outer for record in run.records[: len(seeds)]] == list(seeds)
    low = session(tmp_path / "c", ("sampler: tpe", "sampler: tpe\nseeding: {low_fidelity: {screen: 60, keep: 5}}")).run
    assert [record.outer for record in low.records[:5]] == list(low.header.seeds)
    assert len(low.header.seeds) == 5


def test_stagnation_by_hand_and_in_a_run(tmp_path: Path) -> None:
    rule = Stagnation(trials=10, growth=0.01)
    assert not stagnated([], rule)
    assert not stagnated([(5, 1.0), (10, 1.0)], rule)  # too early
    assert stagnated([(5, 1.0), (10, 1.001), (15, 1.005)], rule)
    assert not stagnated([(5, 1.0), (10, 1.001), (15, 1.05)], rule)
    result = session(tmp_path, ("trials: 40}", "trials: 100, stagnation: {trials: 20, growth: 0.9}}"))
    assert result.stop.value == "stagnated"
    assert result.exit_code is ExitCode.DONE
    assert len(result.run.records) < 100
    again = session(tmp_path, ("trials: 40}", "trials: 100, stagnation: {trials: 20, growth: 0.9}}"))
    assert len(again.run.records) == len(result.run.records)


def test_includes_lie_below_and_keep_their_lines(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(CAMPAIGN, encoding="utf-8")
    text = "include: base.yaml\nname: mine\nspace:\n  workload.batch: {values: [2]}\nbudget: {timeout_s: 5.0}\n"
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    document = load_campaign(tmp_path / "mine.yaml", ["seed=3"])
    (plan,) = load_plans(tmp_path / "mine.yaml", FakeSources(), ["seed=3"])
    assert (plan.form.name, plan.form.seed, plan.form.budget.trials, plan.form.budget.timeout_s) == ("mine", 3, 40, 5.0)
    assert plan.space.outer[3].values == (2,)
    assert document.where(("space", "workload.batch")).endswith("mine.yaml:4")
    assert document.where(("space", "core.array.rows")).endswith("base.yaml:8")


def test_a_matrix_is_a_run_for_every_combination(tmp_path: Path) -> None:
    text = CAMPAIGN.replace("accelerator: [chip_a, chip_b]", "accelerator: chip_a\nmatrix: {accelerator: [chip_a, chip_b], seed: [1, 2]}")
    (tmp_path / "m.yaml").write_text(text.replace("trials: 40", "trials: 10"), encoding="utf-8")
    plans = load_plans(tmp_path / "m.yaml", FakeSources())
    assert [(p.cell, p.accelerators, p.form.seed) for p in plans] == [
        ("chip-a_1", ("chip_a",), 1),
        ("chip-a_2", ("chip_a",), 2),
        ("chip-b_1", ("chip_b",), 1),
        ("chip-b_2", ("chip_b",), 2),
    ]
    for plan in plans:
        run_session(plan, FakeFactory(), SessionRequest(folder=FolderRequest(run_dir=tmp_path / "runs")))
    rows = run_rows(all_runs(tmp_path / "runs"))
    assert [Path(str(row["run"])).name for row in rows] == [p.cell for p in plans]
    assert all(row["trials"] == 10 for row in rows)
    with pytest.raises(InputError, match="list of values"):
        cells(parse_yaml("matrix: {seed: 1}", "x.yaml"))


@pytest.mark.slow
def test_dask_gives_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="dask.distributed is not installed (extra 'dask')")
    changes = (("trials: 40", "trials: 20"),)
    session(tmp_path / "here", *changes)
    session(tmp_path / "dask", *changes, cluster="dask://local?workers=2")
    for name in ("results.jsonl", "trials.csv", "pareto.json"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "dask" / name).read_bytes()


def test_a_cluster_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"dask://HOST:PORT|not installed"):
        session(tmp_path, cluster="ray://x")


MOE = """\
schema_version: 1
name: robust
workload:
  model: deepseek_v2_lite
  cache_len: 1024
  batch: 16
  part: ffn
  layer: 3
  over: {routing: [uniform, "zipf:1.2", "histogram:loads.csv", worst]}
accelerator: flat_cloud
space:
  memories.dram.bandwidth_gb_per_s: {values: [100, 400, 1600]}
objectives:
  - {metric: latency_s, across: worst}
  - {metric: joules_per_token, across: mix}
"""


def test_robust_objectives_over_routings(tmp_path: Path) -> None:
    """The worst over several routings of the experts, one of them measured; a changed file is another campaign."""
    (tmp_path / "robust.yaml").write_text(MOE, encoding="utf-8")
    (tmp_path / "loads.csv").write_text("".join(f"{1 + e % 7}\n" for e in range(64)), encoding="utf-8")
    (plan,) = load_plans(tmp_path / "robust.yaml", CatalogueSources(str(tmp_path)))
    assert [name for name, _ in input_hashes(plan)] == ["histogram:loads.csv"]
    run = run_session(plan, WorkloadEvaluatorFactory(plan), SessionRequest(folder=FolderRequest(run_dir=tmp_path / "run"))).run
    names = [f"step[routing={r}].latency_s" for r in ("uniform", "zipf:1.2", "histogram:loads.csv", "worst")]
    for member in run.archive.members:
        single = [member.design.metrics[name] for name in names]
        assert member.design.metrics["worst.latency_s"] == max(single)
        assert len(set(single)) > 1  # fewer distinct experts are read where the load is skewed
    (tmp_path / "loads.csv").write_text("1\n" * 64, encoding="utf-8")
    request = SessionRequest(folder=FolderRequest(run_dir=tmp_path / "run"), inputs=input_hashes(plan))
    with pytest.raises(RunError, match=r"inputs\.histogram:loads\.csv"):
        run_session(plan, WorkloadEvaluatorFactory(plan), request)


def test_robust_objectives_over_drawn_loads(tmp_path: Path) -> None:
    text = MOE.replace(
        'over: {routing: [uniform, "zipf:1.2", "histogram:loads.csv", worst]}', 'routing: "zipf:0.8"\n  over: {seed: [1, 2, 3]}'
    )
    (tmp_path / "robust.yaml").write_text(text, encoding="utf-8")
    (plan,) = load_plans(tmp_path / "robust.yaml", CatalogueSources(str(tmp_path)))
    run = run_session(plan, WorkloadEvaluatorFactory(plan), SessionRequest(folder=FolderRequest(run_dir=tmp_path / "run"))).run
    best = run.archive.members[0].design.metrics
    drawn = [best[f"step[seed={seed}].latency_s"] for seed in (1, 2, 3)]
    assert best["worst.latency_s"] == max(drawn)
    assert len(set(drawn)) > 1


def test_a_run_of_hardware_named_by_path_is_traced_from_anywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "home"
    home.mkdir()
    own = Path(__file__).parents[3] / "accelerators" / "catalogue" / "flat_edge.yaml"
    (home / "mine.yaml").write_text(own.read_text(encoding="utf-8"), encoding="utf-8")
    text = MOE.replace("flat_cloud", "./mine.yaml").replace("part: ffn", "part: attention").replace(", across: worst", "")
    text = text.replace('  over: {routing: [uniform, "zipf:1.2", "histogram:loads.csv", worst]}\n', "").replace(", across: mix", "")
    (home / "own.yaml").write_text(text, encoding="utf-8")
    assert main(["search", str(home / "own.yaml"), "--run-dir", str(tmp_path / "runs" / "one")]) == 0
    assert main(["trace", str(tmp_path / "runs"), "-o", str(tmp_path / "trace.json"), "--no-pictures"]) == 0
    capsys.readouterr()
    assert (tmp_path / "trace.json").stat().st_size > 0


def test_a_summary_compares_hypervolumes_under_one_reference_point(tmp_path: Path) -> None:
    """A run over all of the space holds at least as much as one over a part of it, whatever its own first batch was."""
    whole = session(tmp_path / "whole", ("sampler: tpe", "sampler: exhaustive"), ("trials: 40", "trials: 120")).run
    parts = [session(tmp_path / f"part{seed}", ("seed: 7", f"seed: {seed}"), ("trials: 40", "trials: 10")).run for seed in range(3)]
    assert len({run.archive.reference for run in (whole, *parts)}) > 1
    rows = run_rows([whole, *parts])
    assert max(float(str(row["hypervolume"])) for row in rows) == float(str(rows[0]["hypervolume"]))
    assert run_rows([whole])[0]["hypervolume"] == whole.archive.hypervolume


def test_a_scheme_that_was_tried_alone_has_no_lead(tmp_path: Path) -> None:
    rows = winners(session(tmp_path, ("[plain, reuse, recompute]", "[plain]"), ("trials: 40", "trials: 10")).run)
    assert rows
    assert all(row["lead"] is None for row in rows)
