"""A frontier as bytes and back: columns of numbers behind a header in JSON, nothing that could be executed."""

from __future__ import annotations

import json
import zlib
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import lru_cache
from hashlib import sha256
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dse.hw import accelerator
from dse.mapping import frontier as frontier_module
from dse.mapping import matmul
from dse.mapping.counts import counts_of
from dse.mapping.described import SidedMappings, in_columns
from dse.mapping.frontier import Frontier
from dse.mapping.matmul import MatmulMapping

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAGIC: Final = b"dse frontier 2\n"
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
    mappings = in_columns(frontier.mappings)
    arrays: dict[str, NDArray[Any]] = {  # Any: float or whole numbers
        "counts": frontier.counts.matrix().astype("<f8", copy=False),
        "kind": mappings.kind.astype("<u4"),
        "sides": mappings.sides.astype("<i8", copy=False),
    }
    rest = {f.name: _plain(getattr(frontier, f.name)) for f in fields(frontier) if f.name not in ("counts", "mappings")}
    shapes = {name: [a.dtype.str, list(a.shape)] for name, a in arrays.items()}
    header = {"key": key, "arrays": shapes, "kinds": [_kind(kind) for kind in mappings.kinds], "rest": rest}
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
    counts, kind, sides = found["counts"], found["kind"], found["sides"]
    kinds = tuple(_lively(x) for x in header["kinds"])
    if not len(kind) == len(sides) == kind.size or sides.ndim != 2 or (len(kind) and len(counts) != len(kind)):
        raise DamagedError("its columns differ in length")
    _hold(kinds, kind, sides)
    rest = {name: _lively(value) for name, value in header["rest"].items()}
    mappings = SidedMappings(kinds, kind, sides) if len(kind) else ()  # type: ignore[arg-type]  # `_hold` looked at the kinds
    return Frontier(counts=counts_of(counts.astype(np.float64)), mappings=mappings, **rest)  # type: ignore[arg-type]


def _hold(kinds: tuple[object, ...], kind: NDArray[Any], sides: NDArray[Any]) -> None:
    """Check that every row has a kind of mapping, and a side for each of its tiles."""
    tiles = [1 + len(k.inner_tiles) for k in kinds if isinstance(k, MatmulMapping)]
    if len(tiles) != len(kinds) or (len(kind) and (int(kind.max()) >= len(kinds) or sides.shape[1] < 3 * max(tiles))):
        raise DamagedError("its columns are not those of its mappings")


def _size(kind: str, shape: list[int]) -> int:
    if kind not in _NUMBERS or not all(type(n) is int and n >= 0 for n in shape):
        raise DamagedError(f"it has a column of {kind}")
    return int(np.prod([int(kind[2:]), *shape], dtype=object))


@lru_cache(maxsize=1024)
def _kind(mapping: MatmulMapping) -> object:
    """The mapping in JSON; many frontiers have the same kinds."""
    return _plain(mapping)


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
