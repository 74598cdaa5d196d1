"""A layer as one chip runs it: its kernels in order, with the collectives between them as operators of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dse.system.axes import Cut
from dse.system.chip_time import activation_bytes
from dse.system.kernels import Region
from dse.system.parallel import divisors_of
from dse.system.system import Operation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dse.system.parallel import Parallel
    from dse.system.work import KernelWork, ModelWork, PartWork


@dataclass(frozen=True, slots=True)
class CollectiveWork:
    """One collective of a chip with its group."""

    name: str
    operation: Operation
    ranks: int
    """Chips that take part, neighbours."""
    bytes_per_sequence: float
    """Buffer (see `collectives.wire_bytes`) per sequence of a data-parallel group."""
    by_load: bool = False
    """Dispatch and combine: destinations get what their experts attract, not equal shares."""


@dataclass(frozen=True, slots=True)
class _Ends:
    """Names of the kernels of a part between which collectives lie; empty where there is none."""

    before_core: str
    core: str
    attention: str
    before_experts: str
    before_dense: str


def chip_program(part: PartWork, work: ModelWork, plan: Parallel) -> tuple[KernelWork | CollectiveWork, ...]:
    """Kernels and collectives of one run of a part, in order.

    Tensor groups add up (all-reduce over tp) after attention and after the feed-forward part; context groups add up the
    partial results of the core in decode, and gather the cache in prefill; experts over more chips than a tensor group
    get their rows by a dispatch and give them back by a combine, in which every member of a tensor group handles its
    share of the tokens. Dense networks that are cut over several data-parallel groups gather the tokens of all and
    scatter the sums. Logits are gathered; looked-up rows of a cut embedding are added up.
    """
    steps: list[KernelWork | CollectiveWork] = []
    ends = _ends(part)
    for kernel in part.kernels:
        if kernel.name == ends.before_core and work.gathered_over > 1:
            steps.append(_gathered_cache(part, work, plan))
        if kernel.name == ends.before_experts:
            steps += _exchange(part, work, plan, "dispatch")
        if kernel.name == ends.before_dense:
            steps += _gather(part, work, plan)
        steps.append(kernel)
        if kernel.name == ends.core:
            steps += _context(part, plan)
        if kernel.name == ends.attention:
            steps += _sum_attention(part, plan)
    steps += _exchange(part, work, plan, "combine") if ends.before_experts else []
    steps += _end(part, plan)
    return tuple(steps)


def collectives_of(part: PartWork, work: ModelWork, plan: Parallel) -> tuple[CollectiveWork, ...]:
    """The collectives of `chip_program`."""
    return tuple(s for s in chip_program(part, work, plan) if isinstance(s, CollectiveWork))


def uses_dense_cut(kernel: KernelWork) -> bool:
    """Whether a kernel works on a share of a dense network or of the vocabulary."""
    cuts = (Cut.FFN, Cut.VOCABULARY)
    return any(cut in affine.signature for _, affine in (*kernel.macs, *kernel.moved) for cut in cuts)


def _ends(part: PartWork) -> _Ends:
    def names(keep: list[KernelWork]) -> list[str]:
        return [k.name for k in keep]

    attention = names([k for k in part.kernels if k.region is Region.ATTENTION]) if part.is_layer else []
    experts = names([k for k in part.kernels if k.region is Region.EXPERTS])
    core = names([k for k in part.kernels if k.core])
    dense = names([k for k in part.kernels if uses_dense_cut(k)])
    return _Ends(
        before_core=next((k.name for k in part.kernels if k.reads_cache or k.core), ""),
        core=core[-1] if core else "",
        attention=attention[-1] if attention and core else "",
        before_experts=experts[0] if experts else "",
        before_dense=dense[0] if dense else "",
    )


def _context(part: PartWork, plan: Parallel) -> Iterator[CollectiveWork]:
    if plan.cp > 1:
        by = divisors_of(plan, part.sizes)
        out = sum(sum(activation_bytes(k, by)) for k in part.kernels if k.core) / 2  # activations across its boundary, half of them out
        yield CollectiveWork("context_sum", Operation.ALL_REDUCE, plan.cp * plan.tp, out)


def _gathered_cache(part: PartWork, work: ModelWork, plan: Parallel) -> CollectiveWork:
    """Keys and values, or what they are made from, of all shares of a sequence."""
    by = divisors_of(plan, part.sizes)
    size = sum(a.divided(by)[1] for a in part.caches) * work.gathered_over
    return CollectiveWork("cache_gather", Operation.ALL_GATHER, work.gathered_over * plan.tp, size)


def _sum_attention(part: PartWork, plan: Parallel) -> Iterator[CollectiveWork]:
    if plan.tp > 1:
        yield CollectiveWork("attention_sum", Operation.ALL_REDUCE, plan.tp, part.stream_bytes)


def _exchange(part: PartWork, work: ModelWork, plan: Parallel, name: str) -> Iterator[CollectiveWork]:
    group = plan.ep * plan.moe_tp
    if part.has_experts and group > plan.tp:
        sent = part.stream_bytes * work.experts_per_token * plan.moe_tp / (plan.tp * plan.cp)
        yield CollectiveWork(name, Operation.ALL_TO_ALL, group, sent, by_load=True)


def _gather(part: PartWork, work: ModelWork, plan: Parallel) -> Iterator[CollectiveWork]:
    """Tokens of all groups that share a copy; the token numbers that an embedding needs are too small to count beside its rows."""
    if plan.dense_groups > 1 and (part.is_layer or _is_head(part)):
        yield CollectiveWork("dense_gather", Operation.ALL_GATHER, plan.dense_chips, plan.dense_groups * work.stream_bytes)


def _end(part: PartWork, plan: Parallel) -> Iterator[CollectiveWork]:
    wide, groups = plan.dense_chips, plan.dense_groups
    if _is_head(part):
        if groups > 1:  # every group gets the logits of its own sequences
            yield CollectiveWork("logits_exchange", Operation.ALL_TO_ALL, wide, groups * part.stream_bytes / wide)
        elif wide > 1:
            yield CollectiveWork("logits_gather", Operation.ALL_GATHER, wide, part.stream_bytes)
        return
    dense = Cut.FFN in part.sizes or Cut.VOCABULARY in part.sizes
    if dense and groups > 1:
        yield CollectiveWork("dense_scatter", Operation.REDUCE_SCATTER, wide, groups * part.stream_bytes)
        if plan.tp > 1:
            yield CollectiveWork("dense_spread", Operation.ALL_GATHER, plan.tp, part.stream_bytes)
    elif plan.tp > 1 and (dense or part.has_experts):
        yield CollectiveWork("ffn_sum", Operation.ALL_REDUCE, plan.tp, part.stream_bytes)


def _is_head(part: PartWork) -> bool:
    """Whether a part makes logits; an embedding has no products."""
    return Cut.VOCABULARY in part.sizes and any(k.macs for k in part.kernels)
