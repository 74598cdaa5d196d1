"""How work is cut over the chips of a system: degrees, which combinations are legal, and why the others are not."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from math import gcd
from typing import TYPE_CHECKING, Final

from dse.errors import UsageError, did_you_mean
from dse.system.axes import Cut

if TYPE_CHECKING:
    from dse.system.work import ModelWork

LARGEST_DEGREE: Final = 10**6
OVERLAPPED: Final = 2
"""Micro-batches that hide each other's communication."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallel:
    """Degrees of parallelism. Chips = tp x cp x dp x pp; experts are spread over ep x moe_tp of the tp x cp x dp chips of a stage."""

    tp: int = 1
    """Tensor: heads, columns and rows of attention, dense networks, shared experts and the output head."""
    cp: int = 1
    """Context: the cache of a sequence is cut along its positions."""
    dp: int = 1
    """Data: each group of tp x cp chips has sequences of its own; attention weights are replicated."""
    pp: int = 1
    """Pipeline: layers; the sequences of a group run as pp micro-batches."""
    ep: int = 1
    """Experts: groups of chips that hold different experts."""
    moe_tp: int = 1
    """Tensor, inside an expert."""
    dense_tp: int | None = None
    """Chips over which dense networks, shared experts and the output head are cut, if more than a tensor group: their tokens are
    gathered from, and their results scattered to, its data-parallel groups. None: tp, so each group has a copy of its own."""
    redundant: int = 0
    """Further copies of the most loaded experts; shared experts are on every chip anyway."""
    slots: int | None = None
    """Experts that one chip has room for; None for as many as are needed."""
    microbatches: int = 1
    """2: two halves of the batch in turn, one computes while the other communicates."""

    @property
    def stage_chips(self) -> int:
        """Chips of one pipeline stage."""
        return self.tp * self.cp * self.dp

    @property
    def dense_chips(self) -> int:
        """Chips that share one copy of the dense networks' weights."""
        return self.tp if self.dense_tp is None else self.dense_tp

    @property
    def dense_groups(self) -> int:
        """Data-parallel groups whose tokens one copy of the dense networks works on."""
        return max(1, self.dense_chips // (self.tp * self.cp))

    def __str__(self) -> str:
        given = [f"{f.name}={getattr(self, f.name)}" for f in fields(self) if getattr(self, f.name) != f.default]
        return ",".join(given) or "tp=1"


_WHOLE_FROM_0: Final = ("redundant",)
_NAMES: Final = tuple(f.name for f in fields(Parallel))


def parse_parallel(text: str, *, chips: int, experts: int) -> Parallel:
    """`tp=8,ep=32` as degrees; what is left out: dp takes the chips that tp, cp and pp leave, ep the
    most of those that moe_tp leaves over which the experts divide.

    Raises:
        UsageError: malformed or unknown degrees, or chips that do not come out.
    """
    given: dict[str, int] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, _, value = part.partition("=")
        if name not in _NAMES:
            raise UsageError(f"--parallel {part}: allowed degrees are {', '.join(_NAMES)}.{did_you_mean(name, _NAMES)}")
        least = 0 if name in _WHOLE_FROM_0 else 1
        if not value.isdecimal() or not least <= int(value) <= LARGEST_DEGREE:
            raise UsageError(f"--parallel {part}: give a whole number from {least} to {LARGEST_DEGREE}, for example {name}=8")
        if name in given:
            raise UsageError(f"--parallel {part}: {name} is given twice")
        given[name] = int(value)
    fixed = given.get("tp", 1) * given.get("cp", 1) * given.get("pp", 1)
    if "dp" not in given:
        if chips % fixed:
            raise UsageError(f"tp x cp x pp = {fixed} does not divide the {chips} chips of the system; change a degree")
        given["dp"] = chips // fixed
    plan = Parallel(**given)
    if "ep" not in given and experts:
        if plan.stage_chips % plan.moe_tp:
            raise UsageError(f"moe_tp={plan.moe_tp} does not divide the {plan.stage_chips} chips of a stage")
        plan = replace(plan, ep=gcd(plan.stage_chips // plan.moe_tp, experts + plan.redundant))
    return plan


def refusal(plan: Parallel, work: ModelWork, chips: int) -> str | None:
    """Why a plan cannot run a model on a system; None where it can."""
    checks = (
        _chips(plan, chips),
        _tensor(plan, work),
        _dense(plan, work),
        _experts(plan, work),
        f"pp={plan.pp} needs at least one layer per stage; the model has {work.layers}" if plan.pp > max(1, work.layers) else None,
        f"microbatches={plan.microbatches}: allowed are 1 and 2" if plan.microbatches not in (1, OVERLAPPED) else None,
    )
    return next((reason for reason in checks if reason), None)


def _chips(plan: Parallel, chips: int) -> str | None:
    used = plan.stage_chips * plan.pp
    if used == chips:
        return None
    return f"tp x cp x dp x pp = {plan.tp} x {plan.cp} x {plan.dp} x {plan.pp} = {used}, the system has {chips} chips; they must be equal"


def _tensor(plan: Parallel, work: ModelWork) -> str | None:
    if plan.tp == 1:
        return None
    for name, sizes in work.cut_sizes:
        kv, queries = sizes.get(Cut.KV_HEADS, 1), sizes.get(Cut.QUERY_HEADS, 1)
        heads = kv * queries
        if heads > 1 and (heads % plan.tp or queries % (plan.tp // gcd(plan.tp, kv))):
            return f"tp={plan.tp} does not divide the {heads} heads ({kv} with a cache of their own) of {name}"
        if heads == 1 and work.has_attention(name):
            return f"tp={plan.tp}: no heads that can be cut were found in {name}; use tp=1"
    return None


def _dense(plan: Parallel, work: ModelWork) -> str | None:
    """Dense networks: their inner columns must divide; a vocabulary is padded, as engines do."""
    said = f"tp={plan.tp}" if plan.dense_tp is None else f"dense_tp={plan.dense_tp}"
    wide = plan.dense_chips
    if wide > plan.tp and (plan.stage_chips % wide or wide % (plan.tp * plan.cp)):
        return f"{said} must divide the {plan.stage_chips} chips of a stage and be a multiple of tp x cp = {plan.tp * plan.cp}"
    if wide < plan.tp:
        return f"{said} is less than tp={plan.tp}; chips of a tensor group share their dense networks; leave it out"
    for name, sizes in work.cut_sizes:
        if sizes.get(Cut.FFN, 0) % wide:
            return f"{said} does not divide the {sizes[Cut.FFN]} inner columns ({Cut.FFN}) of {name}"
    return None


def _experts(plan: Parallel, work: ModelWork) -> str | None:
    if not work.experts:
        given = [n for n in ("ep", "moe_tp", "redundant") if getattr(plan, n) != Parallel.__dataclass_fields__[n].default]
        return f"{given[0]}={getattr(plan, given[0])}: the model has no routed experts; leave it out" if given else None
    group = plan.ep * plan.moe_tp
    if plan.stage_chips % group:
        return f"ep x moe_tp = {plan.ep} x {plan.moe_tp} = {group} does not divide the {plan.stage_chips} chips of a stage (tp x cp x dp)"
    if group > plan.tp and group % plan.tp:
        return f"ep x moe_tp = {group} is more than tp={plan.tp} but no multiple of it; experts span whole tensor groups"
    if group < plan.tp:
        return f"ep x moe_tp = {group} is less than tp={plan.tp}; give ep={plan.tp} or moe_tp={plan.tp}"
    copies = work.experts + plan.redundant
    if copies % plan.ep:
        return f"{work.experts} experts and {plan.redundant} redundant copies do not divide over ep={plan.ep}"
    if plan.redundant > work.experts * (plan.ep - 1):
        return f"redundant={plan.redundant}: an expert has at most one copy per chip, so at most {work.experts * (plan.ep - 1)}"
    if plan.slots is not None and copies > plan.ep * plan.slots:
        return f"{copies} expert copies, but ep={plan.ep} x slots={plan.slots} = {plan.ep * plan.slots} slots; raise ep or slots"
    for name, sizes in work.cut_sizes:
        if sizes.get(Cut.EXPERT_FFN, 0) % plan.moe_tp:
            return f"moe_tp={plan.moe_tp} does not divide the {sizes[Cut.EXPERT_FFN]} inner columns of an expert of {name}"
    return None


def checked(plan: Parallel, work: ModelWork, chips: int) -> Parallel:
    """`plan`, if it is legal.

    Raises:
        UsageError: it is not; says why.
    """
    reason = refusal(plan, work, chips)
    if reason is not None:
        raise UsageError(f"--parallel {plan}: {reason}")
    return plan


def divisors_of(plan: Parallel, sizes: dict[Cut, int]) -> dict[Cut, float]:
    """By how much each cut divides the counts of the fullest chip.

    tp takes KV heads first, then query heads (a cache that has no more heads is replicated). A vocabulary that does not divide is
    padded: the fullest chip has the next whole number of columns.
    """
    kv = gcd(plan.tp, sizes.get(Cut.KV_HEADS, 1))
    dense, columns = plan.dense_chips, sizes.get(Cut.VOCABULARY, plan.dense_chips)
    return {
        Cut.KV_HEADS: kv,
        Cut.QUERY_HEADS: plan.tp // kv,
        Cut.FFN: dense,
        Cut.EXPERT_FFN: plan.moe_tp,
        Cut.VOCABULARY: columns / -(-columns // dense),
    }
