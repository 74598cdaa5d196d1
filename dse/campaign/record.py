"""Trial records as plain JSON values and back."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from dse.cost.capacity import Infeasibility
from dse.search.trial import Ceiling, Design, Front, Lacking, Marginals, Miss, TrialRecord, TrialState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_COLUMNS = {"front": Front, "marginals": Marginals}


def records_to_json(records: Sequence[TrialRecord]) -> list[dict[str, object]]:
    """One mapping per trial, fronts and marginals as columns; floats keep every digit."""
    return [_plain(record) for record in records]


def records_from_json(values: object) -> tuple[TrialRecord, ...]:
    """The trials that `records_to_json` wrote; the log's checksum vouches for their form."""
    assert isinstance(values, list)
    return tuple(_record(value) for value in values)


def _plain(record: TrialRecord) -> dict[str, object]:
    found: dict[str, object] = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if field.name in _COLUMNS:
            found[field.name] = {f.name: getattr(value, f.name) for f in fields(value)}
        elif field.name == "lacking":
            if value is not None:  # left out elsewhere: logs of trials that fit stay as they are
                found[field.name] = {"inner": value.inner, **value.why.to_json_dict()}
        else:
            found[field.name] = asdict(value) if isinstance(value, Design | Ceiling | Miss) else value
    return found


def _record(value: Mapping[str, Any]) -> TrialRecord:  # Any: JSON
    known = dict(value)
    known["state"] = TrialState(known["state"])
    front = known["front"]
    known["front"] = Front(
        inner=tuple(front["inner"]),
        metrics={name: tuple(column) for name, column in front["metrics"].items()},
        bound=tuple(front["bound"]),
        dram_bytes=tuple(front["dram_bytes"]),
    )
    known["marginals"] = Marginals(**{name: tuple(column) for name, column in known["marginals"].items()})
    known["best"] = None if known["best"] is None else Design(**known["best"])
    known["ceiling"] = None if known["ceiling"] is None else Ceiling(**known["ceiling"])
    if known["miss"] is not None:
        known["miss"] = Miss(Design(**known["miss"]["design"]), tuple(known["miss"]["violations"]))
    if "lacking" in known:
        known["lacking"] = _lacking(known["lacking"])
    for name in ("probes", "bounds"):
        known[name] = {path: tuple(column) for path, column in known.get(name, {}).items()}
    for name in ("violated", "attained", "worst"):
        known[name] = tuple(known[name])
    return TrialRecord(**known)


def _lacking(value: Mapping[str, Any]) -> Lacking:  # Any: JSON
    sizes = value["demand_bytes"], value["bound_bytes"]
    contributors = tuple((str(name), float(size)) for name, size in value["contributors"].items())
    why = Infeasibility(value["resource"], *sizes, value["message"], contributors, tuple(value["levers"]))
    return Lacking(value["inner"], why)
