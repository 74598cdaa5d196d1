"""`dse list`: what the catalogues have."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from dse.commands.common import FormatOption, examples
from dse.report.output import Format, write_records

if TYPE_CHECKING:
    from dse.report.output import Cell


class Kind(StrEnum):
    """What can be listed."""

    MODELS = "models"
    ACCELERATORS = "accelerators"
    SYSTEMS = "systems"
    EXPERIMENTS = "experiments"


_COLUMNS: Final = {
    Kind.MODELS: ("name", "attention_schemes", "summary"),
    Kind.ACCELERATORS: ("name", "technology", "area_mm2", "cores", "summary"),
    Kind.SYSTEMS: ("name", "chips", "accelerator", "summary"),
    Kind.EXPERIMENTS: ("name", "campaign", "question"),
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    epilog = examples("dse list accelerators", "dse list models --format json")
    app.command("list", epilog=epilog)(list_)


def list_(
    what: Annotated[Kind, typer.Argument(metavar="WHAT", help="models, accelerators, systems or experiments.", show_default=False)],
    form: FormatOption = Format.TABLE,
) -> None:
    """List what the catalogues have, in order of names.

    Experiments are the folders with a campaign.yaml under ./experiments.
    """
    rows = {Kind.MODELS: _models, Kind.ACCELERATORS: _accelerators, Kind.SYSTEMS: _systems, Kind.EXPERIMENTS: _experiments}
    write_records(rows[what](), _COLUMNS[what], form)


def _models() -> list[dict[str, Cell]]:
    from dse.plugins import load_model, model_names

    models = [load_model(name) for name in model_names()]
    return [{"name": m.name, "attention_schemes": " ".join(m.attention_schemes), "summary": m.summary} for m in models]


def _accelerators() -> list[dict[str, Cell]]:
    from dse.plugins import accelerator_names, chip_names, load_accelerator, load_chip

    one = [(load_accelerator(name).accelerator(), 1) for name in accelerator_names()]
    rows: list[dict[str, Cell]] = [
        {"name": a.name, "technology": a.technology, "area_mm2": round(a.area.total_mm2, 1), "cores": cores, "summary": a.summary}
        for a, cores in one
    ]
    for chip in (load_chip(name) for name in chip_names()):
        area, cores = round(chip.area.total_mm2, 1), len(chip.chip.cores)
        rows.append({"name": chip.name, "technology": chip.technology.name, "area_mm2": area, "cores": cores, "summary": chip.summary})
    return sorted(rows, key=lambda row: str(row["name"]))


def _systems() -> list[dict[str, Cell]]:
    from dse.plugins import load_system, system_names

    found = [load_system(name) for name in system_names()]
    return [{"name": s.name, "chips": s.file.chips.count, "accelerator": s.chip.name, "summary": s.summary} for s in found]


def _experiments() -> list[dict[str, Cell]]:
    from dse.files import load_yaml

    found = sorted(Path("experiments").glob("*/campaign.yaml"))
    return [{"name": p.parent.name, "campaign": str(p), "question": str(load_yaml(p).data.get("question") or "")} for p in found]
