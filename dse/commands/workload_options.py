"""The options that say what is run; the same for every command that lowers a workload."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from dse.commands.enums import MaskedName, PartName, PhaseName, RopeName, SwitchName

if TYPE_CHECKING:
    from collections.abc import Callable

    from dse.workload import WorkloadOptions

_WORKLOAD: dict[str, tuple[Any, Any]] = {  # Any: an annotation and its default
    "model": (Annotated[str | None, typer.Option(help="Model of the catalogue, or a model YAML.")], None),
    "config": (Annotated[str | None, typer.Option(metavar="FILE", help="Hugging Face config.json.")], None),
    "onnx": (Annotated[str | None, typer.Option(metavar="FILE", help="ONNX file of any origin; its weights need not be there.")], None),
    "dims": (Annotated[list[str], typer.Option("--dim", metavar="NAME=VALUE", help="Size of a symbolic dimension of --onnx.")], []),
    "phase": (
        Annotated[PhaseName, typer.Option(help="decode appends query-len tokens to a cache, prefill reads a prompt.")],
        PhaseName.DECODE,
    ),
    "batch": (Annotated[int, typer.Option(help="Sequences.")], 1),
    "query_len": (Annotated[int | None, typer.Option(help="New tokens per sequence; left out: 1 in decode, cache-len in prefill.")], None),
    "cache_len": (
        Annotated[int | None, typer.Option(help="Positions attended, the new ones included; left out: query-len in prefill, else 4096.")],
        None,
    ),
    "attention": (Annotated[str | None, typer.Option(help="Scheme, see dse list models; left out: the model's first.")], None),
    "precision": (
        Annotated[
            str | None,
            typer.Option(help="Name such as bf16, fp8_block or nvfp4, or weights=..,activations=..,cache=..; left out: the model's."),
        ],
        None,
    ),
    "rope": (Annotated[RopeName, typer.Option(help="Rotary part of queries and keys.")], RopeName.ON),
    "norms": (Annotated[SwitchName, typer.Option(help="Norms; auto: in a layer, not in attention or ffn alone.")], SwitchName.AUTO),
    "layer": (Annotated[int | None, typer.Option(help="Index of one layer; left out: the last.")], None),
    "all_layers": (Annotated[bool, typer.Option("--all-layers", help="The whole model, each kind of layer once with its count.")], False),
    "routing": (Annotated[str, typer.Option(help="Tokens over experts: uniform, zipf:S, histogram:FILE, loads:FILE or worst.")], "uniform"),
    "seed": (Annotated[int | None, typer.Option(help="Draw the experts' loads with this seed; left out: expected loads.")], None),
    "mtp": (Annotated[bool, typer.Option("--mtp", help="With --all-layers: the multi-token-prediction modules too.")], False),
    "masked": (
        Annotated[MaskedName, typer.Option(help="Blocks of scores that a causal or sliding mask leaves out.")],
        MaskedName.SKIPPED,
    ),
    "part": (Annotated[PartName, typer.Option(help="layer, attention or ffn.")], PartName.LAYER),
}


def with_workload(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` the workload options; it gets them as `workload: WorkloadOptions`, its first parameter."""
    hints = get_type_hints(command, localns={"WorkloadOptions": object}, include_extras=True)
    own = [p.replace(annotation=hints[p.name]) for p in inspect.signature(command).parameters.values()][1:]
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)
        for name, (kind, default) in _WORKLOAD.items()
    ]

    def run(**given: Any) -> None:  # Any: typer passes what the signature below says
        command(workload_options({name: given.pop(name) for name in _WORKLOAD}), **given)

    run.__doc__ = command.__doc__
    run.__name__ = command.__name__
    positional = [p for p in own if _is_argument(p)]
    others = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own if not _is_argument(p)]
    run.__signature__ = inspect.Signature([*positional, *shared, *others])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in (*positional, *shared, *others)}
    return run


def workload_options(given: dict[str, Any]) -> WorkloadOptions:  # Any: values of the options above
    """The options as one frozen value."""
    from dse.ir.lowering import Masked, Part, Phase
    from dse.workload import Switch, WorkloadOptions

    values = {
        **given,
        "dims": tuple(given["dims"]),
        "phase": Phase(given["phase"].value),
        "rope": Switch(given["rope"].value),
        "norms": Switch(given["norms"].value),
        "masked": Masked(given["masked"].value),
        "part": Part(given["part"].value),
    }
    return WorkloadOptions(**values)


def _is_argument(parameter: inspect.Parameter) -> bool:
    return any(isinstance(m, typer.models.ArgumentInfo) for m in getattr(parameter.annotation, "__metadata__", ()))
