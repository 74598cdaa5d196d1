"""Groups of repeated blocks, found once and moved: the same as each found at its place."""

import numpy as np
import pytest

from dse.schedule.lattice import dependences, every_group
from dse.schedule.repeats import Repeats

from .graphs import attention, branches, swiglu_chain
from .test_choice import ELEMENTS, LARGEST, builder_of


@pytest.mark.parametrize(
    ("graph", "some_repeat"),
    [
        (branches(8, 16, (0,) * 40), True),
        (swiglu_chain(8, 16, 32, 9), True),
        (branches(8, 16, (2,) * 12), True),
        (branches(8, 16, (3, 2, 4, 1, 3, 2, 2, 2)), False),
        (attention(64, 96, 16, 8), False),
    ],
    ids=["chain", "swiglu", "forks", "unlike_forks", "attention"],
)
def test_moved_groups_are_those_found_at_their_place(graph, some_repeat: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    builder = builder_of(graph)
    deps = dependences(builder)
    made = []
    keep = Repeats.keep
    monkeypatch.setattr(Repeats, "keep", lambda self, context, fronts: (made.append(context.first), keep(self, context, fronts)))
    moved = every_group(builder, deps, LARGEST, ELEMENTS)
    assert (len(made) < len(builder.order)) is some_repeat
    monkeypatch.setattr(Repeats, "known", lambda *_: None)
    each = every_group(builder, deps, LARGEST, ELEMENTS)
    assert [(f.members, f.ways) for f in moved] == [(f.members, f.ways) for f in each]
    for one, other in zip(moved, each, strict=True):
        for name in ("peak_bytes", "dram_bytes", "cycles"):
            assert np.array_equal(getattr(one, name), getattr(other, name))
