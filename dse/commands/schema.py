"""`dse schema`: the JSON Schema of each kind of file, for editors and hooks."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from dse.commands.common import examples
from dse.report.output import write_json


class SchemaKind(StrEnum):
    """Kinds of files that have a schema."""

    ACCELERATOR = "accelerator"
    CHIP = "chip"
    MODEL = "model"
    CAMPAIGN = "campaign"
    SYSTEM = "system"
    MAPPING = "mapping"
    NEST = "nest"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("schema", epilog=examples("dse schema accelerator", "dse schema model"))(schema)


def schema(
    kind: Annotated[
        SchemaKind,
        typer.Argument(
            metavar="KIND", help="Kind of file: accelerator, chip, model, campaign, system, mapping or nest.", show_default=False
        ),
    ],
) -> None:
    """Print the JSON Schema of a kind of file; the descriptions in it are the documentation of its keys."""
    write_json(schema_of(kind))


def schema_of(kind: SchemaKind) -> dict[str, object]:
    """JSON Schema of a kind of file."""
    from dse.plugins import accelerator_catalogues, chip_catalogues, model_catalogues, system_catalogues

    if kind is SchemaKind.SYSTEM:
        return next(iter(system_catalogues().values())).json_schema()
    if kind is SchemaKind.CAMPAIGN:
        from dse.campaign.form import CampaignForm

        return CampaignForm.model_json_schema()
    if kind is SchemaKind.MAPPING:
        from dse.mapping.file_form import MappingFile

        return MappingFile.model_json_schema()
    if kind is SchemaKind.NEST:
        from dse.mapping.nest_form import NestFile

        return NestFile.model_json_schema()
    if kind is SchemaKind.CHIP:
        return next(iter(chip_catalogues().values())).json_schema()
    if kind is SchemaKind.ACCELERATOR:
        return next(iter(accelerator_catalogues().values())).json_schema()
    return next(iter(model_catalogues().values())).json_schema()
