"""Graphs with operators formed again: copies that give some readers their own result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dse.ir.graph import OperatorGraph
from dse.ir.operator import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dse.ir.operator import Operand, Operator


@dataclass(frozen=True)
class Copied:
    """A graph in which a chain of operators is formed again for some readers."""

    graph: OperatorGraph
    names: Mapping[str, str]
    """Operators of the chain to their copies, which bear the old names where nothing needs the first forming any more."""
    storages: Mapping[str, str]
    """Storages that the chain writes to those of the copies."""
    dropped: frozenset[str]
    """Operators of the chain whose first forming nothing needs any more."""


def with_copies(graph: OperatorGraph, chain: Sequence[str], readers: frozenset[str]) -> Copied:
    """`graph` with the operators of `chain` formed again, in their order, for `readers`, who read the copies alone.

    Each operator of the chain writes one tensor; views of it are copied with it. An operator that is formed first for nobody any
    more is left out, and its copy takes its name.
    """
    table = {o.name: o for o in graph.operators}
    made = {graph.tensors[x.tensor].storage for name in chain for x in table[name].outputs}
    suffix = _suffix(graph, chain)
    tensors = {t: f"{t}{suffix}" for t, tensor in graph.tensors.items() if tensor.storage in made}
    storages = {s: tensors[s] for s in sorted(made)}
    again = {
        new: replace(graph.tensors[old], name=new, storage=storages[graph.tensors[old].storage]) for old, new in sorted(tensors.items())
    }
    operators: list[Operator] = []
    copied: list[Operator] = []
    for o in graph.operators:
        operators.append(_reading(o, tensors) if o.name in readers else o)
        if o.name in chain or (o.kind is Kind.VIEW and any(x.tensor in tensors for x in o.outputs)):
            copied.append(replace(_reading(o, tensors), name=f"{o.name}{suffix}", outputs=_renamed(o.outputs, tensors)))
            operators.append(copied[-1])
    whole = replace(graph, tensors={**graph.tensors, **again}, operators=tuple(operators))
    dropped = _unneeded(whole, made, chain)
    gone = {o.name for o in whole.operators if o.name in dropped or (o.kind is Kind.VIEW and _only_views(o, graph, dropped, table))}
    named = {f"{name}{suffix}": name for name in sorted(gone)}
    left = tuple(replace(o, name=named.get(o.name, o.name)) for o in whole.operators if o.name not in gone)
    names = {name: name if name in gone else f"{name}{suffix}" for name in chain}
    return Copied(replace(whole, operators=left), names, storages, dropped)


def _suffix(graph: OperatorGraph, chain: Sequence[str]) -> str:
    """What sets names of copies apart: `.again`, `.again2` and so on."""
    names = {o.name for o in graph.operators} | graph.tensors.keys()
    written = {x.tensor for o in graph.operators if o.name in chain for x in o.outputs}
    number = 1
    while any(f"{name}.again{number if number > 1 else ''}" in names for name in (*chain, *written)):
        number += 1
    return f".again{number if number > 1 else ''}"


def _reading(operator: Operator, tensors: Mapping[str, str]) -> Operator:
    return replace(operator, inputs=_renamed(operator.inputs, tensors))


def _renamed(operands: tuple[Operand, ...], tensors: Mapping[str, str]) -> tuple[Operand, ...]:
    return tuple(replace(x, tensor=tensors.get(x.tensor, x.tensor)) for x in operands)


def _unneeded(graph: OperatorGraph, made: set[str], chain: Sequence[str]) -> frozenset[str]:
    """Operators of the chain whose own result nobody reads any more and nothing outside needs; the last ones first."""
    outside = {graph.tensors[t].storage for t in graph.outputs}
    gone: set[str] = set()
    for name in reversed(chain):
        written = {graph.tensors[x.tensor].storage for o in graph.operators if o.name == name for x in o.outputs} & made
        reading = (
            o for o in graph.operators if o.kind is not Kind.VIEW and o.name not in gone and any(_in(graph, x, written) for x in o.inputs)
        )
        if not written & outside and next(reading, None) is None:
            gone.add(name)
    return frozenset(gone)


def _in(graph: OperatorGraph, operand: Operand, storages: set[str]) -> bool:
    return graph.tensors[operand.tensor].storage in storages


def _only_views(view: Operator, graph: OperatorGraph, dropped: frozenset[str], table: Mapping[str, Operator]) -> bool:
    """Whether a view shows the bytes of a result that is no longer formed."""
    shown = {graph.tensors[x.tensor].storage for x in view.outputs if x.tensor in graph.tensors}
    return bool(shown & {graph.tensors[x.tensor].storage for name in dropped for x in table[name].outputs})
