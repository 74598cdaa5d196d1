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


_EXPERIMENTS: Final = Path("experiments")
_QUESTION: Final = "**Question.**"
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

    Experiments are the folders with a run.py (python -m experiments NAME) or a campaign.yaml (dse search) under ./experiments.
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

    found: dict[str, dict[str, Cell]] = {}
    for page in sorted(_EXPERIMENTS.glob("**/run.py")):
        readme = page.parent / "README.md"
        text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
        asked = next((line for line in text.splitlines() if line.startswith(_QUESTION)), "")
        name = page.parent.relative_to(_EXPERIMENTS).as_posix()
        found[name] = {"name": name, "campaign": None, "question": asked.removeprefix(_QUESTION).strip()}
    for campaign in sorted(_EXPERIMENTS.glob("**/campaign.yaml")):
        name = campaign.parent.relative_to(_EXPERIMENTS).as_posix()
        found[name] = {"name": name, "campaign": str(campaign), "question": str(load_yaml(campaign).data.get("question") or "")}
    return [found[name] for name in sorted(found)]
