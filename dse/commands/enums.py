"""Choices of options, written out here so that `dse --help` imports no engine."""

from __future__ import annotations

from enum import StrEnum


class PhaseName(StrEnum):
    """As `dse.ir.lowering.Phase`."""

    PREFILL = "prefill"
    DECODE = "decode"


class PartName(StrEnum):
    """As `dse.ir.lowering.Part`."""

    LAYER = "layer"
    ATTENTION = "attention"
    FFN = "ffn"


class MaskedName(StrEnum):
    """As `dse.ir.lowering.Masked`."""

    SKIPPED = "skipped"
    COMPUTED = "computed"


class RopeName(StrEnum):
    """On or off."""

    ON = "on"
    OFF = "off"


class SwitchName(StrEnum):
    """As `dse.workload.Switch`."""

    ON = "on"
    OFF = "off"
    AUTO = "auto"


class ObjectiveName(StrEnum):
    """As `dse.cost.metrics.Objective`."""

    LATENCY = "latency"
    ENERGY = "energy"
    EDP = "edp"


class PlanObjectiveName(StrEnum):
    """The same, and all plans between the fastest and the most frugal."""

    LATENCY = "latency"
    ENERGY = "energy"
    EDP = "edp"
    PARETO = "pareto"


class MapObjectiveName(StrEnum):
    """As `dse.cost.one_operator.MapObjective`."""

    LATENCY = "latency"
    ENERGY = "energy"
    EDP = "edp"
    DRAM_BYTES = "dram_bytes"


class ScheduleName(StrEnum):
    """As `dse.schedule.plan.Schedule`."""

    FUSED = "fused"
    LAYER_BY_LAYER = "layer_by_layer"


class PlacementName(StrEnum):
    """As `dse.schedule.cores.relaxation.Placement`."""

    AUTO = "auto"
    SEARCH = "search"
    EXACT = "exact"
    CP_SAT = "cp-sat"


class FactorsName(StrEnum):
    """As `dse.mapping.two_level.Factors`."""

    RAGGED = "ragged"
    PERFECT = "perfect"


class PlacingName(StrEnum):
    """As `dse.system.placement.Placing`."""

    RANDOM = "random"
    CONTIGUOUS = "contiguous"
    BALANCED = "balanced"


class ExchangeName(StrEnum):
    """As the modes of `dse.system.layer_time.ExchangeChoice`."""

    DIRECT = "direct"
    LOW_LATENCY = "low_latency"
    NORMAL = "normal"


class ChipModelOption(StrEnum):
    """As `dse.serving_case.ChipModelName`."""

    ROOFLINE = "roofline"
    CALIBRATED = "calibrated"
    MAPPED = "mapped"


class EqualName(StrEnum):
    """As `dse.serving_equal.Equal`."""

    AREA = "area"
    POWER = "power"
    PRICE = "price"
