"""The fields of an accelerator that a setting or a search may change, each with its type, unit and effect."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import annotated_types
from pydantic import BaseModel

from dse.hw.memory_form import BufferForm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

    from dse.files import Value
    from dse.hw.file_form import AcceleratorFile
    from dse.hw.technology import Technology

Effect: TypeAlias = Literal["geometry", "price", "technology"]
"""`geometry` selects another frontier; `price` only prices it and may be a table column; `technology` renews all prices left out."""

UNITS: Final = {
    "_pj_per_byte": "pJ/byte",
    "_pj_per_op": "pJ/op",
    "_energy_pj": "pJ",
    "_gb_per_s": "GB/s",
    "_mhz": "MHz",
    "_kib": "KiB",
    "_gib": "GiB",
    "_mm2": "mm2",
    "_ns": "ns",
    "_us": "us",
    "_w": "W",
}
"""Unit by suffix of a key; keys without have none."""
_ARRAY_GEOMETRY: Final = frozenset(
    ("rows", "columns", "count", "dataflows", "folds", "load_rows_per_cycle", "macs_per_pe_per_cycle", "dims", "stationary")
)
_MEMORY_GEOMETRY: Final = frozenset(("double_buffered", "overlapped", "operands", "capacity_shares", "serves"))
_NOT_SETTABLE: Final = frozenset({"schema_version", "name", "summary", "core.count", "calibration"})


@dataclass(frozen=True, slots=True)
class FieldPath:
    """One field that may be changed."""

    path: str
    """`core.array.rows`: keys from the top of the file."""
    effect: Effect
    type: str
    """`integer`, `number`, `true or false`, `word` or `list of words`."""
    unit: str
    """Empty for counts, shares and words."""
    value: Value
    """What it is now, the technology's value where the file leaves it out."""
    allowed: str
    """Bounds in words: `above 0`; empty where none."""
    summary: str
    """First line of the field's description."""
    minimum: float = float("-inf")
    """Bound, itself allowed unless `above_minimum`."""
    above_minimum: bool = False
    maximum: float = float("inf")
    """Largest value allowed."""


def field_paths(form: AcceleratorFile, technology: Technology) -> tuple[FieldPath, ...]:
    """All fields of `form` that may be changed, in the order of the file, with those that it leaves to `technology`."""
    inherited = inherited_prices(form, technology)
    found = {p.path: p for p in walk_fields(form, "") if p.path not in _NOT_SETTABLE and not p.path.endswith(".kind")}
    for path, value in inherited.items():
        old = found.get(path)
        found[path] = _leaf(path, value, None, old.summary if old else "pJ per MAC", old)
    return tuple(p for p in found.values() if p.value is not None)


def inherited_prices(form: AcceleratorFile, technology: Technology) -> dict[str, float]:
    """Energies that the file leaves to the technology, by path.

    Types without an energy in either are left out: the reader reports them.
    """
    dram_name, dram = form.dram
    buffers = [(name, memory) for name, memory in form.memories.items() if isinstance(memory, BufferForm)]
    rates, energies = form.core.array.macs_per_pe_per_cycle, form.core.array.mac_energy_pj
    inherited = {
        f"core.array.mac_energy_pj.{t}": technology.mac_energy_pj[t] for t in rates if t not in energies and t in technology.mac_energy_pj
    }
    pairs = (
        ("core.vector.energy_pj_per_op", form.core.vector.energy_pj_per_op, technology.vector_energy_pj_per_op),
        *(
            pair
            for name, buffer in buffers
            for pair in (
                (f"memories.{name}.read_energy_pj_per_byte", buffer.read_energy_pj_per_byte, technology.buffer_read_energy_pj_per_byte),
                (f"memories.{name}.write_energy_pj_per_byte", buffer.write_energy_pj_per_byte, technology.buffer_write_energy_pj_per_byte),
            )
        ),
        (f"memories.{dram_name}.read_energy_pj_per_byte", dram.read_energy_pj_per_byte, technology.dram_read_energy_pj_per_byte),
        (f"memories.{dram_name}.write_energy_pj_per_byte", dram.write_energy_pj_per_byte, technology.dram_write_energy_pj_per_byte),
    )
    return inherited | {path: usual for path, given, usual in pairs if given is None}


def walk_fields(form: BaseModel, prefix: str) -> Iterator[FieldPath]:
    """Every field of a form and of those inside it that has a value, in the order of the file."""
    own = type(form).__annotations__
    for name, info in sorted(type(form).model_fields.items(), key=lambda field: field[0] not in own):  # its own before inherited ones
        value = getattr(form, name)
        yield from _below(value, f"{prefix}{name}", info)


def _below(value: object, path: str, info: FieldInfo) -> Iterator[FieldPath]:
    if value is None and not path.endswith("energy_pj_per_byte") and not path.endswith("energy_pj_per_op"):
        return  # left out, and no technology gives it
    summary = (info.description or "").split("\n")[0]
    if isinstance(value, BaseModel):
        yield from walk_fields(value, f"{path}.")
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _below(inner, f"{path}.{key}", info)
    else:
        yield _leaf(path, value, info, summary, None)


def _leaf(path: str, value: object, info: FieldInfo | None, summary: str, like: FieldPath | None) -> FieldPath:
    words = isinstance(value, StrEnum)
    shown: Value = [str(v) for v in value] if isinstance(value, tuple) else str(value) if words else value  # type: ignore[assignment]
    low, above, high = (like.minimum, like.above_minimum, like.maximum) if like and like.type != "word" else _bounds(path, info)
    allowed = " and ".join(
        bound
        for bound, there in (
            (f"{'above' if above else 'at least'} {low:g}", low != float("-inf")),
            (f"at most {high:g}", high != float("inf")),
        )
        if there
    )
    return FieldPath(path, _effect(path), _type(value), _unit(path), shown, allowed, summary, low, above, high)


def _bounds(path: str, info: FieldInfo | None) -> tuple[float, bool, float]:
    """Bounds from the field's own constraints; values of mappings and energies left out are positive by their form."""
    low, above, high = float("-inf"), False, float("inf")
    for rule in info.metadata if info else ():
        if isinstance(rule, annotated_types.Gt):
            low, above = float(rule.gt), True  # type: ignore[arg-type]
        elif isinstance(rule, annotated_types.Ge):
            low = float(rule.ge)  # type: ignore[arg-type]
        elif isinstance(rule, annotated_types.Le):
            high = float(rule.le)  # type: ignore[arg-type]
    if low == float("-inf") and ("energy_pj" in path or path.startswith("core.array.macs_per_pe")):
        return (1.0, False, high) if "macs_per_pe" in path else (0.0, True, high)
    if low == float("-inf") and ".capacity_shares." in path:
        return 0.0, True, 1.0
    if low == float("-inf") and path.startswith("area."):
        return 0.0, False, high
    return low, above, high


def _type(value: object) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, tuple):
        return "list of words"
    if isinstance(value, StrEnum | str):
        return "word"
    return "integer" if isinstance(value, int) else "number"


def _effect(path: str) -> Effect:
    if path == "technology":
        return "technology"
    keys = [*path.split("."), "", "", ""]
    geometry = keys[2] in (_ARRAY_GEOMETRY if keys[:2] == ["core", "array"] else _MEMORY_GEOMETRY if keys[0] == "memories" else ())
    return "geometry" if geometry else "price"


def _unit(path: str) -> str:
    for key in reversed(path.split(".")):
        for suffix, unit in UNITS.items():
            if key.endswith(suffix):
                return unit
    return ""
