"""From what a user asks for (a model, a config or an ONNX file, with phase, batch, lengths) to a step that can be priced."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from dse.errors import UsageError
from dse.evaluate import Step, read_step
from dse.ir.lowering import LoweringRequest, Masked, Part, Phase
from dse.ir.precision import precision as named_precision
from dse.ir.summary import Summary, summarise_workload, weight_elements
from dse.plugins import load_model
from dse.routing import read_routing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onnx import ModelProto

DEFAULT_LENGTH = 4096
"""Positions attended, or prompt length, where nothing is said."""


class Switch(StrEnum):
    """On or off; `auto` leaves the choice to the part."""

    ON = "on"
    OFF = "off"
    AUTO = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadOptions:
    """What a command line says of its workload; None where it says nothing."""

    model: str | None = None
    config: str | None = None
    onnx: str | None = None
    dims: tuple[str, ...] = ()
    """`name=value` for symbolic dimensions of an ONNX file."""
    phase: Phase = Phase.DECODE
    batch: int = 1
    query_len: int | None = None
    cache_len: int | None = None
    attention: str | None = None
    precision: str | None = None
    rope: Switch = Switch.ON
    norms: Switch = Switch.AUTO
    layer: int | None = None
    all_layers: bool = False
    part: Part = Part.LAYER
    routing: str = "uniform"
    """How tokens spread over experts: uniform, zipf:S, histogram:FILE, loads:FILE or worst."""
    seed: int | None = None
    """Draw the experts' loads with this seed; None takes expected loads."""
    mtp: bool = False
    """With all layers: the multi-token-prediction modules too."""
    masked: Masked = Masked.SKIPPED


@dataclass(frozen=True)
class Workload:
    """A step with its ONNX models and counts."""

    title: str
    step: Step
    models: tuple[tuple[str, ModelProto, int], ...]
    """(part, ONNX model, times it runs); empty for an ONNX file, which is its own model."""
    parameters_total: int
    parameters_active: int
    embedding_parameters: int = 0
    """Parameters of the embedding that `parameters_active` leaves out but for one row."""
    precision: str = ""
    """Name of the formats of weights, activations, cache and sums; empty for an ONNX file with its own."""

    def summary(self) -> Summary:
        """Counts by operator and by role of tensors."""
        return summarise_workload(self.step.graphs)

    def summary_json(self) -> dict[str, object]:
        """The JSON of `dse lower --summary`."""
        counts = self.summary().to_json_dict()
        return {
            "parameters_total": self.parameters_total,
            "parameters_active": self.parameters_active,
            **counts,
            "parameters_active_with_embedding": self.parameters_active + self.embedding_parameters,
            "precision": self.precision,
        }


def load_workload(options: WorkloadOptions) -> Workload:
    """Lower a model, or read an ONNX file.

    Raises:
        UsageError: not exactly one of model, config and ONNX file; options that do not go together or with the model.
        InputError: a file is missing, broken, of an unknown architecture, or has an operator that cannot be costed.
    """
    given = [name for name in ("model", "config", "onnx") if getattr(options, name) is not None]
    if len(given) != 1:
        said = " and ".join(f"--{name}" for name in given) or "none"
        raise UsageError(f"give one of --model NAME, --config config.json and --onnx FILE; given: {said}")
    if options.onnx is not None:
        return _from_onnx(options, options.onnx)
    if options.dims:
        raise UsageError("--dim belongs to --onnx; a model's sizes follow from --batch, --query-len and --cache-len")
    model = load_model(options.model) if options.model is not None else load_model(_as_path(options.config or ""))
    request = lowering_request(
        options, default_scheme=model.attention_schemes[0], last_layer=model.layers - 1, default_precision=model.precision
    )
    lowered = model.lower(request)
    models = tuple((part.name, part.onnx, part.count) for part in lowered.parts)
    return Workload(
        lowered.name,
        read_step(lowered),
        models,
        lowered.parameters_total,
        lowered.parameters_active,
        lowered.embedding_parameters,
        request.precision.name,
    )


def lowering_request(options: WorkloadOptions, *, default_scheme: str, last_layer: int, default_precision: str = "bf16") -> LoweringRequest:
    """The request behind `options`.

    Left out: one new token in decode and the whole length in prefill, 4096 positions, the model's precision, the last layer, norms in a
    layer but not in attention or FFN alone (as published counts of these have it).

    Raises:
        UsageError: both a layer and all layers, an unknown precision or routing.
        InputError: a histogram of loads that cannot be read.
    """
    if options.layer is not None and options.all_layers:
        raise UsageError("--layer and --all-layers exclude each other")
    decode = options.phase is Phase.DECODE
    cache_len = options.cache_len if options.cache_len is not None else options.query_len
    if cache_len is None or (decode and options.cache_len is None):
        cache_len = DEFAULT_LENGTH
    query_len = options.query_len if options.query_len is not None else (1 if decode else cache_len)
    layer = None if options.all_layers else (options.layer if options.layer is not None else last_layer)
    norms = options.part is Part.LAYER if options.norms is Switch.AUTO else options.norms is Switch.ON
    return LoweringRequest(
        phase=options.phase,
        batch=options.batch,
        query_len=query_len,
        cache_len=cache_len,
        attention=options.attention or default_scheme,
        precision=named_precision(options.precision or default_precision),
        rope=options.rope is not Switch.OFF,
        norms=norms,
        part=options.part,
        layer=layer,
        routing=read_routing(options.routing, options.seed),
        mtp=options.mtp,
        masked=options.masked,
    )


def _as_path(config: str) -> str:
    """A config file's name as a path, whatever its suffix."""
    return config if "/" in config else f"./{config}"


def _from_onnx(options: WorkloadOptions, path: str) -> Workload:
    from dse.evaluate import graph_step
    from dse.ir.onnx_read import load_onnx

    precision = named_precision(options.precision) if options.precision is not None else None
    graph = load_onnx(path, precision=precision, dims=_dims(options.dims))
    tokens = options.batch * (options.query_len or 1)
    weights = weight_elements(graph)
    return Workload(Path(path).stem, graph_step(graph, tokens), (), weights, weights)


def _dims(given: tuple[str, ...]) -> Mapping[str, int]:
    found = {}
    for text in given:
        name, _, value = text.partition("=")
        if not name or not value.isdecimal():
            raise UsageError(f"--dim {text}: give NAME=VALUE with a whole number of at least 0, for example --dim batch=1")
        if name in found:
            raise UsageError(f"--dim {text}: '{name}' is given twice; give it once")
        found[name] = int(value)
    return found
