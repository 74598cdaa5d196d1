"""Campaign files made of others: `include` lays a file over those that it names, `matrix` makes a campaign of every combination."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dse.errors import InputError
from dse.files import Document, load_yaml, parse_setting

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dse.files import Value
    from dse.files.document import Location

MAX_DEPTH: Final = 8
MAX_CELLS: Final = 1_000
"""Most runs of one campaign file."""
_WHOLE: Final = ("values", "power_of_two", "linear", "log")
"""Keys of a dimension: one spelling replaces another."""


def load_campaign(path: str | Path, settings: Sequence[str] = ()) -> Document:
    """A campaign file with its includes below it and `key=value` settings over it.

    Raises:
        InputError: a file is missing or broken, or files include each other.
        UsageError: a setting that is not `key=value`.
    """
    document = _load(Path(path), ())
    for setting in settings:
        document = override(document, *parse_setting(setting))
    return document


def override(document: Document, path: str, value: Value, *, origin: str = "--set") -> Document:
    """One setting; under `space.` the rest of the path is one key, dots included."""
    head, _, rest = path.partition(".")
    if head != "space" or not rest:
        return document.with_settings({path: value}, origin=origin, add_parents=True)
    space = document.data.get("space")
    known = dict(space) if isinstance(space, dict) else {}
    wrapped: Value = value if isinstance(value, dict) else {"values": value if isinstance(value, list) else [value]}
    origins = {key: where for key, where in document.origins.items() if key[:2] != ("space", rest)}
    origins["space", rest] = f"{origin} {path}"
    data = {**document.data, "space": {**known, rest: wrapped}}
    return replace(document, data=data, origins=origins)


def cells(document: Document) -> tuple[tuple[str, Document], ...]:
    """The campaigns of a file: (name of the cell, campaign), one with an empty name where there is no matrix.

    Raises:
        InputError: a matrix that is no mapping of lists, names a key that is not there, or is too large.
    """
    matrix = document.data.get("matrix")
    if not matrix:
        return (("", document),)
    where = document.where(("matrix",))
    if not isinstance(matrix, dict) or not all(isinstance(values, list) and values for values in matrix.values()):
        raise InputError.single(where, "'matrix' takes fields of this file with a list of values each, such as workload.model: [a, b]")
    count = math.prod(len(values) for values in matrix.values() if isinstance(values, list))
    if count > MAX_CELLS:
        raise InputError.single(where, f"'matrix' has {count:,} combinations; at most {MAX_CELLS:,}")
    lists: list[list[Value]] = [values for values in matrix.values() if isinstance(values, list)]
    found: dict[str, Document] = {}
    for values in itertools.product(*lists):
        cell = replace(document, data={key: value for key, value in document.data.items() if key != "matrix"})
        for path, value in zip(matrix, values, strict=True):
            cell = override(cell, path, value, origin=f"{where}: matrix")
        name = "_".join(_slug(value) for value in values)
        if name in found:
            raise InputError.single(where, f"two combinations would both be called '{name}'; give one value of each kind once")
        found[name] = cell
    return tuple(found.items())


def _slug(value: Value) -> str:
    text = str(value).lower()
    stem = Path(text).stem if text.endswith((".yaml", ".yml", ".json")) else text
    return re.sub(r"[^a-z0-9]+", "-", stem).strip("-") or "none"


def _load(path: Path, above: tuple[Path, ...]) -> Document:
    document = load_yaml(path)
    given = document.data.get("include")
    if given is None:
        return document
    names = given if isinstance(given, list) else [given]
    if not all(isinstance(name, str) and name for name in names):
        raise InputError.single(document.where(("include",)), "'include' takes the name of a campaign file, or a list of names")
    merged: Document | None = None
    for name in map(str, names):
        target = (path.parent / name).resolve()
        if target in (path.resolve(), *above):
            raise InputError.single(document.where(("include",)), f"'{name}' includes this file again; break the circle")
        if len(above) >= MAX_DEPTH:
            raise InputError.single(document.where(("include",)), f"files include each other more than {MAX_DEPTH} deep")
        if not target.is_file():
            raise InputError.single(document.where(("include",)), f"'{name}' is no file beside this one ({path.parent})")
        base = _load(path.parent / name, (*above, path.resolve()))
        merged = base if merged is None else _over(merged, base)
    assert merged is not None
    data = {key: value for key, value in document.data.items() if key != "include"}
    merged = replace(merged, data={key: value for key, value in merged.data.items() if key != "include"})
    return _over(merged, replace(document, data=data))


def _over(base: Document, top: Document) -> Document:
    """`top` laid over `base`: mappings are joined, all else is replaced; every value remembers its file."""
    origins = dict(base.origins)
    data = _merge(dict(base.data), dict(top.data), (), top, origins)
    return Document(top.path, top.text, data, origins)


def _merge(
    base: dict[str, Value], top: dict[str, Value], place: Location, document: Document, origins: dict[Location, str]
) -> dict[str, Value]:
    result = dict(base)
    for key, value in top.items():
        here = (*place, key)
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and not _replaces(value):
            if here in document.origins:
                origins[here] = document.origins[here]
            result[key] = _merge(old, value, here, document, origins)
            continue
        _forget(origins, here)
        origins |= {location: where for location, where in document.origins.items() if location[: len(here)] == here}
        result[key] = value
    return result


def _replaces(value: dict[str, Value]) -> bool:
    return any(key in value for key in _WHOLE)


def _forget(origins: dict[Location, str], place: Iterable[str | int]) -> None:
    head = tuple(place)
    for location in [location for location in origins if location[: len(head)] == head]:
        del origins[location]
