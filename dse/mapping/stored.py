"""A frontier as bytes and back: columns of numbers behind a header in JSON, nothing that could be executed."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from hashlib import sha256
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, overload

import numpy as np

from dse.hw import accelerator
from dse.mapping import frontier as frontier_module
from dse.mapping import matmul
from dse.mapping.counts import counts_of
from dse.mapping.frontier import Frontier, MatmulMapping

if TYPE_CHECKING:
    from numpy.typing import NDArray

    _Column = NDArray[np.int64] | NDArray[np.uint32]

MAGIC: Final = b"dse frontier 1\n"
_DIGEST: Final = sha256().digest_size
_LENGTH: Final = 8
"""Bytes that say how long the header is."""
MOST_BYTES: Final = 2**28
"""Largest content that is unpacked; a frontier has at most a few MiB."""
_NUMBERS: Final = {"<f8", "<i8", "<u4"}


class DamagedError(Exception):
    """Bytes are not those of a frontier, or not of the one asked for; the message says why. Never shown as an error."""


def _classes(*modules: ModuleType) -> dict[str, type]:
    found = (c for module in modules for c in vars(module).values() if isinstance(c, type) and c.__module__.startswith("dse."))
    return {c.__name__: c for c in found if is_dataclass(c) or issubclass(c, Enum)}


CLASSES: Final = _classes(accelerator, matmul, frontier_module)
"""What a mapping may be made of, by name; no other class is ever made from a file."""


def to_bytes(frontier: Frontier, key: str) -> bytes:
    """`frontier` with the `key` that it answers, checksum included."""
    arrays: dict[str, np.ndarray[Any, Any]] = {"counts": frontier.counts.matrix().astype("<f8")}  # Any: float or whole numbers
    mappings = tuple(frontier.mappings)  # put in words once
    columns, made_of = _split(mappings)
    tables: dict[str, object] = {}
    for name, values in columns.items():
        if all(type(v) is int for v in values):
            arrays[name] = np.array(values, dtype="<i8")
        else:
            different = {v: i for i, v in enumerate(dict.fromkeys(values))}
            arrays[name] = np.array([different[v] for v in values], dtype="<u4")
            tables[name] = [_plain(v) for v in different]
    rest = {f.name: _plain(getattr(frontier, f.name)) for f in fields(frontier) if f.name not in ("counts", "mappings")}
    shapes = {name: [a.dtype.str, list(a.shape)] for name, a in arrays.items()}
    header = {"key": key, "arrays": shapes, "tables": tables, "made_of": made_of, "mappings": len(mappings), "rest": rest}
    head = json.dumps(header, separators=(",", ":")).encode()
    packed = zlib.compress(b"".join(a.tobytes() for a in arrays.values()), level=1)
    content = len(head).to_bytes(_LENGTH, "little") + head + packed
    return MAGIC + sha256(content).digest() + content


def from_bytes(data: bytes, key: str) -> Frontier:
    """The frontier of `to_bytes`.

    Raises:
        DamagedError: the bytes are cut, changed, of another form, or answer another key.
    """
    if not data.startswith(MAGIC):
        raise DamagedError("it is not a frontier of this form")
    start = len(MAGIC) + _DIGEST
    if sha256(memoryview(data)[start:]).digest() != data[len(MAGIC) : start]:
        raise DamagedError("its checksum is wrong")
    end = start + _LENGTH + int.from_bytes(data[start : start + _LENGTH], "little")
    try:
        header = json.loads(data[start + _LENGTH : end])
        if header["key"] != key:
            raise DamagedError("it answers another question")
        return _frontier(header, memoryview(data)[end:])
    except (AttributeError, KeyError, TypeError, ValueError, IndexError, RecursionError, zlib.error) as error:
        raise DamagedError(f"its content is not that of a frontier ({error})") from error


def _split(mappings: Sequence[object]) -> tuple[dict[str, list[object]], str]:
    """Values of the mappings by field, and their class; one column of whole mappings where they are of several classes."""
    classes = {type(m) for m in mappings}
    if len(classes) != 1:
        return {"m.": list(mappings)}, ""
    (only,) = classes
    names = [f.name for f in fields(only)]  # type: ignore[arg-type]  # mappings are dataclasses
    return {f"m.{name}": [getattr(m, name) for m in mappings] for name in names}, only.__name__


def _frontier(header: dict[str, Any], packed: memoryview) -> Frontier:  # Any: JSON of a stranger; whatever it lacks raises
    sizes = {name: _size(kind, shape) for name, (kind, shape) in header["arrays"].items()}
    total = sum(sizes.values())
    if total > MOST_BYTES:
        raise DamagedError(f"it claims {total} bytes")
    unpacked = zlib.decompressobj().decompress(packed, total + 1)
    if len(unpacked) != total:
        raise DamagedError("its columns have another length than it says")
    at, found = 0, {}
    for name, (kind, shape) in header["arrays"].items():
        found[name] = np.frombuffer(unpacked, dtype=kind, count=int(np.prod(shape)), offset=at).reshape(shape)
        at += sizes[name]
    columns = {name: found[name] for name in header["arrays"] if name.startswith("m.")}
    tables = {name: tuple(_lively(v) for v in values) for name, values in header["tables"].items()}
    mappings = StoredMappings(CLASSES[header["made_of"]] if header["made_of"] else None, columns, tables)
    if len(mappings) != header["mappings"] or (len(mappings) and len(found["counts"]) != len(mappings)):
        raise DamagedError("its columns differ in length")
    rest = {name: _lively(value) for name, value in header["rest"].items()}
    return Frontier(counts=counts_of(found["counts"].astype(np.float64)), mappings=mappings, **rest)  # type: ignore[arg-type]


class StoredMappings(Sequence[MatmulMapping]):
    """Mappings as columns, made when they are asked for; equal to any sequence of the same mappings."""

    def __init__(self, made_of: type | None, columns: dict[str, _Column], tables: dict[str, tuple[object, ...]]) -> None:
        sizes = {len(c) for c in columns.values()}
        fitting = all(len(c) == 0 or int(c.max()) < len(tables[name]) for name, c in columns.items() if name in tables)
        named = made_of is None or [f"m.{f.name}" for f in fields(made_of)] == list(columns)
        if len(sizes) != 1 or not fitting or not named:
            raise DamagedError("its columns are not those of its mappings")
        self._made_of, self._columns, self._tables = made_of, columns, tables

    def __len__(self) -> int:
        return len(next(iter(self._columns.values())))

    @overload
    def __getitem__(self, at: int) -> MatmulMapping: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[MatmulMapping]: ...
    def __getitem__(self, at: int | slice) -> MatmulMapping | Sequence[MatmulMapping]:
        if isinstance(at, slice):
            return StoredMappings(self._made_of, {name: c[at] for name, c in self._columns.items()}, self._tables)
        values = [self._tables[name][c[at]] if name in self._tables else int(c[at]) for name, c in self._columns.items()]
        found: MatmulMapping = values[0] if self._made_of is None else self._made_of(*values)  # type: ignore[assignment]
        return found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(self))


def _size(kind: str, shape: list[int]) -> int:
    if kind not in _NUMBERS or not all(type(n) is int and n >= 0 for n in shape):
        raise DamagedError(f"it has a column of {kind}")
    return int(np.prod([int(kind[2:]), *shape], dtype=object))


def _plain(value: object) -> object:
    """`value` in JSON: numbers, text and None as they are, the rest as {class: content}."""
    if value is None or isinstance(value, bool | int | float) or type(value) is str:
        return value
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    name = type(value).__name__
    if CLASSES.get(name) is not type(value):
        raise TypeError(f"{name} is not among the classes of stored mappings; import it where MatmulMapping is defined")
    if isinstance(value, Enum):
        return {name: value.value}
    return {name: [_plain(getattr(value, f.name)) for f in fields(value)]}  # type: ignore[arg-type]  # a dataclass, as all others


def _lively(value: object) -> object:
    if isinstance(value, list):
        return tuple(_lively(v) for v in value)
    if not isinstance(value, dict):
        return value
    ((name, content),) = value.items()
    made = CLASSES[name]
    if issubclass(made, Enum):
        return made(content)
    return made(*(_lively(v) for v in content))
