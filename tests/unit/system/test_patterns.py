"""Patterns of degrees: every legal combination once, every other one with its reason."""

from itertools import product

import pytest

from dse.errors import UsageError
from dse.mapping.factors import divisors
from dse.plugins import load_system
from dse.serving_case import serving_case
from dse.system.parallel import Parallel, refusal
from dse.system.patterns import plans_of
from dse.workload import WorkloadOptions

WORK = serving_case(WorkloadOptions(model="deepseek_v2_lite"), load_system("b200_x32").system).work


def test_finds_what_trying_everything_finds() -> None:
    found = plans_of("tp=*,cp=*,dp=*,pp=*,ep=*,moe_tp=*", WORK, 8)
    d = divisors(8)
    tried = [Parallel(tp=a, cp=b, dp=c, pp=e, ep=f, moe_tp=g) for a, b, c, e, f, g in product(d, d, d, d, d, d)]
    assert set(found.legal) == {p for p in tried if refusal(p, WORK, 8) is None}
    assert len(found.legal) + len(found.refused) == len(tried)
    assert all(reason for _, reason in found.refused)


def test_copies_overlap_and_alternatives() -> None:
    found = plans_of("tp=1|2,ep=8,redundant=*,microbatches=*", WORK, 8)
    assert {(p.tp, p.redundant, p.microbatches) for p in found.legal} == {(t, r, m) for t in (1, 2) for r in (0, 8, 16) for m in (1, 2)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tp=3|5", "none of 2 combinations is legal"),
        ("slots=*,tp=*", "slots is what there is room for"),
        ("tp=*,tq=1", "allowed degrees are"),
    ],
)
def test_refuses(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plans_of(text, WORK, 8)
