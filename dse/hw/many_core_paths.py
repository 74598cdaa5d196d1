"""The fields of a chip of many cores that a setting or a search may change, each with its type, unit and effect."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from dse.hw.paths import walk_fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.hw.many_core_form import ChipFile
    from dse.hw.paths import Effect, FieldPath
    from dse.hw.technology import Technology

_NOT_SETTABLE: Final = frozenset({"schema_version", "name", "summary"})
_LINK_PRICES: Final = frozenset({"bandwidth_gb_per_s", "energy_pj_per_byte", "latency_ns"})
_KIND_GEOMETRY: Final = frozenset({"count", "op_types"})


def chip_field_paths(form: ChipFile, kinds: Mapping[str, tuple[FieldPath, ...]], technology: Technology) -> tuple[FieldPath, ...]:
    """All fields of a chip that may be changed, in the order of the file, then the energies that it leaves to `technology`.

    `kinds` has the fields of each kind of core as an accelerator of one core: effect, unit and bounds are theirs. `geometry` fields
    change which plans there are (cores, arrays, what joins them), `price` fields what a plan needs room and time for.
    """
    found = {p.path: p for p in walk_fields(form, "") if p.path not in _NOT_SETTABLE and not p.path.endswith(".kind")}
    for kind, paths in kinds.items():
        for p in paths:
            path = in_chip(p.path, kind, form)
            if path is not None:
                found[path] = replace(p, path=path)
    for name, buffer in form.shared:
        for way, usual in (("read", technology.buffer_read_energy_pj_per_byte), ("write", technology.buffer_write_energy_pj_per_byte)):
            path = f"memories.{name}.{way}_energy_pj_per_byte"
            if path in found and getattr(buffer, f"{way}_energy_pj_per_byte") is None:
                found[path] = replace(found[path], value=usual, type="number")
    return tuple(p if _of_a_core(p.path) else replace(p, effect=_effect(p)) for p in found.values() if p.value is not None)


def in_chip(path: str, kind: str, form: ChipFile) -> str | None:
    """Where a field of the one-core form of a kind stands in the chip's file; None where it does not."""
    head, _, rest = path.partition(".")
    match head:
        case "core":
            unit = rest.split(".")[0]
            return f"cores.{kind}.{rest}" if unit in ("array", "vector") and getattr(form.cores[kind], unit) is not None else None
        case "memories":
            name = rest.split(".")[0]
            return path if name == form.dram[0] else f"cores.{kind}.{path}"
        case "leakage_w":
            return f"cores.{kind}.leakage_w"
        case "clock_mhz" | "technology":
            return path
        case _:
            return None


def of_kind(path: str, kind: str, form: ChipFile) -> str | None:
    """The field of the one-core form of a kind behind a field of the chip; None where it is none of this kind."""
    head, _, rest = path.partition(".")
    match head:
        case "cores":
            name, _, inside = rest.partition(".")
            if name != kind:
                return None
            return f"core.{inside}" if inside.startswith(("array.", "vector.")) else inside
        case "memories":
            return path if rest.split(".")[0] == form.dram[0] else None
        case "clock_mhz" | "technology":
            return path
        case _:
            return None


def _of_a_core(path: str) -> bool:
    keys = path.split(".")
    return keys[0] == "cores" and keys[2] not in _KIND_GEOMETRY


def _effect(field: FieldPath) -> Effect:
    keys = field.path.split(".")
    if keys[0] == "technology":
        return "technology"
    if keys[0] == "links":
        return "price" if keys[2] in _LINK_PRICES else "geometry"
    if keys[0] == "cores":
        return "geometry"
    if keys[0] == "memories":
        return field.effect
    return "price"
