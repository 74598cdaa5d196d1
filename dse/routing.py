"""From the text of an option to a distribution of tokens over experts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from dse.errors import InputError, UsageError, did_you_mean
from dse.ir.expert_load import LARGEST_SKEW, LoadKind, Routing

MAX_HISTOGRAM_BYTES: Final = 1024**2
"""A larger file is refused: a count per expert takes some characters."""


def read_routing(text: str, seed: int | None = None) -> Routing:
    """The routing that `text` says: uniform, worst, zipf:S, histogram:FILE or loads:FILE; drawn where there is a seed.

    A histogram counts by its proportions alone; loads are the tokens of each expert in this very step. Either is a JSON list
    of numbers, or lines of `count` or `expert,count`, one per expert in their order.

    Raises:
        UsageError: another text, an exponent that is no number in range, or a negative seed.
        InputError: the histogram is missing or is no list of counts; names file and line.
    """
    if seed is not None and not 0 <= seed < 2**63:
        raise UsageError(f"--seed is {seed}; allowed: 0 to {2**63 - 1}")
    kind, _, value = text.partition(":")
    if kind in (LoadKind.UNIFORM, LoadKind.WORST) and not value:
        return Routing(LoadKind(kind), seed=seed)
    if kind == LoadKind.ZIPF and value:
        try:
            skew = float(value)
        except ValueError:
            skew = -1.0
        if 0 <= skew <= LARGEST_SKEW:
            return Routing(LoadKind.ZIPF, skew=skew, seed=seed)
        raise UsageError(f"--routing {text}: the exponent of zipf:S is a number from 0 to {LARGEST_SKEW:g}, for example zipf:0.8")
    if kind in (LoadKind.HISTOGRAM, LoadKind.LOADS) and value:
        return Routing(LoadKind(kind), counts=_histogram(value), seed=seed)
    allowed = "uniform, worst, zipf:S (for example zipf:0.8), histogram:FILE, loads:FILE"
    raise UsageError(f"--routing '{text}' is not known; allowed: {allowed}.{did_you_mean(kind, list(LoadKind))}")


def _histogram(path: str) -> tuple[float, ...]:
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_HISTOGRAM_BYTES + 1)
        text = content.decode("utf-8-sig")
    except FileNotFoundError as e:
        raise InputError.single(path, "no such file") from e
    except (OSError, ValueError) as e:
        raise InputError.single(path, f"cannot be read as text ({e.strerror if isinstance(e, OSError) else 'not UTF-8'})") from e
    if len(content) > MAX_HISTOGRAM_BYTES:
        raise InputError.single(path, f"is larger than {MAX_HISTOGRAM_BYTES} bytes; is this the right file?")
    if text.lstrip().startswith("["):
        return _from_json(path, text)
    counts = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            counts.append(_count(f"{path}:{number}", line.rsplit(",", 1)[-1].strip()))
    if not counts:
        raise InputError.single(path, "has no counts; give one per expert")
    return tuple(counts)


def _from_json(path: str, text: str) -> tuple[float, ...]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as e:
        raise InputError.single(f"{path}:{e.lineno}", f"is not valid JSON: {e.msg}") from e
    except (RecursionError, ValueError) as e:
        raise InputError.single(path, "is not a list of counts: nested too deeply or a number too long") from e
    if not found:
        raise InputError.single(path, "has no counts; give one per expert")
    return tuple(_count(path, str(value)) for value in found)


def _count(where: str, text: str) -> float:
    """One count of at least 0."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise InputError.single(where, f"'{text[:40]}' is not a count of tokens; give a number of at least 0")
    return value
