"""One model on one system with one plan: what a serving system is asked for, before any batch is given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.errors import UsageError
from dse.ir.expert_load import UNIFORM
from dse.ir.lowering import Phase
from dse.mapping.limits import LARGEST_SIZE
from dse.plugins import load_model
from dse.system.capacity import memory_of
from dse.system.chip_time import system_rates
from dse.system.layer_time import DIRECT, RooflineChip
from dse.system.parallel import checked, parse_parallel
from dse.system.placement import Placing
from dse.system.step import run_of, times_of
from dse.system.work import cut_positions, model_work
from dse.workload import Switch, lowering_request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dse.ir.expert_load import Routing
    from dse.ir.lowering import LoweringRequest, Model
    from dse.system.capacity import Memory
    from dse.system.layer_time import ChipModel, ExchangeChoice
    from dse.system.parallel import Parallel
    from dse.system.step import Run, StepTimes
    from dse.system.system import System
    from dse.system.work import ModelWork
    from dse.workload import WorkloadOptions


class ChipModelName(StrEnum):
    """How one chip is timed."""

    ROOFLINE = "roofline"
    """Each kernel by the larger of compute, vector work and bytes."""
    CALIBRATED = "calibrated"
    """The same at the launches and shares of data-sheet rates that measured kernels of its kind sustain."""
    MAPPED = "mapped"
    """Each chip's share of the graph by mapping frontiers and fused schedules, as `dse eval` does."""


@dataclass(frozen=True, slots=True)
class ServingChoices:
    """How a system is evaluated, beside its degrees."""

    placing: Placing = Placing.RANDOM
    exchange: ExchangeChoice = DIRECT
    chip_model: ChipModelName = ChipModelName.ROOFLINE


DEFAULT_CHOICES: Final = ServingChoices()


def serving_request(options: WorkloadOptions) -> tuple[Model, LoweringRequest, Routing]:
    """The model, the request for one sequence at even load, and the routing; all layers unless one is named.

    Raises:
        UsageError: not exactly one of model and config, or an ONNX file, whose layers and batch are fixed.
    """
    if options.onnx is not None or (options.model is None) == (options.config is None):
        raise UsageError("dse system needs one of --model NAME and --config config.json; an ONNX file has one batch and no layers")
    name = options.model if options.model is not None else f"./{options.config}" if "/" not in str(options.config) else options.config
    model = load_model(str(name))
    if options.layer is None and not options.all_layers:
        options = replace(options, all_layers=True)
    given = replace(options, norms=Switch.ON if options.norms is Switch.AUTO else options.norms)
    request = lowering_request(given, default_scheme=model.attention_schemes[0], last_layer=model.layers - 1)
    return model, replace(request, routing=UNIFORM), request.routing


@dataclass(frozen=True)
class ServingCase:
    """A model with lengths, a system and legal degrees: everything but the batch."""

    model: Model
    request: LoweringRequest
    routing: Routing
    system: System
    work: ModelWork
    """Of one chip's share of positions where cp cuts them."""
    plan: Parallel
    choices: ServingChoices

    @property
    def shares(self) -> int:
        """Shares of a prompt's positions that count as sequences of their own."""
        return self.work.gathered_over

    @property
    def own_plan(self) -> Parallel:
        """The degrees as `work` is cut: shares of a prompt are sequences of data-parallel groups."""
        return replace(self.plan, cp=1, dp=self.plan.dp * self.plan.cp) if self.shares > 1 else self.plan

    def chip(self) -> ChipModel:
        """The model of a chip that the choices name."""
        if self.choices.chip_model is ChipModelName.MAPPED:
            from dse.serving_mapped import MappedChip

            return MappedChip(self.system, self.model, local_request(self.request, self.plan))
        if self.choices.chip_model is ChipModelName.CALIBRATED:
            from dse.serving_calibrated import calibrated_chip

            return calibrated_chip(self.system, self.request.phase)
        return RooflineChip(system_rates(self.system))

    def times(self, batches: Sequence[int], *, chip: ChipModel | None = None) -> StepTimes:
        """Times of a step for each number of sequences of the whole system, on chips as chosen or on `chip`."""
        for batch in batches:
            _check(batch)
        run = self._run(np.asarray(batches, dtype=np.int64), chip)
        found = times_of(run)
        return replace(found, batch=found.batch / self.shares) if self.shares > 1 else found

    def run(self, batch: int) -> Run:
        """The operators of every part for one number of sequences: `run.operators(part)` for each of `work.parts`."""
        return self._run(np.array([batch]), None)

    def _run(self, batches: NDArray[np.int64], chip: ChipModel | None) -> Run:
        c, on = self.choices, chip or self.chip()
        plan, sequences = self.own_plan, batches * self.shares
        return run_of(self.work, self.system, plan, sequences, routing=self.routing, placing=c.placing, chip=on, exchange=c.exchange)

    def memory(self) -> Memory:
        """Memory terms of the fullest chip."""
        return memory_of(self.work, self.own_plan, self.system)

    @property
    def largest_batch(self) -> int:
        """Most sequences of the whole system that fit."""
        return self.memory().largest_batch(self.own_plan) // self.shares


def serving_case(options: WorkloadOptions, system: System, parallel: str = "", *, choices: ServingChoices = DEFAULT_CHOICES) -> ServingCase:
    """Lower the model and read the degrees.

    Raises:
        UsageError: as `evaluate_serving`.
    """
    model, request, routing = serving_request(options)
    _check(request.batch)
    work = model_work(model, request)
    plan = checked(parse_parallel(parallel, chips=system.chips, experts=work.experts), work, system.chips)
    return case_of(model, request, routing, system, plan, choices)


def _check(batch: int) -> None:
    if not 1 <= batch <= LARGEST_SIZE:
        raise UsageError(f"--batch is {batch}; allowed: 1 to {LARGEST_SIZE}")


def case_of(
    model: Model, request: LoweringRequest, routing: Routing, system: System, plan: Parallel, choices: ServingChoices
) -> ServingCase:
    """A case of degrees that are legal already.

    Raises:
        UsageError: mapped chips with positions of a prompt cut.
    """
    work = model_work(model, local_request(request, plan))
    if plan.cp > 1 and request.phase is Phase.PREFILL:
        if choices.chip_model is ChipModelName.MAPPED:
            raise UsageError(f"cp={plan.cp}: mapped chips lower whole prompts; use cp=1 or --chip-model roofline")
        work = cut_positions(work, plan.cp)
    return ServingCase(model, request, routing, system, work, plan, choices)


def local_request(request: LoweringRequest, plan: Parallel) -> LoweringRequest:
    """What is lowered: in decode a chip's part of the cached positions, rounded up, and at least the new ones; prompts whole."""
    if plan.cp == 1 or request.phase is Phase.PREFILL:
        return request
    return replace(request, cache_len=max(request.query_len, -(-request.cache_len // plan.cp)))
