"""Trial records as plain JSON values and back."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dse.search.trial import Ceiling, Design, Marginal, Miss, TrialRecord, TrialState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def records_to_json(records: Sequence[TrialRecord]) -> list[dict[str, object]]:
    """One mapping per trial; floats keep every digit."""
    return [asdict(record) for record in records]


def records_from_json(values: object) -> tuple[TrialRecord, ...]:
    """The trials that `records_to_json` wrote; the log's checksum vouches for their form."""
    assert isinstance(values, list)
    return tuple(_record(value) for value in values)


def _record(value: Mapping[str, Any]) -> TrialRecord:  # Any: JSON
    known = dict(value)
    known["state"] = TrialState(known["state"])
    known["front"] = tuple(Design(**design) for design in known["front"])
    known["marginals"] = tuple(Marginal(**marginal) for marginal in known["marginals"])
    known["best"] = None if known["best"] is None else Design(**known["best"])
    known["ceiling"] = None if known["ceiling"] is None else Ceiling(**known["ceiling"])
    if known["miss"] is not None:
        known["miss"] = Miss(Design(**known["miss"]["design"]), tuple(known["miss"]["violations"]))
    for name in ("violated", "attained", "worst"):
        known[name] = tuple(known[name])
    return TrialRecord(**known)
