"""Einsum of any number of operands: diagonals, sums over one operand, then products of two in the order given."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Final

from dse.ir.onnx_ops.contraction import product_over
from dse.ir.onnx_ops.registry import READERS, register
from dse.ir.operator import Kind, Operator
from dse.ir.vector_costs import PER_INPUT_ELEMENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dse.ir.onnx_ops.registry import Node, ReadingContext

ELLIPSIS: Final = "..."
_TERM: Final = r"[A-Za-z]*(?:\.\.\.[A-Za-z]*)?"
_EQUATION: Final = re.compile(rf"{_TERM}(?:,{_TERM})*(?:->{_TERM})?")


def check_equation(node: Node) -> None:
    """Raise a GraphError where an equation is not well formed: from some, onnx' own shape inference never returns."""
    equation = node.text("equation", "")
    if _EQUATION.fullmatch(equation.replace(" ", "")) is None:
        raise node.error(f"Einsum '{equation[:80]}': write letters and at most one '...' per operand, as in '...ab,bc->...ac'")


@dataclass(frozen=True, slots=True)
class Term:
    """An operand, or an intermediate result, and the index of each of its axes; None for a broadcast axis of size 1."""

    tensor: str
    indices: tuple[str | None, ...]


@register("Einsum")
def read_einsum(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Einstein sum; the letters are the loop names, axes of an ellipsis are called e0, e1, ... from the last one.

    More than two operands are multiplied from left to right, as onnxruntime and torch do. Source: numpy.einsum, ONNX Einsum.

    Raises:
        GraphError: the equation does not fit the operands, or an index has two sizes.
    """
    terms, out = _parsed(node, context)
    operators: list[Operator] = []
    if len(terms) == 1:
        return _of_one(node, context, terms[0], out)
    needed = Counter(index for term in terms for index in set(term.indices))
    ready = [
        _summed(node, context, _diagonal(node, context, term, operators, i), needed, out, operators, i) for i, term in enumerate(terms)
    ]
    left = ready[0]
    for i, right in enumerate(ready[1:], 1):
        last = i == len(ready) - 1
        later = set(chain(out, *(t.indices for t in ready[i + 1 :])))
        kept = out if last else tuple(d for d in dict.fromkeys((*left.indices, *right.indices)) if d is not None and d in later)
        result = node.outputs[0] if last else _intermediate(node, context, (left, right), kept, i)
        name = node.name if last else f"{node.name}.product{i}"
        step = replace(node, name=name, inputs=(left.tensor, right.tensor), outputs=(result,))
        operators.append(product_over(step, context, left.indices, right.indices, kept))
        left = Term(result, kept)
    return tuple(operators)


def _parsed(node: Node, context: ReadingContext) -> tuple[tuple[Term, ...], tuple[str, ...]]:
    """Operands with their indices, and the indices of the result."""
    equation = node.text("equation", "").replace(" ", "")
    left, arrow, right = equation.partition("->")
    texts = left.split(",")
    if len(texts) != len(node.inputs):
        raise node.error(f"Einsum '{equation}' is of {len(texts)} operands; the node has {len(node.inputs)}")
    ranks = [len(context.shape(name)) for name in node.inputs]
    indices = [_indices(node, equation, text, rank) for text, rank in zip(texts, ranks, strict=True)]
    most = max((sum(i.startswith("e") and i != "e" for i in term) for term in indices), default=0)
    if arrow:
        out = _indices(node, equation, right, len(right.replace(ELLIPSIS, "")) + (most if ELLIPSIS in right else 0))
    else:
        once = Counter(chain.from_iterable(indices))
        out = (*(f"e{i}" for i in reversed(range(most))), *sorted(i for i, n in once.items() if n == 1 and len(i) == 1))
    unknown = [i for i in out if i not in set(chain.from_iterable(indices))]
    if unknown or len(set(out)) != len(out):
        raise node.error(f"Einsum '{equation}': index '{(unknown or [*out])[0]}' of the result is in no operand, or twice in the result")
    sizes: dict[str, int] = {}
    for name, term in zip(node.inputs, indices, strict=True):
        for index, size in zip(term, context.shape(name), strict=True):
            sizes[index] = max(size, sizes.get(index, 1))
    terms = tuple(
        Term(name, tuple(i if size == sizes[i] or len(i) == 1 else None for i, size in zip(term, context.shape(name), strict=True)))
        for name, term in zip(node.inputs, indices, strict=True)
    )
    return terms, out


def _indices(node: Node, equation: str, text: str, rank: int) -> tuple[str, ...]:
    """Indices of a term of `rank` axes; those of an ellipsis are numbered from its last axis."""
    before, dots, after = text.partition(ELLIPSIS)
    letters = before + after
    hidden = rank - len(letters)
    if (letters and not letters.isalpha()) or hidden < 0 or (hidden and not dots):
        raise node.error(f"Einsum '{equation}': '{text}' does not fit a tensor of {rank} axes; write letters, and at most one '...'")
    return (*before, *(f"e{i}" for i in reversed(range(hidden))), *after)


def _of_one(node: Node, context: ReadingContext, term: Term, out: tuple[str, ...]) -> tuple[Operator, ...]:
    """Sum, diagonal or transposition of one operand, written straight to the result."""
    if set(term.indices) == set(out) and len(term.indices) == len(out):
        order = tuple(term.indices.index(d) for d in out)
        if order == tuple(range(len(out))):
            return tuple(READERS["Identity"](node, context))
        return tuple(READERS["Transpose"](replace(node, op_type="Transpose", attributes={"perm": order}), context))
    return (_reduction(node, context, term, Term(node.outputs[0], out)),)


def _diagonal(node: Node, context: ReadingContext, term: Term, operators: list[Operator], place: int) -> Term:
    """The term with every index once: elements on diagonals are moved out."""
    once = tuple(d for d in dict.fromkeys(term.indices) if d is not None)
    if len(once) == len([d for d in term.indices if d is not None]):
        return term
    found = Term(_intermediate(node, context, (term,), once, f"diagonal{place}"), once)
    operators.append(_reduction(replace(node, name=f"{node.name}.diagonal{place}"), context, term, found))
    return found


def _summed(
    node: Node, context: ReadingContext, term: Term, needed: Counter[str | None], out: Sequence[str], operators: list[Operator], place: int
) -> Term:
    """The term summed over indices that neither another operand nor the result has."""
    kept = tuple(d for d in term.indices if d is None or d in out or needed[d] > 1)
    if kept == term.indices:
        return term
    inner = tuple(d for d in kept if d is not None)
    found = Term(_intermediate(node, context, (term,), inner, f"sum{place}"), inner)
    operators.append(_reduction(replace(node, name=f"{node.name}.sum{place}"), context, term, found))
    return found


def _reduction(node: Node, context: ReadingContext, term: Term, result: Term) -> Operator:
    """A sum of one operand over all indices that the result has not; of a diagonal, a move where nothing is summed."""
    sizes = {d: size for d, size in zip(term.indices, context.shape(term.tensor), strict=True) if d is not None}
    repeated = len([d for d in term.indices if d is not None]) != len(sizes)
    elements = 1
    for size in sizes.values():
        elements *= size
    summed = tuple(d for d in sizes if d not in result.indices)
    axes = (None,) * len(term.indices) if repeated else term.indices
    return Operator(
        name=node.name,
        op_type="ReduceSum" if summed else node.op_type,
        kind=Kind.VECTOR if summed else Kind.MOVE,
        dims=tuple((d, sizes[d]) for d in (*(i for i in result.indices if i is not None), *summed)),
        inputs=(context.operand(term.tensor, axes, elements),),
        outputs=(context.operand(result.tensor, result.indices),),
        vector_ops=elements * PER_INPUT_ELEMENT["ReduceSum"] if summed else 0,
        reduced_elements=elements // context.tensor(result.tensor).elements if summed else 1,
        reduced_dims=() if repeated else summed,
    )


def _intermediate(node: Node, context: ReadingContext, terms: Sequence[Term], indices: Sequence[str], place: int | str) -> str:
    """A tensor over `indices` between two steps."""
    sizes = {d: size for t in terms for d, size in zip(t.indices, context.shape(t.tensor), strict=True)}
    return context.invent(f"{node.outputs[0]}.step{place}", node.outputs[0], [sizes[d] for d in indices])
