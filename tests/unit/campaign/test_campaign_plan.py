"""From campaign text to plan: spellings of values, levels, defaults, settings, problems with their lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from dse.campaign.form import ValuesForm
from dse.campaign.plan import expand, load_plan, make_plan, scale
from dse.errors import InputError
from dse.files import dump_yaml, parse_yaml
from dse.search.space import Scale
from tests.search_fakes import CAMPAIGN, FakeSources, fake_plan


@pytest.mark.parametrize(
    ("form", "values", "kind"),
    [
        (ValuesForm(values=("a", "b")), ("a", "b"), Scale.CATEGORICAL),
        (ValuesForm(values=(1, 3, 2)), (1, 3, 2), Scale.CATEGORICAL),
        (ValuesForm(values=(3, 2, 1)), (3, 2, 1), Scale.ORDERED),
        (ValuesForm(power_of_two=(4, 32)), (4, 8, 16, 32), Scale.POWER_OF_TWO),
        (ValuesForm(linear=(1.0, 2.0, 5)), (1.0, 1.25, 1.5, 1.75, 2.0), Scale.ORDERED),
        (ValuesForm(log=(10.0, 1000.0, 3)), (10.0, 100.0, 1000.0), Scale.ORDERED),
    ],
)
def test_spellings(form: ValuesForm, values: tuple[object, ...], kind: Scale) -> None:
    found = expand(form, integer=False)
    assert found == values
    assert scale(form, found or ()) is kind


def test_whole_numbers_stay_whole() -> None:
    assert expand(ValuesForm(linear=(16, 64, 4)), integer=True) == (16, 32, 48, 64)
    assert expand(ValuesForm(linear=(1, 2, 3)), integer=True) is None


def test_levels_follow_from_what_a_field_does() -> None:
    plan = fake_plan()
    assert [d.path for d in plan.space.outer] == ["accelerator", "core.array.rows", "workload.attention", "workload.batch"]
    assert [d.path for d in plan.space.inner] == ["memories.dram.bandwidth_gb_per_s", "memories.sram.capacity_kib"]
    assert plan.space.outer_size == 2 * 5 * 3 * 4
    assert plan.form.workload.attention == "plain"  # the model's first scheme


def test_auto_is_resolved_and_the_budget_is_at_most_the_space() -> None:
    plan = fake_plan(("sampler: tpe", "sampler: auto"), ("trials: 40", "trials: 500"))
    assert plan.sampler.name == "exhaustive"
    assert plan.trials == 120


def test_the_resolved_configuration_is_a_campaign_with_the_same_plan() -> None:
    plan = fake_plan()
    again = make_plan(parse_yaml(dump_yaml(plan.resolved()), "again.yaml"), FakeSources())
    assert (again.form, again.space, again.goals, again.sampler) == (plan.form, plan.space, plan.goals, plan.sampler)


def test_settings(tmp_path: Path) -> None:
    file = tmp_path / "campaign.yaml"
    file.write_text(CAMPAIGN, encoding="utf-8")
    plan = load_plan(file, FakeSources(), ["seed=3", "budget.timeout_s=5.0", "space.workload.batch=[2, 4]", "workload.cache_len=128"])
    assert plan.form.seed == 3
    assert plan.form.budget.timeout_s == 5.0
    assert plan.space.outer[3].values == (2, 4)
    assert plan.form.workload.cache_len == 128


PROBLEMS = [
    (
        "workload.batch: {linear",
        "workload.bach: {linear",
        "fake.yaml:10: 'space.workload.bach' is not known",
        "Did you mean 'workload.batch'?",
    ),
    ("core.array.rows:", "core.array.row:", "fake.yaml:8: 'space.core.array.row' is not known", "Did you mean 'core.array.rows'?"),
    ("[plain, reuse, recompute]", "[plain, reus]", "fake.yaml:9: attention scheme 'reus' is not known", "Did you mean 'reuse'?"),
    ("[plain, reuse, recompute]", "[]", "fake.yaml:9", "at least 1"),
    ("[plain, reuse, recompute]", "[plain, plain]", "fake.yaml:9", "given twice"),
    ("[8, 128]", "[8, 100]", "fake.yaml:8", "powers of two such as 64 or 1024, not 100"),
    ("[8, 128]", "[128, 8]", "fake.yaml:8", "swap them"),
    ("{log: [10, 640, 7]}", "{log: [0, 640, 7]}", "fake.yaml:11", "starts above 0"),
    ("{log: [10, 640, 7]}", "{log: [640, 10, 7]}", "fake.yaml:11", "must be below"),
    ("{log: [10, 640, 7]}", "{log: [10, 640, 1]}", "fake.yaml:11", "between 2 and"),
    ("{log: [10, 640, 7]}", "{}", "fake.yaml:11", "exactly one of values"),
    ("{log: [10, 640, 7]}", "{values: [-1, 5]}", "fake.yaml:11", "-1 does not fit chip_a: must be a number above 0"),
    ("{linear: [1, 4, 4]}", "{linear: [1, 4, 3]}", "fake.yaml:10", "whole numbers"),
    ("{linear: [1, 4, 4]}", "{values: [0, 1]}", "fake.yaml:10", "greater than or equal to 1"),
    ("metric: tokens_per_s", "metric: token_per_s", "fake.yaml:16", "Did you mean 'tokens_per_s'?"),
    ("metric: joules_per_token", "metric: tokens_per_s", "fake.yaml", "given twice"),
    ("max: 120", "max: 120, min: 1", "fake.yaml:14", "exactly one of max and min"),
    ("model: tiny", "model: tinny", "fake.yaml:5", "model 'tinny' is not known"),
    ("chip_b]", "other]", "fake.yaml:6", "accelerator 'other' is not known"),
    ("chip_b]", "chip_a]", "fake.yaml:6", "given twice"),
    ("sampler: tpe", "sampler: tpee", "fake.yaml:19", "Did you mean 'tpe'?"),
    ("budget: {trials: 40}", "budget: {trials: 0}", "fake.yaml:18", "at least 1"),
    ("layer: 0}", "layer: 0, precision: bf15}", "fake.yaml:5", "Did you mean 'bf16'?"),
    ("sampler: tpe", "reference_point: {tokens_per_s: 0}", "fake.yaml", "one value for each objective"),
]


@pytest.mark.parametrize(("old", "new", "where", "what"), PROBLEMS, ids=[f"{n}" for n in range(len(PROBLEMS))])
def test_problems(old: str, new: str, where: str, what: str) -> None:
    with pytest.raises(InputError) as caught:
        fake_plan((old, new))
    message = str(caught.value)
    assert message.startswith(where), message
    assert what in message


def test_a_space_with_nothing_to_vary_is_empty() -> None:
    text = CAMPAIGN[: CAMPAIGN.index("space:")] + "space: {}\n" + CAMPAIGN[CAMPAIGN.index("constraints:") :]
    with pytest.raises(InputError, match=r"fake.yaml:7: 'space' is empty"):
        make_plan(parse_yaml(text.replace("[chip_a, chip_b]", "chip_a"), "fake.yaml"), FakeSources())


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(InputError) as caught:
        fake_plan(("core.array.rows:", "core.array.row:"), ("workload.batch: {", "workload.bach: {"))
    assert len(caught.value.problems) == 2
