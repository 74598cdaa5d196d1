"""Published claims and exact cases, each with our number computed by the project's own flow, and a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

MET: Final = "met"
NOT_MET: Final = "not met"
EXACT: Final = 1e-9
"""Band of figures that arithmetic fixes."""


@dataclass(frozen=True)
class Claim:
    """One claim with its verdict."""

    id: str
    source: str
    published: str
    ours: str
    deviation: float | None
    """Greatest relative deviation of the numbers compared; None where nothing is compared."""
    band: float | None
    verdict: str
    """`met`, `not met`, or `not checkable: ` with the reason."""

    def to_json_dict(self) -> dict[str, str | float | None]:
        """The keys of `dse validate`."""
        return dict(vars(self))


def compared(
    name: str, source: str, published: Sequence[float], ours: Sequence[float], *, band: float, digits: int = 6, note: str = ""
) -> Claim:
    """A claim of numbers, in order; met where each is within `band` (relative) of the published one."""
    assert len(published) == len(ours), name
    deviation = max(abs(o - p) / abs(p) for p, o in zip(published, ours, strict=True))
    words = ", ".join(f"{v:.{digits}g}" for v in published), ", ".join(f"{v:.{digits}g}" for v in ours)
    return Claim(name, source, words[0], words[1] + note, deviation, band, MET if deviation <= band else NOT_MET)


def holds(name: str, source: str, published: str, ours: str, fact: bool) -> Claim:
    """A claim of an order or a shape."""
    return Claim(name, source, published, ours, None, None, MET if fact else NOT_MET)


def unchecked(name: str, source: str, published: str, reason: str, *, ours: str = "") -> Claim:
    """A claim that cannot be checked, with the reason, and our reading where there is one."""
    return Claim(name, source, published, ours, None, None, f"not checkable: {reason}")


BEGIN, END = "<!-- claims -->", "<!-- end of claims -->"
"""What stands between these lines of a page is generated."""


def page_with_table(page: str, claims: Sequence[Claim]) -> str:
    """The page with its table of claims renewed."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    rows = [
        f"| {c.id} | {c.published} | {c.ours} | {'' if c.deviation is None else f'{100 * c.deviation:.2g} %'} | {c.verdict} |"
        for c in claims
    ]
    table = "\n".join(("| claim | published | ours | deviation | verdict |", "| --- | --- | --- | --- | --- |", *rows))
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def check_claims(which: str) -> tuple[Claim, ...]:
    """Claims of paper `A`, paper `B`, the exact cases `bounds`, or `all`."""
    from dse.validation.bounds_claims import bounds_claims
    from dse.validation.paper_a import paper_a_claims
    from dse.validation.paper_b import paper_b_claims

    sets = {"A": paper_a_claims, "B": paper_b_claims, "bounds": bounds_claims}
    return tuple(c for name, check in sets.items() if which in (name, "all") for c in check())
