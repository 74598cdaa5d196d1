"""Fused attention taken apart: rotation, cache append, scores, mask, softmax, context, each costed by itself."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Final

from dse.ir.onnx_ops.view import append_to_cache
from dse.ir.operator import Kind, Operand, Operator
from dse.ir.tensor import Role
from dse.ir.vector_costs import PER_INPUT_ELEMENT

if TYPE_CHECKING:
    from dse.ir.onnx_ops.registry import Node, ReadingContext

SCALE_OPERATIONS: Final = 1  # one multiplication per score
MASK_OPERATIONS: Final = 1  # one addition or select per score
SOFTCAP_OPERATIONS: Final = 3  # divide, tanh, multiply


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """What a fused attention attends with; queries [B, S, H E], keys and values [B, T, G E]; '' where something is left out."""

    heads: int
    kv_heads: int
    query: str
    key: str
    value: str
    past_key: str = ""
    past_value: str = ""
    present_key: str = ""
    present_value: str = ""
    tables: tuple[str, str] = ("", "")
    """Cosine and sine by position."""
    mask: str = ""
    softcap: bool = False
    window: int | None = None
    """Positions that a query looks back, itself included; None for all."""


def attention(node: Node, context: ReadingContext, a: Attention) -> tuple[Operator, ...]:
    """The operators of a fused attention, in order; scores [B, G, R, S, T] with R query heads per key head."""
    operators: list[Operator] = []
    out = node.outputs[0]
    batch, queries, _ = context.shape(a.query)
    groups, repeats = a.kv_heads, a.heads // a.kv_heads
    query, key = a.query, a.key
    if a.tables[0]:
        query, key = (_rotate(node, context, x, part, a.tables, operators) for x, part in ((query, "query"), (key, "key")))
    keys = cached(node, context, key, a.past_key, a.present_key, groups, "key", operators)
    values = cached(node, context, a.value, a.past_value, a.present_value, groups, "value", operators)
    q_width, v_width = context.shape(keys)[3], context.shape(values)[3]
    length = context.shape(keys)[2]
    attended = length if a.window is None else min(length, a.window + queries - 1)
    sizes = {"b": batch, "g": groups, "r": repeats, "s": queries, "t": attended, "e": q_width, "v": v_width}
    split = context.invent(f"{out}.query", query, (batch, queries, groups, repeats, q_width), storage=query)
    q = context.operand(split, ("b", "s", "g", "r", "e"))
    operators.append(operator_over(f"{node.name}.query", "View", Kind.VIEW, sizes, (context.operand(query, ("b", "s", None)),), (q,)))
    k = context.operand(keys, ("b", "g", "t" if attended == length else None, "e"), batch * groups * attended * q_width)
    v = context.operand(values, ("b", "g", "t" if attended == length else None, "v"), batch * groups * attended * v_width)
    if attended < length:
        k = _window(node, context, keys, k, sizes, ("b", "g", "t", "e"), "key", operators)
        v = _window(node, context, values, v, sizes, ("b", "g", "t", "v"), "value", operators)
    axes = ("b", "g", "r", "s", "t")
    shape = [sizes[d] for d in axes]
    scores, masked, weights = (context.invent(f"{out}.{part}", query, shape, role=Role.SCORE) for part in ("scores", "masked", "weights"))
    s, m, p = (context.operand(x, axes) for x in (scores, masked, weights))
    operators.append(operator_over(f"{node.name}.scores", "MatMul", Kind.CONTRACTION, sizes, (q, k), (s,)))
    each = SCALE_OPERATIONS + MASK_OPERATIONS + SOFTCAP_OPERATIONS * a.softcap
    bias = (context.operand(a.mask, (None,) * len(context.shape(a.mask))),) if a.mask and a.mask not in context.immediates else ()
    operators.append(operator_over(f"{node.name}.mask", "Mask", Kind.VECTOR, sizes, (s, *bias), (m,), prod(shape) * each))
    operations = prod(shape) * PER_INPUT_ELEMENT["Softmax"]
    operators.append(operator_over(f"{node.name}.softmax", "Softmax", Kind.VECTOR, sizes, (m,), (p,), operations, ("t",)))
    result = context.invent(f"{out}.context", out, (batch, queries, groups, repeats, v_width), storage=out)
    c = context.operand(result, ("b", "s", "g", "r", "v"))
    operators.append(operator_over(f"{node.name}.context", "MatMul", Kind.CONTRACTION, sizes, (p, v), (c,)))
    operators.append(operator_over(node.name, node.op_type, Kind.VIEW, sizes, (c,), (context.operand(out, ("b", "s", None)),)))
    return tuple(operators)


def _rotate(node: Node, context: ReadingContext, name: str, part: str, tables: tuple[str, str], operators: list[Operator]) -> str:
    """Rotation of all heads of [B, S, H E]; reads the tables' rows of the new positions."""
    tensor = context.tensor(name)
    rotated = context.invent(f"{node.outputs[0]}.{part}.rotated", name, tensor.shape)
    dims = ("b", "s", "d")
    rows = [context.operand(t, (None, None), tensor.shape[1] * context.shape(t)[1]) for t in tables]
    sizes = dict(zip(dims, tensor.shape, strict=True))
    inputs = (context.operand(name, dims), *rows)
    operations = tensor.elements * PER_INPUT_ELEMENT["RotaryEmbedding"]
    out = (context.operand(rotated, dims),)
    operators.append(operator_over(f"{node.name}.{part}.rotary", "RotaryEmbedding", Kind.VECTOR, sizes, inputs, out, operations))
    return rotated


def cached(
    node: Node, context: ReadingContext, new: str, past: str, present: str, groups: int, part: str, operators: list[Operator]
) -> str:
    """The tensor [B, G, T, E] of keys or values to attend to: the cache after the append, or the new ones where there is none.

    The past is taken to have room for the new positions where it enters the graph and nothing else reads it; else both are
    copied into the present.
    """
    shape = context.shape(new)
    if len(shape) == 4:
        heads = new
    else:
        batch, positions, width = shape
        heads = context.invent(f"{node.outputs[0]}.{part}", new, (batch, groups, positions, width // groups), storage=new)
        sizes = {"b": batch, "g": groups, "t": positions, "e": width // groups}
        source = context.operand(new, ("b", "t", None))
        target = context.operand(heads, ("b", "g", "t", "e"))
        operators.append(operator_over(f"{node.name}.{part}", "View", Kind.VIEW, sizes, (source,), (target,)))
    if not past and not present:
        return heads
    past_shape = context.shape(past) if past else (0, 0, 0, 0)
    b, g, positions, e = context.shape(heads)
    if not present:
        present = context.invent(f"{node.outputs[0]}.{part}.present", past, (b, g, past_shape[2] + positions, e), role=Role.CACHE)
    name = f"{node.name}.{part}.append"
    if past and past in context.entering and len(context.uses[past]) == 1:
        operators.append(append_to_cache(name, "Append", context, past, heads, present, ("b", "g", None, "e")))
        return present
    sizes = {"b": b, "g": g, "t": positions, "e": e}
    inputs = [context.operand(heads, ("b", "g", "t", "e"))]
    if past:
        inputs.append(context.operand(past, ("b", "g", None, "e")))
    operators.append(operator_over(name, "Concat", Kind.MOVE, sizes, tuple(inputs), (context.operand(present, ("b", "g", None, "e")),)))
    return present


def _window(
    node: Node,
    context: ReadingContext,
    name: str,
    source: Operand,
    sizes: dict[str, int],
    axes: tuple[str, ...],
    part: str,
    operators: list[Operator],
) -> Operand:
    """The last positions of a cache, read in place."""
    view = context.invent(f"{node.outputs[0]}.{part}.window", name, [sizes[d] for d in axes], storage=name)
    target = context.operand(view, axes)
    operators.append(operator_over(f"{node.name}.{part}.window", "View", Kind.VIEW, sizes, (source,), (target,)))
    return target


def operator_over(
    name: str,
    op_type: str,
    kind: Kind,
    sizes: dict[str, int],
    inputs: tuple[Operand, ...],
    outputs: tuple[Operand, ...],
    vector_ops: int = 0,
    reduced: tuple[str, ...] = (),
) -> Operator:
    """An operator over those of `sizes` that its operands name or that it reduces; MACs of a contraction are their product."""
    used = {*reduced, *(d for x in (*outputs, *inputs) for d in x.axes if d is not None)}
    dims = tuple((d, size) for d, size in sizes.items() if d in used)
    return Operator(
        name=name,
        op_type=op_type,
        kind=kind,
        dims=dims,
        inputs=inputs,
        outputs=outputs,
        macs=prod(size for _, size in dims) if kind is Kind.CONTRACTION else 0,
        vector_ops=vector_ops,
        reduced_elements=prod(sizes[d] for d in reduced),
        reduced_dims=reduced,
    )
