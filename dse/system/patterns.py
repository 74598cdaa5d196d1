"""Many combinations of degrees from one text: `tp=*,ep=8|16,pp=1`, the legal ones and why the others are not."""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Final

from dse.errors import UsageError
from dse.mapping.factors import divisors
from dse.system.parallel import OVERLAPPED, Parallel, parse_parallel, refusal

if TYPE_CHECKING:
    from dse.system.work import ModelWork

ANY: Final = "*"
ALTERNATIVE: Final = "|"
EVERYTHING: Final = "tp=*,ep=*,moe_tp=*"
"""What a grid tries where no degrees are given."""
LARGEST_PATTERN: Final = 10**5
"""More combinations than this are refused: a slip in the text is likelier than a wish."""
_NAMES: Final = tuple(f.name for f in fields(Parallel))


@dataclass(frozen=True)
class Enumerated:
    """All combinations of a pattern."""

    legal: tuple[Parallel, ...]
    refused: tuple[tuple[str, str], ...]
    """(degrees, reason)."""


def is_pattern(text: str) -> bool:
    """Whether a text of degrees names more than one combination."""
    return ANY in text or ALTERNATIVE in text


def plans_of(text: str, work: ModelWork, chips: int) -> Enumerated:
    """Combinations of `text` that can run `work` on `chips`, each once, in the order of the text.

    `name=*` tries what could divide: for tp, cp, dp, pp, ep, moe_tp and dense_tp all divisors of the chips, for microbatches 1 and 2,
    for redundant none, one and two copies per chip. `name=a|b` tries these.

    Raises:
        UsageError: unknown degrees, too many combinations, or none that is legal, with the first reason.
    """
    parts = [p.strip() for p in text.split(",") if p.strip()]
    choices = [_values(part, chips) for part in parts]
    number = prod(len(c) for c in choices)
    if number > LARGEST_PATTERN:
        raise UsageError(f"--parallel {text}: {number} combinations; allowed are {LARGEST_PATTERN}; name some degrees")
    legal: dict[Parallel, None] = {}
    refused: list[tuple[str, str]] = []
    for combination in product(*choices):
        one = ",".join(combination)
        try:
            plan = parse_parallel(one, chips=chips, experts=work.experts)
        except UsageError as error:
            if number == 1:
                raise
            refused.append((one, str(error)))
            continue
        reason = refusal(plan, work, chips)
        if reason is None:
            legal[plan] = None
        else:
            refused.append((str(plan), reason))
    if not legal:
        first = refused[0]
        raise UsageError(f"--parallel {text}: none of {number} combinations is legal; the first, {first[0]}: {first[1]}")
    return Enumerated(tuple(legal), tuple(refused))


def _values(part: str, chips: int) -> tuple[str, ...]:
    name, _, value = part.partition("=")
    if value == ANY and name in _NAMES:
        if name == "slots":
            raise UsageError(f"--parallel {part}: slots is what there is room for, give a number; all other degrees may be *")
        if name == "microbatches":
            return tuple(f"{name}={n}" for n in (1, OVERLAPPED))
        if name == "redundant":
            return tuple(f"{name}={n * chips}" for n in (0, 1, 2))
        return tuple(f"{name}={n}" for n in divisors(chips))
    if ANY in value:
        raise UsageError(f"--parallel {part}: * stands alone and means all that could divide; write {name}=* or numbers, {name}=2|4")
    return tuple(f"{name}={v.strip()}" for v in value.split(ALTERNATIVE)) if ALTERNATIVE in value else (part,)
