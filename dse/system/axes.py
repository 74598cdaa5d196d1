"""Which axes of a layer's tensors are the same axis, and which of these a system may cut over chips."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from dse.ir.operator import Kind
from dse.ir.tensor import Role

if TYPE_CHECKING:
    from dse.ir.graph import OperatorGraph
    from dse.ir.operator import Operand, Operator

Axis = tuple[str, int]
"""A tensor and the position of one of its axes."""


class Cut(StrEnum):
    """Axes that parallelism cuts."""

    KV_HEADS = "kv_heads"
    """Heads that have a cache of their own."""
    QUERY_HEADS = "query_heads"
    """Heads that share a cache."""
    FFN = "ffn"
    """Inner width of a dense network or of shared experts."""
    EXPERT_FFN = "expert_ffn"
    """Inner width of routed experts."""
    VOCABULARY = "vocabulary"
    """Columns of the output head, rows of the embedding."""


class AxisClasses:
    """Union of axes that one loop runs over, through all operators of a graph.

    A reshape that splits an axis in two (heads into groups and queries per group) makes it a product of both.
    """

    def __init__(self, graph: OperatorGraph) -> None:
        self.graph = graph
        self._parent: dict[Axis, Axis] = {}
        self._products: dict[Axis, tuple[Axis, ...]] = {}
        splits: list[tuple[Axis, tuple[Axis, ...]]] = []
        for o in graph.operators:
            self._join_loops(o)
            if o.op_type == "Reshape":
                splits += self._join_reshape(o)
        for whole, parts in splits:
            self._products[self.find(whole)] = tuple(self.find(p) for p in parts)

    def find(self, axis: Axis) -> Axis:
        """The representative of the class of `axis`."""
        root = axis
        while self._parent.get(root, root) != root:
            root = self._parent[root]
        while self._parent.get(axis, axis) != root:
            self._parent[axis], axis = root, self._parent[axis]
        return root

    def size(self, axis: Axis) -> int:
        """Number of elements along the axis."""
        return self.graph.tensors[axis[0]].shape[axis[1]]

    def parts(self, axis: Axis) -> tuple[Axis, ...]:
        """The classes that an axis consists of: itself, or its factors where a reshape splits it."""
        root = self.find(axis)
        return tuple(self.find(p) for p in self._products.get(root, (root,)))

    def of_tensor(self, tensor: str) -> tuple[Axis, ...]:
        """Classes of all axes of a tensor, split ones as their factors."""
        return tuple(c for n in range(len(self.graph.tensors[tensor].shape)) for c in self.parts((tensor, n)))

    def of_operand(self, operand: Operand) -> tuple[Axis, ...]:
        """Classes of the axes that index an operand."""
        return self.of_tensor(operand.tensor)

    def of_loops(self, operator: Operator) -> dict[str, tuple[Axis, ...]]:
        """Classes of each loop dimension."""
        found: dict[str, tuple[Axis, ...]] = {}
        for operand in (*operator.outputs, *operator.inputs):
            for position, dim in enumerate(operand.axes):
                if dim is not None and dim not in found:
                    found[dim] = self.parts((operand.tensor, position))
        return found

    def _join(self, first: Axis, second: Axis) -> None:
        a, b = self.find(first), self.find(second)
        if a != b:
            self._parent[max(a, b)] = min(a, b)

    def _join_loops(self, operator: Operator) -> None:
        seen: dict[str, Axis] = {}
        for operand in (*operator.inputs, *operator.outputs):
            for position, dim in enumerate(operand.axes):
                if dim is None:
                    continue
                axis = (operand.tensor, position)
                if self.size(axis) != operator.size(dim):
                    continue  # a part of the axis only
                self._join(axis, seen.setdefault(dim, axis))

    def _join_reshape(self, operator: Operator) -> list[tuple[Axis, tuple[Axis, ...]]]:
        """Axes that a reshape leaves whole, and those that it splits or merges: (whole, parts)."""
        source, target = operator.inputs[0].tensor, operator.outputs[0].tensor
        splits: list[tuple[Axis, tuple[Axis, ...]]] = []
        for left, right in _aligned(self.graph.tensors[source].shape, self.graph.tensors[target].shape):
            ins, outs = [(source, i) for i in left], [(target, i) for i in right]
            if len(ins) == 1 and len(outs) == 1:
                self._join(ins[0], outs[0])
            elif len(ins) == 1 and len(outs) > 1:
                splits.append((ins[0], tuple(outs)))
            elif len(outs) == 1 and len(ins) > 1:
                splits.append((outs[0], tuple(ins)))
        return splits


def _aligned(left: tuple[int, ...], right: tuple[int, ...]) -> list[tuple[list[int], list[int]]]:
    """Shortest runs of axes of `left` and `right` with equal products, axes of size 1 left out."""
    found: list[tuple[list[int], list[int]]] = []
    ins, outs = [i for i, s in enumerate(left) if s > 1], [i for i, s in enumerate(right) if s > 1]
    while ins and outs:
        a, b = [ins.pop(0)], [outs.pop(0)]
        x, y = left[a[0]], right[b[0]]
        while x != y:
            if x < y:
                if not ins:
                    return found
                a.append(ins.pop(0))
                x *= left[a[-1]]
            else:
                if not outs:
                    return found
                b.append(outs.pop(0))
                y *= right[b[-1]]
        found.append((a, b))
    return found


@dataclass(frozen=True)
class LayerAxes:
    """The axes of one layer that can be cut, and what belongs to attention and to routed experts."""

    classes: AxisClasses
    cuts: dict[Axis, Cut]
    """Class of axes to the way of cutting it."""
    sizes: dict[Cut, int]
    """Elements along each kind of axis, greatest common divisor over the axes of a kind; absent where there is none."""
    attention: frozenset[str]
    """Operators of attention, norms before it included."""
    experts: frozenset[str]
    """Operators on rows of routed experts."""
    core: frozenset[str]
    """Operators that read or write scores."""
    expert_groups: tuple[Axis, ...]
    """Classes of the axis that counts experts, one for each group of equal load."""

    def signature(self, axes: tuple[Axis, ...]) -> tuple[Cut, ...]:
        """The cuts that divide something with these axes, sorted."""
        return tuple(sorted({self.cuts[a] for a in axes if a in self.cuts}))


def layer_axes(graph: OperatorGraph) -> LayerAxes:
    """Find what may be cut in a graph.

    Heads: axes of the scores that also index a weight; they are KV heads where they index a cache too. Experts: the leading
    axis that a product's weight and its rows share and that no score has. Inner widths: axes that one product with a
    weight makes and another one sums over, outside attention. Vocabulary, where the graph has neither: the columns of its
    last product, or the rows that it looks up.
    """
    classes = AxisClasses(graph)
    heads = _heads(graph, classes)
    core = frozenset(o.name for o in graph.operators if _touches_scores(graph, o))
    attention = _attention(graph, classes, set(heads), core)
    groups, in_experts = _experts(graph, classes, set(heads), attention)
    cuts: dict[Axis, Cut] = dict(heads)
    for axis, expert in _inner_widths(graph, classes, attention, in_experts).items():
        cuts.setdefault(axis, Cut.EXPERT_FFN if expert else Cut.FFN)
    if not core and not cuts:
        cuts.update(_vocabulary(graph, classes))
    return LayerAxes(classes, cuts, _sizes(classes, cuts), attention, in_experts, core, groups)


def _sizes(classes: AxisClasses, cuts: dict[Axis, Cut]) -> dict[Cut, int]:
    from math import gcd

    sizes: dict[Cut, int] = {}
    for axis, cut in cuts.items():
        sizes[cut] = gcd(sizes.get(cut, 0), classes.size(axis))
    return sizes


def _touches_scores(graph: OperatorGraph, operator: Operator) -> bool:
    return any(graph.tensors[x.tensor].role is Role.SCORE for x in (*operator.inputs, *operator.outputs))


def _indexing(graph: OperatorGraph, classes: AxisClasses, role: Role) -> set[Axis]:
    return {c for name, t in graph.tensors.items() if t.role is role for c in classes.of_tensor(name)}


def _heads(graph: OperatorGraph, classes: AxisClasses) -> dict[Axis, Cut]:
    weights, caches = _indexing(graph, classes, Role.WEIGHT), _indexing(graph, classes, Role.CACHE)
    scores = [o.outputs[0].tensor for o in graph.operators if o.kind is Kind.CONTRACTION and _is_score(graph, o.outputs[0].tensor)]
    found: dict[Axis, Cut] = {}
    for tensor in scores:
        for axis in classes.of_tensor(tensor):
            if axis in weights and classes.size(axis) > 1:
                found[axis] = Cut.KV_HEADS if axis in caches else Cut.QUERY_HEADS
    return found


def _is_score(graph: OperatorGraph, tensor: str) -> bool:
    return graph.tensors[tensor].role is Role.SCORE


def _attention(graph: OperatorGraph, classes: AxisClasses, heads: set[Axis], core: frozenset[str]) -> frozenset[str]:
    """Operators before the scores, the core, and those after it that still have heads."""
    writers = {x.tensor: o for o in graph.operators for x in o.outputs}
    found = {o.name for o in graph.operators if any(axis in heads for axes in classes.of_loops(o).values() for axis in axes)} | core
    waiting = [o for o in graph.operators if o.name in core]
    seen = set(core)
    while waiting:
        for x in waiting.pop().inputs:
            before = writers.get(x.tensor)
            if before is not None and before.name not in seen:
                seen.add(before.name)
                waiting.append(before)
    return frozenset(found | seen)


def _experts(
    graph: OperatorGraph, classes: AxisClasses, heads: set[Axis], attention: frozenset[str]
) -> tuple[tuple[Axis, ...], frozenset[str]]:
    groups: list[Axis] = []
    for o in graph.operators:
        if o.kind is not Kind.CONTRACTION or o.name in attention or len(o.inputs) < 2:
            continue
        left, right, out = o.inputs[0], o.inputs[1], o.outputs[0]
        if graph.tensors[right.tensor].role is not Role.WEIGHT or graph.tensors[left.tensor].role is Role.WEIGHT:
            continue
        for dim in right.axes[:1]:
            if dim is not None and dim in left.axes and dim in out.axes:
                groups += [a for a in classes.of_loops(o)[dim] if a not in heads and a not in groups]
    rows = set(groups)
    names = [
        o.name for o in graph.operators if o.name not in attention and any(a in rows for axes in classes.of_loops(o).values() for a in axes)
    ]
    return tuple(groups), frozenset(names)


def _inner_widths(graph: OperatorGraph, classes: AxisClasses, attention: frozenset[str], experts: frozenset[str]) -> dict[Axis, bool]:
    """Axes made by a product with a weight and summed over by another one, outside attention; True for routed experts."""
    made: set[Axis] = set()
    summed: dict[Axis, bool] = {}
    for o in graph.operators:
        weights = [x for x in o.inputs[:2] if graph.tensors[x.tensor].role is Role.WEIGHT]
        if o.kind is not Kind.CONTRACTION or o.name in attention or not weights:
            continue
        loops, out = classes.of_loops(o), o.outputs[0].axes
        for dim in weights[0].axes:
            if dim is None or dim not in loops:
                continue
            if dim not in out:
                summed.update(dict.fromkeys(loops[dim], o.name in experts))
            elif not any(dim in x.axes for x in o.inputs if x is not weights[0]):
                made.update(loops[dim])
    stream = {classes.find((name, len(graph.tensors[name].shape) - 1)) for name in graph.outputs if graph.tensors[name].shape}
    return {axis: expert for axis, expert in summed.items() if axis in made and axis not in stream}


def _vocabulary(graph: OperatorGraph, classes: AxisClasses) -> dict[Axis, Cut]:
    products = [o for o in graph.operators if o.kind is Kind.CONTRACTION]
    if not products:
        return dict.fromkeys(_looked_up(graph, classes), Cut.VOCABULARY)
    out = products[-1].outputs[0]
    last = classes.parts((out.tensor, len(out.axes) - 1))
    return dict.fromkeys(last, Cut.VOCABULARY) if out.tensor in graph.outputs else {}


def _looked_up(graph: OperatorGraph, classes: AxisClasses) -> list[Axis]:
    """The rows of tables of weights that an embedding gathers from."""
    found = []
    for o in graph.operators:
        if o.op_type == "Gather" and graph.tensors[o.inputs[0].tensor].role is Role.WEIGHT:
            found += [classes.find((o.inputs[0].tensor, n)) for n, dim in enumerate(o.inputs[0].axes) if dim is None]
    return found
