"""Shards: the space in parts, on as many machines; their fronts put together are the front."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dse.campaign.compare import differing_designs
from dse.campaign.folder import FolderRequest
from dse.campaign.merge import merge, shards_in
from dse.campaign.session import SessionRequest, run_session
from dse.errors import RunError
from tests.campaign_process import CODE_VERSION
from tests.search_fakes import FakeFactory, fake_plan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dse.campaign.view import Run

WHOLE = (("sampler: tpe", "sampler: auto"), ("trials: 40", "trials: 120"))


@pytest.fixture(scope="module", autouse=True)
def one_code_version() -> Iterator[None]:
    """Somebody may edit the source while the tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dse.campaign.session.code_version", lambda: CODE_VERSION)
        yield


def shard(folder: Path, index: int, count: int, *changes: tuple[str, str]) -> Run:
    plan = replace(fake_plan(*changes), shard=(index, count))
    return run_session(plan, FakeFactory(), SessionRequest(folder=FolderRequest(run_dir=folder))).run


def test_enumerated_shards_make_the_exact_front(tmp_path: Path) -> None:
    runs = [shard(tmp_path, index, 3, *WHOLE) for index in range(3)]
    assert [run.folder.name for run in runs] == [f"shard-{i}-of-3" for i in (1, 2, 3)]
    assert sum(len(run.records) for run in runs) == 120
    assert not any(run.exact for run in runs)
    part = merge(shards_in(tmp_path)[:2], tmp_path / "merged")
    assert not part.exact
    merged = merge(shards_in(tmp_path), tmp_path / "merged")
    assert merged.exact
    alone = run_session(fake_plan(*WHOLE), FakeFactory(), SessionRequest(folder=FolderRequest(run_dir=tmp_path / "alone"))).run
    designs = [[(member.outer, member.design) for member in run.archive.members] for run in (alone, merged)]
    assert designs[0] == designs[1]
    assert (tmp_path / "merged" / "pareto.csv").exists()


@pytest.mark.parametrize("sampler", ["tpe", "surrogate", "nsga2"])
def test_shards_of_a_sampler_share_the_budget_and_no_choice(tmp_path: Path, sampler: str) -> None:
    runs = [shard(tmp_path, index, 2, ("sampler: tpe", f"sampler: {sampler}")) for index in range(2)]
    assert [len(run.records) for run in runs] == [20, 20]
    merged = merge(shards_in(tmp_path), tmp_path / "merged")
    assert len({record.outer for record in merged.records}) == 40
    assert [record.number for record in merged.records] == list(range(40))


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    shard(tmp_path / "a", 0, 2)
    shard(tmp_path / "b", 1, 2, ("seed: 7", "seed: 8"))
    shard(tmp_path / "c", 0, 3)
    whole = run_session(fake_plan(), FakeFactory(), SessionRequest(folder=FolderRequest(run_dir=tmp_path / "whole"))).run.folder
    one = tmp_path / "a" / "shard-1-of-2"
    for other, message in (
        (tmp_path / "b" / "shard-2-of-2", "another configuration"),
        (tmp_path / "c" / "shard-1-of-3", "is one of 3 shards"),
        (one, "the same shard"),
        (whole, "is no shard"),
    ):
        with pytest.raises(RunError, match=message):
            merge([one, other], tmp_path / "merged")
    with pytest.raises(RunError, match="not made by dse merge"):
        merge([one], whole)


def test_designs_on_one_front_only(tmp_path: Path) -> None:
    one, other = (shard(tmp_path / str(seed), 0, 1, ("seed: 7", f"seed: {seed}")) for seed in (1, 2))
    rows = differing_designs(str(one.folder), str(other.folder))
    fronts = [{tuple(sorted(run.parameters(member).items())) for member in run.archive.members} for run in (one, other)]
    assert [row["only_in"] for row in rows].count("a") == len(fronts[0] - fronts[1]) > 0
    assert [row["only_in"] for row in rows].count("b") == len(fronts[1] - fronts[0])
    assert differing_designs(str(one.folder), str(one.folder)) == []
