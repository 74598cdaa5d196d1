"""A closed-form roofline behind the evaluator interface, importable by worker processes, and small plans over it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.campaign.plan import Plan, make_plan
from dse.campaign.sources import MAX_INNER
from dse.cost.metrics import Priced
from dse.errors import UsageError
from dse.files import parse_yaml
from dse.search.evaluator import Ceilings
from dse.search.goals import Constraint, Goals
from dse.search.space import Dimension, Scale, Space

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from dse.search.space import Value

MACS = 1e9
BYTES = 1e8
SCHEMES = ("plain", "reuse", "recompute")
_MACS = {"plain": 1.0, "reuse": 1.4, "recompute": 20.0}
_BYTES = {"plain": 1.2, "reuse": 1.4, "recompute": 1.0}

SPACE = Space(
    (
        Dimension("core.array.rows", (8, 16, 32, 64, 128), Scale.POWER_OF_TWO),
        Dimension("workload.attention", SCHEMES, Scale.CATEGORICAL),
        Dimension("workload.batch", (1, 2, 3, 4), Scale.ORDERED),
    ),
    (
        Dimension("memories.dram.bandwidth_gb_per_s", (10.0, 40.0, 160.0, 640.0), Scale.ORDERED),
        Dimension("memories.sram.capacity_kib", (16, 32, 64, 128, 256), Scale.POWER_OF_TWO),
    ),
)
GOALS = Goals(("tokens_per_s", "joules_per_token"), (Constraint("area_mm2", 120.0, at_least=False),))


@dataclass(frozen=True)
class FakePrepared:
    """time = max(MACs / peak, bytes / bandwidth), energy linear in both and dearer per byte with more bandwidth."""

    choice: Mapping[str, Value]

    @property
    def macs(self) -> float:
        return MACS * _MACS[str(self.choice.get("workload.attention", "plain"))] * self._batch

    @property
    def compulsory_bytes(self) -> float:
        return BYTES * _BYTES[str(self.choice.get("workload.attention", "plain"))]

    @property
    def _batch(self) -> float:
        return float(str(self.choice.get("workload.batch", 1)))

    @property
    def tokens_per_sequence(self) -> tuple[float, ...]:
        return (1.0,)

    def design(self, columns: Mapping[str, NDArray[np.float64]], size: int) -> Mapping[str, NDArray[np.float64]]:
        return {"area_mm2": self._price(columns, size).area_mm2}

    def fits(self, columns: Mapping[str, NDArray[np.float64]], size: int) -> NDArray[np.bool_]:
        return np.ones(size, dtype=np.bool_)

    def price(self, columns: Mapping[str, NDArray[np.float64]], size: int) -> Sequence[Priced]:
        return (self._price(columns, size),)

    def _price(self, columns: Mapping[str, NDArray[np.float64]], size: int) -> Priced:
        rows = float(str(self.choice.get("core.array.rows", 64)))
        bandwidth = columns.get("memories.dram.bandwidth_gb_per_s", np.full(size, 100.0)) * 1e9
        capacity = columns.get("memories.sram.capacity_kib", np.full(size, 64.0))
        moved = self.compulsory_bytes * (1 + 8 / capacity)
        latency = np.maximum(self.macs / (rows * rows * 1e9), moved / bandwidth)
        energy = self.macs * 1e-12 * (1 + 4 / rows) + moved * 20e-12 + moved * bandwidth * 1e-23
        area = rows * rows * 0.01 + capacity * 0.1 + bandwidth * 1e-10
        fits = capacity >= 32
        return Priced(
            int(self._batch),
            np.where(fits, latency, np.inf),
            np.where(fits, energy, np.inf),
            area,
            moved,
            np.where(fits, np.where(moved / bandwidth >= latency, 4, 0), -1).astype(np.int8),
            fits,
        )

    def ceilings(self, columns: Mapping[str, NDArray[np.float64]], size: int) -> Ceilings:
        rows = float(str(self.choice.get("core.array.rows", 64)))
        bandwidth = columns.get("memories.dram.bandwidth_gb_per_s", np.full(size, 100.0)) * 1e9
        return Ceilings(np.full(size, rows * rows * 1e9), bandwidth)


@dataclass(frozen=True)
class FakeEvaluator:
    delay_s: float = 0.0
    fail_on: tuple[tuple[str, Value], ...] = ()
    die_on: tuple[tuple[str, Value], ...] = ()
    """Choices that end the process; only for worker processes."""

    def screen(self, choice: Mapping[str, Value]) -> FakePrepared:
        return FakePrepared(choice)

    def rough(self, choice: Mapping[str, Value]) -> FakePrepared:
        return FakePrepared(choice)

    def prepare(self, choice: Mapping[str, Value]) -> FakePrepared:
        if self.delay_s:
            time.sleep(self.delay_s)
        if any(choice.get(path) == value for path, value in self.fail_on):
            raise UsageError("this choice cannot be evaluated")
        if self.die_on and all(choice.get(path) == value for path, value in self.die_on):
            os._exit(9)
        return FakePrepared(choice)


@dataclass(frozen=True)
class FakeFactory:
    delay_s: float = 0.0
    fail_on: tuple[tuple[str, Value], ...] = ()
    die_on: tuple[tuple[str, Value], ...] = ()

    def __call__(self) -> FakeEvaluator:
        return FakeEvaluator(self.delay_s, self.fail_on, self.die_on)


@dataclass(frozen=True)
class FakeField:
    path: str
    prices_only: bool
    integer: bool
    value: Value = 64


class FakeSources:
    """One model and accelerators that all have the same three fields."""

    def schemes(self, model: str) -> tuple[str, ...]:
        if model != "tiny":
            raise UsageError(f"model '{model}' is not known; known: tiny")
        return SCHEMES

    def fields(self, accelerator: str) -> Sequence[FakeField]:
        if not accelerator.startswith("chip"):
            raise UsageError(f"accelerator '{accelerator}' is not known")
        return (
            FakeField("core.array.rows", False, True),
            FakeField("memories.dram.bandwidth_gb_per_s", True, False),
            FakeField("memories.sram.capacity_kib", True, False),
        )

    def check(self, accelerator: str, values: Mapping[str, Value]) -> tuple[str, ...]:
        if not all(isinstance(value, (int, float)) and value > 0 for value in values.values()):
            raise UsageError("must be a number above 0")
        return ()

    def most_inner(self, accelerator: str) -> int:
        del accelerator
        return MAX_INNER


CAMPAIGN = """\
schema_version: 1
name: fake
question: Which <b>scheme</b> wins?
seed: 7
workload: {model: tiny, cache_len: 4096, part: attention, layer: 0}
accelerator: [chip_a, chip_b]
space:
  core.array.rows: {power_of_two: [8, 128]}
  workload.attention: {values: [plain, reuse, recompute]}
  workload.batch: {linear: [1, 4, 4]}
  memories.dram.bandwidth_gb_per_s: {log: [10, 640, 7]}
  memories.sram.capacity_kib: {power_of_two: [16, 256]}
constraints:
  - {metric: area_mm2, max: 120}
objectives:
  - metric: tokens_per_s
  - metric: joules_per_token
budget: {trials: 40}
sampler: tpe
"""


def fake_plan(*changes: tuple[str, str]) -> Plan:
    """The plan of CAMPAIGN with (old, new) replaced in its text."""
    text = CAMPAIGN
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return make_plan(parse_yaml(text, "fake.yaml"), FakeSources())
