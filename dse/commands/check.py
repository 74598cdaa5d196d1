"""`dse check`: whether files are right, by what they contain."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from dse.commands.common import FormatOption, examples
from dse.errors import InputError, Problem, UsageError
from dse.report.output import Format, write_records

if TYPE_CHECKING:
    from dse.files import Document


class Kind(StrEnum):
    """Kinds of files that can be told apart."""

    ACCELERATOR = "accelerator"
    CHIP = "chip"
    TECHNOLOGY = "technology"
    MODEL = "model"
    CAMPAIGN = "campaign"
    SYSTEM = "system"
    MAPPING = "mapping"
    NEST = "nest"


_SHARED_KEYS: Final = frozenset({"schema_version", "name", "summary"})


def register(app: typer.Typer) -> None:
    """Add the command."""
    epilog = examples(
        "dse check accelerators/catalogue/flat_cloud.yaml",
        "dse check accelerators/catalogue/h100_sxm.yaml accelerators/technology/generic_5nm.yaml --format json",
    )
    app.command("check", epilog=epilog)(check)


def check(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="YAML files of any kind.", show_default=False)],
    form: FormatOption = Format.TABLE,
) -> None:
    """Check files: schema, units, values; the kind of a file follows from its keys.

    Problems go to standard error as file:line: what, and end with exit code 3 after all files are read. Doubtful
    values (a clock of 5 THz, a buffer slower than DRAM) are warnings: they go there too and change no exit code.
    """
    rows: list[dict[str, str | int]] = []
    problems: list[Problem] = []
    for file in files:
        try:
            kind, warnings = check_file(file)
        except InputError as error:
            problems += error.problems
        except UsageError as error:
            problems.append(Problem(file, str(error)))
        else:
            rows.append({"file": file, "kind": kind.value, "warnings": len(warnings)})
            for warning in warnings:
                typer.echo(f"warning: {warning}", err=True)
    if rows or form is not Format.TABLE:
        write_records(rows, ("file", "kind", "warnings"), form)
    if problems:
        raise InputError(problems)


def check_file(path: str) -> tuple[Kind, tuple[str, ...]]:
    """Kind and warnings of a file without problems.

    Raises:
        InputError: what is wrong with the file.
        UsageError: a name in it that no catalogue has.
    """
    from dse.files import FileForm, load_yaml, validate
    from dse.hw.technology import Technology
    from dse.mapping.file_form import MappingFile
    from dse.mapping.nest_form import NestFile
    from dse.plugins import accelerator_catalogues, chip_catalogues, model_catalogues, system_catalogues

    accelerators, models = next(iter(accelerator_catalogues().values())), next(iter(model_catalogues().values()))
    if path.endswith(".json"):
        models.from_file(path)
        return Kind.MODEL, ()
    document = load_yaml(path)
    kind = recognise(document)
    if kind is Kind.ACCELERATOR:
        return kind, accelerators.from_file(path).warnings()
    if kind is Kind.CHIP:
        return kind, next(iter(chip_catalogues().values())).from_file(path).warnings()
    if kind in (Kind.TECHNOLOGY, Kind.MAPPING, Kind.NEST):
        forms: dict[Kind, type[FileForm]] = {Kind.TECHNOLOGY: Technology, Kind.MAPPING: MappingFile, Kind.NEST: NestFile}
        validate(document, forms[kind])
    elif kind is Kind.MODEL:
        models.from_file(path)
    elif kind is Kind.SYSTEM:
        return kind, next(iter(system_catalogues().values())).from_file(path).warnings()
    else:
        from dse.campaign.evaluator import CatalogueSources
        from dse.campaign.plan import load_plans

        plans = load_plans(path, CatalogueSources(str(Path(path).parent)))
        return kind, tuple(dict.fromkeys(warning for plan in plans for warning in plan.warnings))
    return kind, ()


def recognise(document: Document) -> Kind:
    """The kind whose keys a document has most of.

    Raises:
        InputError: it has no key of any kind's own.
    """
    keys = {kind: set(_properties(kind)) - _SHARED_KEYS for kind in Kind}
    found = {kind: len(keys[kind] & document.data.keys()) for kind in Kind}
    best = max(Kind, key=lambda kind: found[kind])
    if not found[best]:
        kinds = ", ".join(f"{kind.value} ({', '.join(sorted(names)[:4])}, …)" for kind, names in keys.items())
        raise InputError.single(document.where(), f"has no key of any kind of file: {kinds}; all keys: dse schema KIND")
    return best


def _properties(kind: Kind) -> list[str]:
    from dse.commands.schema import SchemaKind, schema_of
    from dse.hw.technology import Technology

    if kind is Kind.TECHNOLOGY:
        return list(Technology.model_fields)
    properties = schema_of(SchemaKind(kind.value)).get("properties")
    return list(properties) if isinstance(properties, dict) else []
