"""Which counts of two mappings are compared."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dse.hw.accelerator import MemoryGeometry, OperandName
from dse.mapping.comparison import Comparison
from dse.mapping.counts import COUNT_NAMES
from dse.mapping.frontier import every_mapping
from dse.mapping.problem import MatmulProblem
from dse.plugins import load_accelerator

LEFT, RIGHT, OUT = OperandName
SUMS, INPUTS = (MemoryGeometry(double_buffered=True, operands=operands) for operands in ((OUT,), (LEFT, RIGHT)))
WRITTEN = len(COUNT_NAMES) + 2
"""Column of bytes written to the innermost memory."""


@pytest.mark.parametrize("array", ["edge32", "tpu_v4i"])
@pytest.mark.parametrize("changed", [{}, {"out_on_chip": True}, {"groups": 3, "out_share": 0.37}])
def test_what_a_buffer_for_sums_takes_is_read_again(array: str, changed: dict[str, float]) -> None:
    """So one of the two is compared."""
    geometry = replace(load_accelerator(array).geometry_for(), inner=(SUMS, INPUTS))
    problem = replace(MatmulProblem(1, 96, 130, 70, 8, 8, 8, 32, "int8"), **changed)  # type: ignore[arg-type]  # numbers and flags
    compared = Comparison.of(geometry, WRITTEN + 4)
    assert compared.same == (WRITTEN,) and compared.width == WRITTEN + 2
    parts = [counts.matrix() for counts, _ in every_mapping(problem, geometry, most=10**7, capacities=(1e9,) * 3)]
    assert sum((rows[:, WRITTEN] > 0).sum() for rows in parts) > 100
    for rows in parts:
        assert rows[:, WRITTEN - 1] == pytest.approx(rows[:, WRITTEN], rel=1e-12)
        assert (compared.counted(compared.laid(rows)) == rows).all()


def test_buffers_for_more_than_sums_are_compared_in_both() -> None:
    geometry = replace(load_accelerator("edge32").geometry_for(), inner=(INPUTS, replace(SUMS, operands=(LEFT, OUT))))
    assert Comparison.of(geometry, WRITTEN + 4).same == ()
