"""Reads tables of measured kernels and predicts their rows."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.errors import InputError, UsageError
from dse.plugins import accelerator_names, load_accelerator, load_system
from dse.units import SECONDS_PER_US
from dse.validation.silicon.chip import read_chip
from dse.validation.silicon.families import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dse.validation.silicon.chip import Chip
    from dse.validation.silicon.families import Family

    FloatArray = NDArray[np.float64]

COLLECTIVES: Final = ("all_reduce", "all_gather", "reduce_scatter", "alltoall")
EXCHANGE: Final = "moe_all_to_all"
LARGE_US: Final = 20.0
"""Rows whose roofline is at least this count as large."""
SERVING_COLUMN: Final = "tpot_ms"
"""What tells a table of end-to-end serving: ms per output token."""
_SERVING: Final = ("system", "model", "mode", "precision", "isl", "osl", "concurrency")
_COMMON: Final = ("system", "op", "dtype", "latency_us", "roofline_us")


@dataclass(frozen=True)
class Row:
    """One measured row: where it stands, and its cells."""

    where: str
    cells: dict[str, str]

    def number(self, column: str) -> float:
        """A number of the row.

        Raises:
            InputError: the column is missing or holds none above 0.
        """
        text = self.cells.get(column)
        try:
            value = float(text or "")
        except ValueError:
            raise InputError.single(self.where, f"column '{column}' has '{text}'; give a number") from None
        if not (np.isfinite(value) and value >= 0):
            raise InputError.single(self.where, f"column '{column}' has {text}; give a finite number of at least 0")
        return value


@dataclass(frozen=True)
class Comparison:
    """Errors of predictions over one operator and system, shares in percent."""

    op: str
    system: str
    points: int
    mape: float
    mape_large: float | None
    median: float
    roofline_mape: float
    spearman: float | None

    def to_json_dict(self) -> dict[str, str | int | float | None]:
        """The keys of `dse validate`."""
        return dict(vars(self))


@dataclass(frozen=True)
class Compared:
    """All comparisons of a folder, and what could not be predicted, with the reason."""

    comparisons: tuple[Comparison, ...]
    skipped: tuple[str, ...]


def read_folder(folder: str | Path) -> dict[tuple[str, str], list[Row]]:
    """Rows of all tables of a folder by operator and system, in the order of file names and rows.

    Tables without a `latency_us` column are left out: `serving_rows` has those of end-to-end serving, `unread_tables` names the others.

    Raises:
        InputError: no such folder, no table in it, an unreadable file, an unknown operator, or a missing column.
    """
    files = sorted(Path(folder).glob("*.csv"))
    if not files:
        raise InputError.single(str(folder), "holds no .csv table; give the folder of measured tables (docs/validation.md)")
    found: dict[tuple[str, str], list[Row]] = {}
    for file in files:
        for row in _read(file):
            op = "collective" if row.cells["op"] in COLLECTIVES else row.cells["op"]
            if op == "moe_fused" and row.cells.get("routing", "balanced") != "balanced":
                op = "moe_fused_skewed"
            found.setdefault((op, row.cells["system"]), []).append(row)
    return found


def unread_tables(folder: str | Path) -> tuple[str, ...]:
    """What neither `read_folder` nor `serving_rows` reads, with the number of rows and the reason."""
    found = []
    for file in sorted(Path(folder).glob("*.csv")):
        columns, rows = _cells(file)
        if not {"latency_us", SERVING_COLUMN} & set(columns):
            found.append(f"{file.name}: {len(rows)} rows not predicted: no column latency_us (kernels) or {SERVING_COLUMN} (serving)")
    return tuple(found)


def serving_rows(folder: str | Path) -> tuple[Row, ...]:
    """Rows of the tables of end-to-end serving, in the order of file names and rows.

    Raises:
        InputError: an unreadable file or a missing column.
    """
    found: list[Row] = []
    for file in sorted(Path(folder).glob("*.csv")):
        columns, rows = _cells(file)
        if "latency_us" in columns or SERVING_COLUMN not in columns:
            continue
        missing = [c for c in _SERVING if c not in columns]
        if missing:
            raise InputError.single(f"{file}:1", f"has no column {', '.join(missing)}; a serving table needs {', '.join(_SERVING)}")
        found += rows
    return tuple(found)


def _cells(file: Path) -> tuple[tuple[str, ...], list[Row]]:
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            columns = reader.fieldnames or ()
            rows = [Row(f"{file}:{reader.line_num}", {k: v or "" for k, v in cells.items() if k}) for cells in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError.single(str(file), f"cannot be read as CSV: {error}") from error
    return tuple(columns), rows


def _read(file: Path) -> list[Row]:
    columns, rows = _cells(file)
    if "latency_us" not in columns:
        return []
    missing = [c for c in _COMMON if c not in columns]
    if missing:
        raise InputError.single(f"{file}:1", f"has no column {', '.join(missing)}; a table needs {', '.join(_COMMON)}")
    known = (*FAMILIES, *COLLECTIVES, EXCHANGE)
    for row in rows:
        if row.cells["op"] not in known:
            raise InputError.single(row.where, f"operator '{row.cells['op']}' is not known; allowed: {', '.join(known)}")
    return rows


def compare_folder(folder: str | Path) -> Compared:
    """Predict every row of a folder and compare.

    Raises:
        InputError: as `read_folder`, or a cell that is no number.
    """
    found, skipped = [], list(unread_tables(folder))
    for (op, system), rows in read_folder(folder).items():
        try:
            predicted = predict(op, system, rows)
        except UsageError as error:
            skipped.append(f"{op} on {system}: {len(rows)} rows not predicted: {error}")
            continue
        found.append(compare(op, system, rows, predicted))
    served = serving_rows(folder)
    if served:
        from dse.validation.silicon.serving import compare_serving

        more, left_out = compare_serving(served)
        found, skipped = [*found, *more], [*skipped, *left_out]
    return Compared(tuple(found), tuple(skipped))


def predict(op: str, system: str, rows: Sequence[Row]) -> FloatArray:
    """Predicted us of each row.

    Raises:
        UsageError: no catalogue entry or no calibration for the system, or no constants for the type.
    """
    name = catalogue_name(system)
    if op == "collective":
        return np.array([_collective_us(name, row) for row in rows])
    if op == EXCHANGE:
        return np.array([_exchange_us(name, row) for row in rows])
    family = FAMILIES[op.removesuffix("_skewed")]
    return predict_rows(family, read_chip(load_accelerator(name)), rows)


def predict_rows(family: Family, chip: Chip, rows: Sequence[Row]) -> FloatArray:
    """Predicted us of rows of one family on one chip."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault((row.cells["dtype"], *(row.cells.get(w, "") for w in family.words)), []).append(index)
    result = np.empty(len(rows))
    for (dtype, *words), indices in groups.items():
        named = dict(zip(family.words, words, strict=True))
        columns = {c: np.array([rows[i].number(c) for i in indices]) for c in family.numbers}
        constants = chip.constants(family.constants(named), dtype)
        result[indices] = family.law(family.rows(columns, named), chip, dtype, constants)
    return result


def catalogue_name(system: str) -> str:
    """The accelerator that a table's system means: its name, or the only one whose words are among the other's.

    Raises:
        UsageError: none, or several.
    """
    names = accelerator_names()
    if system in names:
        return system
    words = set(system.split("_"))
    near = [n for n in names if set(n.split("_")) <= words or words <= set(n.split("_"))]
    if len(near) != 1:
        raise UsageError(f"no accelerator of the catalogue is '{system}'; add one, or name the system as `dse list accelerators` does")
    return near[0]


def compare(op: str, system: str, rows: Sequence[Row], predicted_us: FloatArray) -> Comparison:
    """Mean, median and large-row absolute percentage error, that of the table's roofline, and Spearman's rank correlation."""
    measured = np.array([row.number("latency_us") for row in rows])
    roofline = np.array([row.number("roofline_us") for row in rows])
    error = error_percent(predicted_us, measured)
    large = roofline >= LARGE_US
    return Comparison(
        op,
        system,
        len(rows),
        float(error.mean()),
        float(error[large].mean()) if large.any() else None,
        float(np.median(error)),
        float(error_percent(roofline, measured).mean()),
        rank_correlation(predicted_us, measured),
    )


def error_percent(predicted: FloatArray, measured: FloatArray) -> FloatArray:
    """Absolute errors in percent of what was measured."""
    return np.asarray(100 * np.abs(predicted / measured - 1))


def rank_correlation(a: FloatArray, b: FloatArray) -> float | None:
    """Spearman's: correlation of ranks, ties at their mean rank; None for fewer than two distinct values."""
    ranks = [_ranks(x) for x in (a, b)]
    if any(r.std() == 0 for r in ranks):
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: FloatArray) -> FloatArray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[inverse])


def system_name(accelerator: str, nodes: int) -> str:
    """The catalogue's system of one or several nodes of an accelerator."""
    return f"{accelerator.removesuffix('_sxm')}_{'node' if nodes == 1 else 'cluster'}"


def _collective_us(accelerator: str, row: Row) -> float:
    from dse.system.measured import predict_collective_s

    system = load_system(system_name(accelerator, 1)).system
    size, ranks = row.number("size_bytes"), int(row.number("gpus"))
    seconds = predict_collective_s(system, row.cells["op"], size_bytes=size, ranks=ranks, implementation=row.cells.get("impl", "nccl"))
    return seconds / SECONDS_PER_US


def _exchange_us(accelerator: str, row: Row) -> float:
    from dse.system.measured import predict_all_to_all_s

    nodes = int(row.number("nodes"))
    system = load_system(system_name(accelerator, nodes)).system
    seconds = predict_all_to_all_s(
        system,
        phase=row.cells["phase"],
        mode=row.cells["mode"],
        ranks=int(row.number("ep")),
        nodes=nodes,
        tokens_per_rank=int(row.number("tokens_per_rank")),
        hidden=int(row.number("hidden")),
        top_k=int(row.number("topk")),
        experts=int(row.number("experts")),
        dtype=row.cells["dtype"],
        sms=int(row.number("sms")),
    )
    return seconds / SECONDS_PER_US
