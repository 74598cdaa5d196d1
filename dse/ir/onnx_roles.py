"""Roles of tensors in graphs that do not say them: caches by where they lead, scores by the softmax between two products."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from dse.ir.operator import Kind
from dse.ir.tensor import Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dse.ir.operator import Operator
    from dse.ir.tensor import Tensor

CACHE_NAME: Final = re.compile(
    r"(^|[^a-z])(past|k_?cache|v_?cache|kv_?cache|key_?cache|value_?cache|cache_?[kv]|past_?key_?values?)([^a-z]|$)", re.IGNORECASE
)
"""Names that exporters give to key and value caches (`past_key_values.0.key`, `past_key`, `k_cache`)."""
CACHE_RANKS: Final = range(3, 6)
"""A cache has at least sequences, positions and width; at most keys and values, sequences, heads, positions and width."""
_SOFTMAX: Final = frozenset({"Softmax"})


def infer_roles(tensors: Mapping[str, Tensor], operators: Sequence[Operator], entering: frozenset[str]) -> dict[str, Tensor]:
    """Tensors with the roles that the graph does not say; metadata win, as only activations change.

    Cache: a floating input of the graph with 3 to 5 axes and a cache's name. (Readers of TensorScatter, Concat and
    Attention mark the caches that they append to by themselves.)
    Score: what lies between a product of two computed tensors and a softmax, and between this softmax and the next such
    product, over elementwise operators and views.
    """
    found = dict(tensors)
    for name in entering:
        tensor = found[name]
        if tensor.role is Role.ACTIVATION and len(tensor.shape) in CACHE_RANKS and CACHE_NAME.search(name):
            found[name] = replace(tensor, role=Role.CACHE)
    for name in _scores(found, operators):
        if found[name].role is Role.ACTIVATION:
            found[name] = replace(found[name], role=Role.SCORE)
    return found


def _scores(tensors: Mapping[str, Tensor], operators: Iterable[Operator]) -> set[str]:
    producers = {x.tensor: o for o in operators for x in o.outputs}
    consumers: dict[str, list[Operator]] = {}
    for o in operators:
        for x in o.inputs:
            consumers.setdefault(x.tensor, []).append(o)
    found: set[str] = set()
    for o in operators:
        if o.op_type in _SOFTMAX:
            before = _before(o.inputs[0].tensor, producers, tensors)
            after = _after(o.outputs[0].tensor, consumers, tensors)
            if before and after:
                found |= before | after
    return found


def _between(operator: Operator) -> bool:
    """Elementwise operators and views: what may lie between a product and its softmax."""
    return operator.kind is Kind.VIEW or (operator.kind in (Kind.VECTOR, Kind.MOVE) and not operator.reduced_dims)


def _computed(operator: Operator, tensors: Mapping[str, Tensor]) -> bool:
    """A product of two tensors neither of which is a weight."""
    return operator.kind is Kind.CONTRACTION and all(tensors[x.tensor].role is not Role.WEIGHT for x in operator.inputs[:2])


def _before(name: str, producers: Mapping[str, Operator], tensors: Mapping[str, Tensor]) -> set[str]:
    """Tensors from the product of queries and keys up to `name`; empty where there is no such product."""
    path, elements = set(), tensors[name].elements
    while name in producers:
        path.add(name)
        operator = producers[name]
        if operator.kind is Kind.CONTRACTION:
            return path if _computed(operator, tensors) else set()
        same = [x.tensor for x in operator.inputs if tensors[x.tensor].elements == elements and tensors[x.tensor].role is not Role.WEIGHT]
        if not _between(operator) or not same:
            return set()
        name = same[0] if same[0] not in path else same[-1]
        if name in path:
            return set()
    return set()


def _after(name: str, consumers: Mapping[str, list[Operator]], tensors: Mapping[str, Tensor]) -> set[str]:
    """Tensors from `name` on to the product with values; empty where there is no such product."""
    path, elements, reached = {name}, tensors[name].elements, False
    queue = deque([name])
    while queue:
        for operator in consumers.get(queue.popleft(), ()):
            if _computed(operator, tensors):
                reached = True
            elif _between(operator):
                for x in operator.outputs:
                    if x.tensor not in path and tensors[x.tensor].elements == elements:
                        path.add(x.tensor)
                        queue.append(x.tensor)
    return path if reached else set()
