"""Rows of frontiers and CPU seconds to find them, exact and without a cache: `python -m tests.benchmark.frontier_sizes [FILE]` prints a
summary and writes every product to a CSV."""

from __future__ import annotations

import csv
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from accelerators.catalogue import CATALOGUE
from dse.hw.accelerator import MemoryGeometry, OperandName
from dse.mapping.frontier import matmul_frontier
from dse.mapping.problem import MatmulProblem
from dse.plugins import load_accelerator

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dse.hw.accelerator import Geometry

SHAPES = (
    (1, 1536, 24576),
    (1, 7168, 1536),
    (1, 7168, 2048),
    (1, 16384, 7168),
    (8, 7168, 2048),
    (128, 128, 128),
    (128, 576, 4096),
    (128, 1536, 24576),
    (128, 4096, 512),
    (128, 7168, 576),
    (128, 7168, 1536),
    (128, 7168, 2048),
    (128, 16384, 7168),
    (2048, 7168, 1536),
)
"""M, K, N of the products that other mappers were run on: layers of DeepSeek-V3 in decode and prefill."""


SMALL_MACS = 3 * 10**8
"""Largest product for the two variants of edge32, whose frontiers have 100,000 rows and more beyond it."""


class Found(NamedTuple):
    """One frontier."""

    levels: int
    chip: str
    m: int
    k: int
    n: int
    rows: int
    cpu_s: float


def chips() -> Iterator[tuple[str, Geometry]]:
    """Every chip of the catalogue, and edge32 with one buffer for all inside its buffer, and with one for sums and one for inputs."""
    for name in CATALOGUE.names():
        yield name, load_accelerator(name).geometry_for()
    left, right, out = OperandName
    plain = load_accelerator("edge32").geometry_for()
    for name, held in (("edge32 + 1", ((left, right, out),)), ("edge32 + 2", ((out,), (left, right)))):
        inner = tuple(MemoryGeometry(double_buffered=True, overlapped=True, operands=operands) for operands in held)
        yield name, replace(plain, inner=inner)


def measured() -> Iterator[Found]:
    """All products on all chips, in bf16 with sums of 32 bits."""
    for name, geometry in chips():
        for m, k, n in SHAPES:
            if "+" in name and m * k * n > SMALL_MACS:
                continue
            problem = MatmulProblem(1, m, k, n, 16, 16, 16, 32, "bf16")
            start = time.process_time()
            frontier = matmul_frontier.__wrapped__(problem, geometry)
            seconds = time.process_time() - start
            assert frontier.excess == 0.0
            yield Found(1 + bool(geometry.inner), name, m, k, n, len(frontier), round(seconds, 4))


def summary(found: list[Found]) -> Iterator[str]:
    """Distribution of rows and seconds, by chips of one and of two levels on chip."""
    groups = {"one level": [x for x in found if x.levels == 1]}
    groups |= {name: [x for x in found if x.chip == name] for name in dict.fromkeys(x.chip for x in found if x.levels == 2)}
    for name, here in groups.items():
        rows, seconds = sorted(x.rows for x in here), sorted(x.cpu_s for x in here)
        limit = 0.1 if here[0].levels == 1 else 0.5
        yield (
            f"{name}: {len(here)} frontiers; rows {_spread(rows, ',.0f')}; CPU s {_spread(seconds, '.3f')} (least / median / nine in ten / most); "
            f"{sum(s < limit for s in seconds)} below {limit:g} s"
        )


def _spread(values: Sequence[float], form: str) -> str:
    """Least, median, what nine in ten are at most, and most of sorted values."""
    nine_in_ten = values[-(-9 * len(values) // 10) - 1]
    return " / ".join(format(v, form) for v in (values[0], statistics.median(values), nine_in_ten, values[-1]))


def main(file: str | None) -> None:
    """Measure, print the summary, write the CSV."""
    found = list(measured())
    print(*summary(found), sep="\n")
    if file:
        with Path(file).open("w", newline="", encoding="utf-8") as target:
            writer = csv.writer(target)
            writer.writerow(Found._fields)
            writer.writerows(found)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
