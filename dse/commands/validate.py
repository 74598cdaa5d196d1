"""`dse validate`: published claims, exact cases and measured silicon against our numbers."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from dse.commands.common import FormatOption, examples
from dse.errors import ExitCode
from dse.report.output import Format, write_json, write_records

if TYPE_CHECKING:
    from dse.validation.claims import Claim
    from dse.validation.silicon.tables import Comparison

CLAIM_COLUMNS = ("id", "source", "published", "ours", "deviation", "band", "verdict")
SILICON_COLUMNS = ("op", "system", "points", "mape", "mape_large", "median", "roofline_mape", "spearman")


class ClaimSet(StrEnum):
    """Which claims to check."""

    ALL = "all"
    A = "A"
    B = "B"
    BOUNDS = "bounds"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("validate", epilog=examples("dse validate --claims bounds", "dse validate --claims A --format json"))(validate)


def validate(
    silicon: Annotated[
        str | None, typer.Option("--silicon", metavar="DIR", help="Folder of tables of measured kernels (docs/validation.md).")
    ] = None,
    claims: Annotated[
        ClaimSet | None, typer.Option("--claims", help="Claims of paper A, paper B, exact cases; all unless --silicon is given.")
    ] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Check published claims and exact cases, and compare predicted with measured kernel times.

    Errors of the silicon comparison are in percent. Exit code 6 if a claim that can be checked is outside its band.
    """
    from dse.validation.claims import check_claims

    chosen = claims or (None if silicon is not None else ClaimSet.ALL)
    checked = check_claims(chosen.value) if chosen is not None else ()
    compared: tuple[Comparison, ...] = ()
    if silicon is not None:
        from dse.validation.silicon.tables import compare_folder

        found = compare_folder(silicon)
        compared = found.comparisons
        for line in found.skipped:
            typer.echo(f"warning: {line}", err=True)
    _write(checked, compared, form, silicon is not None)
    if any(c.verdict.startswith("not met") for c in checked):
        raise typer.Exit(ExitCode.OUTSIDE_BAND)


def _write(claims: tuple[Claim, ...], compared: tuple[Comparison, ...], form: Format, silicon: bool) -> None:
    claim_rows = [c.to_json_dict() for c in claims]
    silicon_rows = [c.to_json_dict() for c in compared]
    if form is Format.JSON:
        write_json({"claims": claim_rows, "silicon": silicon_rows})
        return
    if claims or not silicon:
        write_records(claim_rows, CLAIM_COLUMNS, form, title="claims")
    if silicon:
        write_records(silicon_rows, SILICON_COLUMNS, form, title="measured kernels, errors in percent")
