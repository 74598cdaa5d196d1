"""Counts of mappings of many blocks at once against those of each block, and large blocks by footprint against all their mappings."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dse.hw.accelerator import Dataflow
from dse.mapping import search as searching
from dse.mapping.cells import shares_of
from dse.mapping.comparison import Comparison
from dse.mapping.problem import MatmulProblem
from dse.mapping.search import everything, not_dominated, search
from dse.mapping.space import blocks
from dse.mapping.stack import Stack
from dse.plugins import load_accelerator

if TYPE_CHECKING:
    from dse.mapping.blocks import Block

CHIPS = ("rtx_pro_6000", "tpu_v4i", "tpu7x", "fusemax", "edge32")


def _blocks(chip: str, seed: int, most: int) -> list[Block]:
    """Blocks of a random product, at most so long in each dimension."""
    geometry, rng = load_accelerator(chip).geometry_for(), random.Random(seed)
    m, k, n = (rng.randint(1, most) for _ in range(3))
    problem = MatmulProblem(rng.choice((1, 3)), m, k, n, 8, 8, 16, 32, "bf16")
    problem = replace(problem, left_share=rng.choice((1.0, 0.37)), out_share=rng.choice((1.0, 0.61)), out_on_chip=rng.random() < 0.3)
    return [block for dataflow in geometry.array.dataflows for block in blocks(problem, geometry, Dataflow(dataflow))]


@pytest.mark.parametrize("chip", CHIPS)
def test_a_stack_counts_as_its_blocks(chip: str) -> None:
    for seed in range(3):
        found = [block for block in _blocks(chip, seed, 150) if block.size < 20000]
        stack = Stack.of(found, [np.ascontiguousarray(shares_of(block)) if block.shared_sums else None for block in found])
        number = np.concatenate([np.full(block.size, i) for i, block in enumerate(found)])
        m, k, n = (np.concatenate([np.broadcast_to(everything(b)[d], b.shape).ravel() for b in found]) for d in range(3))
        rows = np.concatenate([block.rows(everything(block)) for block in found])
        assert (rows == stack.rows(stack.at(number, (m, k, n)), number, rows[:, 5]).T).all()


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("swept", [99, -1])
def test_large_blocks_have_the_unbeaten_of_all_mappings(chip: str, swept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By footprint, and with all compared at the end, whatever the number of memories."""
    monkeypatch.setattr(searching, "SMALL", (200, 200))
    monkeypatch.setattr(searching, "ALONE", 200)
    monkeypatch.setattr(searching, "SWEPT", swept)
    for seed in range(2):
        found = _blocks(chip, seed, 90)
        comparison = Comparison.of(found[0].view.geometry, found[0].view.columns)
        rows = np.concatenate([block.rows(everything(block)) for block in found])
        every = comparison.columns(rows[np.isfinite(rows).all(axis=1)])
        expected = np.unique(every[not_dominated(every)], axis=0)
        assert (np.unique(comparison.columns(search(found)[0]), axis=0) == expected).all()
