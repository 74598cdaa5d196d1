"""Predicts the time per output token of measured serving runs: nothing is fitted to them.

A decode step is timed by `dse.system` at the launches and shares that measured kernels sustain (`--chip-model calibrated`), at the cache
length of the middle of the output, isl + osl / 2. Where one engine does both phases (`agg`), each of its B sequences brings a prompt every
osl steps, so B / osl prompts are computed per step:

    tpot = step(B) + B x prompt / osl          agg
    tpot = step(B)                             disagg, B = concurrency / decode workers

Multi-token prediction, scheduling and sampling are not modelled; the published tables do not say which rows use the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.errors import UsageError
from dse.ir.lowering import Phase
from dse.plugins import load_system, system_names
from dse.serving_case import ChipModelName, ServingChoices, serving_case
from dse.units import SECONDS_PER_MS
from dse.validation.silicon.tables import Comparison, catalogue_name, error_percent, rank_correlation, system_name
from dse.workload import Switch, WorkloadOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dse.serving_case import ServingCase
    from dse.system.system import System
    from dse.validation.silicon.tables import Row

NODE_CHIPS: Final = 8
"""Chips of one node of the measured systems."""
FORMATS: Final = {"fp8": "fp8_block", "fp4": "nvfp4"}
"""Precision presets of the words of the tables: block-scaled formats, as DeepSeek's checkpoints are served."""
MODELS: Final = {"DeepSeek-R1/V3 671B": "deepseek_r1"}
"""Catalogue names of the tables' models."""


@dataclass(frozen=True, slots=True)
class Engine:
    """Degrees of one engine."""

    tp: int
    dp: int
    moe_tp: int
    ep: int

    @property
    def chips(self) -> int:
        """Chips of the engine."""
        return self.tp * self.dp

    @property
    def degrees(self) -> str:
        """As `dse system --parallel` takes them."""
        return f"tp={self.tp},dp={self.dp},moe_tp={self.moe_tp},ep={self.ep}"


def engine_of(row: Row, stage: str) -> Engine:
    """The engine of a row; `stage` is "", "prefill_" or "decode_".

    Some rows name n^2 chips (16 and 64, where nodes have 8) with moe_tp = ep = n and tp or dp = n^2: both degrees multiplied into one.
    They are read as n chips with their attention cut or dealt n ways and ep = n.

    Raises:
        InputError: a cell that is no number.
    """
    names = ("tp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size")
    tp, dp, moe_tp, ep = (int(row.number(stage + name)) for name in names)
    if tp * dp > NODE_CHIPS and moe_tp == ep and moe_tp * ep == tp * dp and 1 in (tp, dp):
        return Engine(ep if dp == 1 else 1, 1 if dp == 1 else ep, 1, ep)
    return Engine(tp, dp, moe_tp, ep)


def compare_serving(rows: Sequence[Row]) -> tuple[tuple[Comparison, ...], tuple[str, ...]]:
    """Errors by system and mode, in the order of rows, and what was not predicted, with the reason.

    Raises:
        InputError: a cell that is no number.
    """
    groups: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    skipped: dict[str, int] = {}
    for row in rows:
        try:
            _check_predictable(row)
            times = (tpot_ms(row, ChipModelName.CALIBRATED), tpot_ms(row, ChipModelName.ROOFLINE), row.number("tpot_ms"))
        except UsageError as error:
            skipped[str(error)] = skipped.get(str(error), 0) + 1
        else:
            groups.setdefault((row.cells["mode"], row.cells["system"]), []).append(times)
    found = tuple(_compared(mode, system, np.array(times)) for (mode, system), times in groups.items())
    return found, tuple(f"e2e_serving: {n} rows not predicted: {reason}" for reason, n in skipped.items())


def _compared(mode: str, system: str, times_ms: NDArray[np.float64]) -> Comparison:
    """`times_ms` [rows, 3]: predicted, of the roofline, measured."""
    calibrated, roofline, measured = times_ms.T
    error = error_percent(calibrated, measured)
    bound = float(error_percent(roofline, measured).mean())
    mean, median, rank = float(error.mean()), float(np.median(error)), rank_correlation(calibrated, measured)
    return Comparison(f"serving_tpot_{mode}", system, len(measured), mean, mean, median, bound, rank)


def tpot_ms(row: Row, model: ChipModelName) -> float:
    """Predicted ms per output token.

    Raises:
        InputError: a cell that is no number.
        UsageError: no such system, or degrees that do not go together.
    """
    prompt, output, sequences = (int(row.number(name)) for name in ("isl", "osl", "concurrency"))
    chip, formats = catalogue_name(row.cells["system"]), row.cells["precision"]
    name, precision = MODELS[row.cells["model"]], FORMATS.get(formats, formats)
    split = row.cells["mode"] == "disagg"
    engine = engine_of(row, "decode_" if split else "")
    batch = max(engine.dp, round(sequences / (row.number("decode_num_workers") if split else 1)))
    step_s = _seconds(name, chip, precision, Phase.DECODE, prompt + output // 2, engine, model, batch)
    if split:
        return step_s / SECONDS_PER_MS
    prompt_s = _seconds(name, chip, precision, Phase.PREFILL, prompt, engine, model, engine.dp) / engine.dp
    return (step_s + batch * prompt_s / output) / SECONDS_PER_MS


def _check_predictable(row: Row) -> None:
    model, mode = row.cells["model"], row.cells["mode"]
    if model not in MODELS:
        raise UsageError(f"model '{model}' is not known here; known: {', '.join(MODELS)}")
    if mode not in ("agg", "disagg"):
        raise UsageError(f"mode '{mode}' is neither agg nor disagg")
    if mode == "disagg" and not row.cells.get("decode_num_workers"):
        raise UsageError("the number of decode workers is not given, so the batch of one is unknown")


@lru_cache(maxsize=4096)
def _seconds(name: str, chip: str, precision: str, phase: Phase, length: int, engine: Engine, model: ChipModelName, batch: int) -> float:
    return float(_case(name, chip, precision, phase, length, engine, model).times([batch]).seconds[0])


@lru_cache(maxsize=1024)
def _case(name: str, chip: str, precision: str, phase: Phase, length: int, engine: Engine, model: ChipModelName) -> ServingCase:
    system = _system_of(chip, engine.chips)
    options = WorkloadOptions(
        model=name,
        phase=phase,
        cache_len=length,
        query_len=length if phase is Phase.PREFILL else 1,
        precision=precision,
        norms=Switch.ON,
        rope=Switch.ON,
    )
    return serving_case(options, system, engine.degrees, choices=ServingChoices(chip_model=model))


def _system_of(chip: str, chips: int) -> System:
    """The smallest measured system of a chip that holds so many: its node, else its cluster, grown where it must be."""
    names = [n for n in (system_name(chip, 1), system_name(chip, 2)) if n in system_names()]
    if not names:
        raise UsageError(f"no node or cluster of {chip} in the catalogue of systems")
    systems = [load_system(n).system for n in names]
    return next((s for s in systems if s.chips >= chips), systems[-1]).of_size(chips)
