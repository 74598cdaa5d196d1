"""`dse frontier`: the least DRAM traffic for every buffer size, on a machine with one buffer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dse.commands.common import FormatOption, examples
from dse.commands.enums import FactorsName
from dse.errors import UsageError, did_you_mean
from dse.mapping.limits import LARGEST_FACE, LARGEST_PRODUCT, LARGEST_SIZE
from dse.report.output import Format, write_records

if TYPE_CHECKING:
    from dse.hw.accelerator import OperandName
    from dse.mapping.two_level_attention import AttentionShape, Form

_SIZES = ("heads", "queries", "keys", "qk", "v")
_COLUMNS = "columns"
_FLAGS = ("shared_kv", "alias_v", "statistics")


def register(app: typer.Typer) -> None:
    """Add the command."""
    epilog = examples(
        "dse frontier --gemm 128,576,4096 --format csv",
        "dse frontier --attention heads=128,queries=1,keys=4096,qk=576,v=512,shared_kv,alias_v --fused",
    )
    app.command("frontier", epilog=epilog)(frontier)


def frontier(
    gemm: Annotated[str | None, typer.Option(metavar="M,K,N", help="C[M,N] = A[M,K] B[K,N].")] = None,
    attention: Annotated[
        str | None,
        typer.Option(metavar="heads=H,queries=Q,keys=L,qk=E,v=F[,columns=C][,shared_kv][,alias_v][,statistics]", help="Softmax attention."),
    ] = None,
    factors: Annotated[FactorsName, typer.Option(help="Tile sides of --gemm: any integer, or divisors only.")] = FactorsName.RAGGED,
    on_chip: Annotated[
        str | None,
        typer.Option(
            metavar="left,right,out", help="Operands of --gemm that lie whole in the buffer before and after: weights, kept over steps."
        ),
    ] = None,
    fused: Annotated[bool, typer.Option("--fused", help="Scores never leave the chip.")] = False,
    best: Annotated[bool, typer.Option("--best", help="The least of fused, mixed (scores out and in once) and unfused.")] = False,
    form: FormatOption = Format.TABLE,
) -> None:
    """Print the Pareto points of buffer elements against DRAM elements: one buffer before DRAM, no capacity given.

    Elements, not bytes; partial sums that leave are written and read back; no double buffering.
    """
    if (gemm is None) == (attention is None):
        raise UsageError("give one of --gemm M,K,N and --attention heads=H,queries=Q,keys=L,qk=E,v=F")
    if gemm is not None:
        if fused or best:
            raise UsageError("--fused and --best belong to --attention; leave them out with --gemm")
        _write_gemm(gemm, factors, () if on_chip is None else residents(on_chip), form)
        return
    if on_chip is not None:
        raise UsageError("--on-chip belongs to --gemm; leave it out with --attention")
    if factors is not FactorsName.RAGGED:
        raise UsageError("--factors belongs to --gemm; leave it out with --attention")
    from dse.mapping.two_level_attention import Form

    if fused and best:
        raise UsageError("--fused and --best exclude each other")
    _write_attention(_attention_shape(attention or ""), Form.BEST if best else Form.FUSED if fused else Form.UNFUSED, form)


def residents(text: str) -> tuple[OperandName, ...]:
    """Operands of `--on-chip`.

    Raises:
        UsageError: a name is unknown, or given twice.
    """
    from dse.hw.accelerator import OperandName

    names = text.split(",")
    if any(name not in tuple(OperandName) for name in names) or len(set(names)) < len(names):
        raise UsageError(f"--on-chip {text}: give {', '.join(OperandName)}, or several as {','.join(OperandName)}")
    return tuple(OperandName(name) for name in names)


def _write_gemm(text: str, factors: FactorsName, on_chip: tuple[OperandName, ...], form: Format) -> None:
    from dse.mapping.two_level import Factors, gemm_frontier

    m, k, n = three_sizes(text)
    points = gemm_frontier(m, k, n, Factors(factors.value), on_chip)
    columns = ("footprint_elements", "dram_elements", "stationary", "tile_m", "tile_k", "tile_n")
    rows = [{name: getattr(p, name) for name in columns} for p in points]
    stay = f", {' and '.join(on_chip)} on chip" if on_chip else ""
    write_records([{**r, "stationary": str(r["stationary"])} for r in rows], columns, form, title=f"{m} x {k} x {n}, {factors} sides{stay}")


def _write_attention(shape: AttentionShape, scores: Form, form: Format) -> None:
    from dse.mapping.two_level_attention import attention_frontier

    columns = ("footprint_elements", "dram_elements", "form", "block")
    rows = [{name: getattr(p, name) for name in columns} for p in attention_frontier(shape, scores)]
    write_records(rows, columns, form, title=f"attention, {scores}; block: query rows or keys at a time")


def three_sizes(text: str) -> tuple[int, int, int]:
    """M, K, N of `--gemm`.

    Raises:
        UsageError: no three whole numbers, or too large.
    """
    sizes = text.split(",")
    if len(sizes) != 3:
        raise UsageError(f"--gemm {text}: give three whole numbers M,K,N, for example 128,576,4096")
    m, k, n = (_size(f"--gemm {text}", name, size) for name, size in zip("MKN", sizes, strict=True))
    _check_products(f"--gemm {text}", (m, k, n), m * k * n)
    return m, k, n


def _check_products(where: str, sizes: tuple[int, int, int], macs: int) -> None:
    if max(sizes) * sorted(sizes)[1] > LARGEST_FACE or macs > LARGEST_PRODUCT:
        shape = " x ".join(str(size) for size in sizes)
        raise UsageError(
            f"{where}: a product of {shape}, {macs} MACs in all, is too large; "
            f"allowed: two sizes multiply to at most {LARGEST_FACE}, MACs are at most {LARGEST_PRODUCT}"
        )


def _attention_shape(text: str) -> AttentionShape:
    from dse.mapping.two_level_attention import AttentionShape

    sizes: dict[str, int] = {}
    flags: dict[str, bool] = {}
    for word in text.split(","):
        name, equals, value = word.partition("=")
        if name in sizes or name in flags:
            raise UsageError(f"--attention: {name} is given twice; give each once")
        if name in _FLAGS and not equals:
            flags[name] = True
        elif name in (*_SIZES, _COLUMNS) and equals:
            sizes[name] = _size("--attention", name, value)
        else:
            near = did_you_mean(name, (*_SIZES, _COLUMNS, *_FLAGS))
            known = ", ".join((*(f"{s}=NUMBER" for s in (*_SIZES, _COLUMNS)), *_FLAGS))
            raise UsageError(f"--attention: '{word}' is not understood.{near} Give {known}")
    missing = [name for name in _SIZES if name not in sizes]
    if missing:
        raise UsageError(f"--attention lacks {', '.join(missing)}; give heads=H,queries=Q,keys=L,qk=E,v=F")
    shape = AttentionShape(**sizes, **flags)  # type: ignore[arg-type]  # names are checked above
    macs = shape.problems * shape.rows * shape.keys * (shape.qk + shape.v)
    _check_products("--attention", (shape.rows, shape.keys, max(shape.qk, shape.v)), macs)
    return shape


def _size(where: str, name: str, text: str) -> int:
    if not text.strip().isdecimal() or not 1 <= int(text) <= LARGEST_SIZE:
        raise UsageError(f"{where}: {name} is '{text}'; allowed: whole numbers from 1 to {LARGEST_SIZE}")
    return int(text)
