"""Fit the constants of the kernel laws to tables of measured kernels and write calibration files.

    python experiments/silicon_calibration/fit.py TABLES [--write FOLDER]

Without `--write` it reports errors on rows kept apart: two halves fitted and predicted crosswise, and constants fitted to one
chip alone applied to the others.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

from dse.plugins import load_accelerator
from dse.validation.silicon.chip import Chip, read_chip
from dse.validation.silicon.families import FAMILIES
from dse.validation.silicon.laws import NAMES
from dse.validation.silicon.tables import compare, predict_rows, read_folder

START = {
    "gemm": (3, 0.8, 0.85, 0.7, 1, 2), "bmm": (3, 0.9, 0.8, 0.5, 1.5),
    "mla_decode": (10, 1.5, 0.7, 0.9, 0.8, 3, 0.8), "gqa_decode": (6, 1, 0.7, 0.9, 1.5, 1, 18),
    "prefill_naive": (12, 0.8, 0.8, 1, 1, 2), "prefill_absorbed": (8, 0.7, 0.6, 1, 1, 1), "prefill_gqa_64": (10, 0.9, 0.4, 1, 1.5, 1),
    "prefill_gqa_128": (10, 0.9, 0.5, 1, 1.5, 1.7), "moe": (25, 0.8, 0.85, 1, 0.3, 1),
    "block_decode": (30, 1), "block_prefill": (50, 1),
}  # fmt: skip
PULL = 0.005
"""Weight of the squared distance (in logarithms) from where the search starts: constants stay near plausible ones."""
CUT = 0.7
"""Errors beyond exp(0.7) count as that: a kernel that a library chose badly does not pull the fit."""
GENERATION = {"h100_sxm": "hopper", "h200_sxm": "hopper", "b200_sxm": "blackwell"}


def simplex(loss, start: np.ndarray, steps: int) -> np.ndarray:
    """Nelder and Mead's minimum of `loss` (Computer Journal 7, 1965), started twice."""
    best = start
    for _ in range(2):
        points = [best] + [best + 0.15 * np.eye(len(best))[i] for i in range(len(best))]
        values = [loss(p) for p in points]
        for _ in range(steps):
            order = np.argsort(values, kind="stable")
            points, values = [points[i] for i in order], [values[i] for i in order]
            centre = np.mean(points[:-1], axis=0)
            reflected = 2 * centre - points[-1]
            value = loss(reflected)
            if value < values[0]:
                far = 3 * centre - 2 * points[-1]
                far_value = loss(far)
                points[-1], values[-1] = (far, far_value) if far_value < value else (reflected, value)
            elif value < values[-2]:
                points[-1], values[-1] = reflected, value
            else:
                near = (centre + points[-1]) / 2
                near_value = loss(near)
                if near_value < values[-1]:
                    points[-1], values[-1] = near, near_value
                else:
                    points = [points[0]] + [(p + points[0]) / 2 for p in points[1:]]
                    values = [values[0]] + [loss(p) for p in points[1:]]
        best = points[int(np.argmin(values))]
    return best


def with_constants(chip: Chip, name: str, dtype: str, values: np.ndarray) -> Chip:
    by_type = {**chip.kernels.get(name, {}), dtype: dict(zip(NAMES[name], values.tolist(), strict=True))}
    return replace(chip, kernels={**chip.kernels, name: by_type})


def fit_one(chips: dict[str, Chip], op: str, name: str, dtype: str, rows, start: np.ndarray, steps: int) -> np.ndarray:
    """Constants that make the mean absolute logarithmic error of rows [(system, row)] least."""
    systems = sorted({s for s, _ in rows})
    sets = {s: [r for t, r in rows if t == s] for s in systems}
    measured = {s: np.log([r.number("latency_us") for r in sets[s]]) for s in systems}
    origin = np.log(start)

    def loss(z: np.ndarray) -> float:
        errors = []
        for s in systems:
            chip = with_constants(chips[s], name, dtype, np.exp(np.clip(z, -9, 9)))
            predicted = np.log(np.maximum(predict_rows(FAMILIES[op], chip, sets[s]), 1e-9))
            errors.append(np.minimum(np.abs(predicted - measured[s]), CUT))
        return float(np.concatenate(errors).mean() + PULL * ((z - origin) ** 2).mean())

    return np.exp(np.clip(simplex(loss, origin, steps), -9, 9))


def groups_of(tables):
    """(op, constants, type) -> [(system, row)], in the order of fitting."""
    found = defaultdict(list)
    for op, family in FAMILIES.items():
        for (table_op, system), rows in tables.items():
            if table_op == op:
                for row in rows:
                    name = family.constants({w: row.cells.get(w, "") for w in family.words})
                    found[op, name, row.cells["dtype"]].append((system, row))
    return found


def fit(chips: dict[str, Chip], tables, steps: int, share: bool = True) -> dict[str, Chip]:
    """Chips with constants fitted to `tables`: first of each generation together, then of each chip from there.

    With `share` false one generation's constants stay as they are.
    """
    chips = {s: replace(c, kernels={}) for s, c in chips.items()}
    joint: dict[str, Chip] = {}
    for (op, name, dtype), rows in groups_of(tables).items():
        for generation in sorted({GENERATION[s] for s, _ in rows}):
            mine = [(s, r) for s, r in rows if GENERATION[s] == generation]
            common = fit_one(chips, op, name, dtype, mine, np.array(START[name], float), steps)
            for s in sorted(GENERATION):
                if GENERATION[s] == generation and s in chips:
                    own = [(t, r) for t, r in mine if t == s]
                    values = fit_one(chips, op, name, dtype, own, common, steps // 2) if share and 0 < len(own) < len(mine) else common
                    chips[s] = with_constants(chips[s], name, dtype, values)
            joint[generation] = with_constants(joint.get(generation, replace(chips[mine[0][0]], kernels={})), name, dtype, common)
    return {**chips, **joint}


def halves(tables, which: int):
    """Every second block of seven point numbers."""

    def number(row) -> int:
        return int(row.cells["point_id"].rsplit("-", 1)[1])

    return {key: [r for r in rows if number(r) // 7 % 2 == which] for key, rows in tables.items()}


def report(fitted: dict[str, Chip], tables) -> None:
    by_op = defaultdict(list)
    for (op, system), rows in tables.items():
        plain = op.removesuffix("_skewed")
        if plain in FAMILIES and rows and system in fitted:
            predicted = predict_rows(FAMILIES[plain], fitted[system], rows)
            c = compare(op, system, rows, predicted)
            by_op[op].append((rows, predicted))
            print(f"{op:18} {system:10} {c.points:4} {c.mape:6.1f} {c.mape_large or 0:6.1f} {c.median:6.1f} {c.roofline_mape:6.1f}")
    for op, parts in by_op.items():
        c = compare(op, "all", [r for rows, _ in parts for r in rows], np.concatenate([p for _, p in parts]))
        print(f"{op:18} {'all':10} {c.points:4} {c.mape:6.1f} {c.mape_large or 0:6.1f} {c.median:6.1f} {c.roofline_mape:6.1f}")


def write(chip: Chip, path: Path, summary: str, lanes_per_unit: int) -> None:
    lines = ["# Fitted constants of kernels; written by experiments/silicon_calibration/fit.py, see docs/validation.md.",
             "# Fractions are of data-sheet rates, times are in us.",
             "schema_version: 1", f"summary: {summary}", f"lanes_per_unit: {lanes_per_unit}", "kernels:"]  # fmt: skip
    for name in NAMES:
        if name not in chip.kernels:
            continue
        lines.append(f"  {name}:")
        for dtype, constants in sorted(chip.kernels[name].items()):
            lines.append(f"    {dtype}:")
            lines += [
                f"      {key}: {value:.4g}  # fitted to the measured tables, see docs/validation.md" for key, value in constants.items()
            ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables")
    parser.add_argument("--write")
    parser.add_argument("--steps", type=int, default=250)
    arguments = parser.parse_args()
    tables = {k: v for k, v in read_folder(arguments.tables).items() if k[1] in GENERATION}
    chips = {s: read_chip(load_accelerator(s)) for s in GENERATION}
    if arguments.write:
        fitted = fit(chips, tables, arguments.steps)
        folder = Path(arguments.write)
        for s in GENERATION:
            write(fitted[s], folder / f"{s}.yaml", f"fitted to the measured tables of {s}", 128)
        for name, source, lanes in (("hopper", "hopper", 128), ("ampere", "hopper", 64), ("blackwell", "blackwell", 128)):
            write(fitted[source], folder / f"{name}.yaml", f"fitted to the measured chips of the {source} generation together", lanes)
        report(fitted, tables)
        return
    print("two halves, each predicted with constants of the other")
    for which in (0, 1):
        report(fit(chips, halves(tables, which), arguments.steps), halves(tables, 1 - which))


if __name__ == "__main__":
    main()
