"""The part of an accelerator file that describes the MAC arrays, in its short and its long form."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, Discriminator, Field, Tag, field_validator, model_validator

from dse.errors import did_you_mean
from dse.files import FileForm
from dse.hw.accelerator import Dataflow, Folds, Loop, OperandName
from dse.hw.limits import countable, sensible
from dse.ir.tensor import ARITHMETIC_TYPES


def _known_type(name: str) -> str:
    if name not in ARITHMETIC_TYPES:
        raise ValueError(f"data type '{name}' is not known; allowed: {', '.join(ARITHMETIC_TYPES)}.{did_you_mean(name, ARITHMETIC_TYPES)}")
    return name


DataTypeName = Annotated[str, AfterValidator(_known_type)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
Whole = Annotated[int, Field(ge=1), AfterValidator(countable)]
Positive = Annotated[float, Field(gt=0), AfterValidator(sensible)]
NotNegative = Annotated[float, Field(ge=0), AfterValidator(sensible)]
Share = Annotated[float, Field(gt=0, le=1), AfterValidator(sensible)]
MAX_DIMS: Final = 5
"""Named dimensions of an array: four of its elements and one of equal cores."""


class _AnyArrayForm(FileForm):
    """What both forms of an array say."""

    folds: Folds
    """How passes follow each other: serial (each pays fill and drain), pipelined (the next tile loads meanwhile) or broadcast (neither)."""
    load_rows_per_cycle: Whole = 1
    """Rows whose stationary operand is exchanged in a cycle; 1 where it is shifted in row by row."""
    macs_per_pe_per_cycle: dict[DataTypeName, Whole] = Field(min_length=1)
    """MACs that one processing element does in a cycle, by data type; a type that is not listed cannot be computed."""
    mac_energy_pj: dict[DataTypeName, Positive] = Field(default_factory=dict)
    """pJ per MAC by data type, operand registers included; where left out, the technology's."""
    sustained_fraction: Share = 1.0
    """Attainable share of the peak rate."""

    @model_validator(mode="after")
    def _energies_of_computed_types(self) -> _AnyArrayForm:
        for name in self.mac_energy_pj:
            if name not in self.macs_per_pe_per_cycle:
                raise ValueError(f"mac_energy_pj has '{name}', which macs_per_pe_per_cycle has not; add it there or leave it out here")
        return self


class ArrayForm(_AnyArrayForm):
    """Equal MAC arrays of rows and columns that share the on-chip buffer: the short form."""

    rows: Whole
    """Processing elements along one side of one array."""
    columns: Whole
    """Processing elements along the other side of one array."""
    count: Whole
    """Number of equal arrays."""
    dataflows: tuple[Dataflow, ...] = Field(min_length=1)
    """What may stay in the array while the third dimension streams by; the mapper takes the cheapest."""

    @field_validator("dataflows")
    @classmethod
    def _distinct(cls, given: tuple[Dataflow, ...]) -> tuple[Dataflow, ...]:
        if len(set(given)) < len(given):
            raise ValueError("a dataflow is named twice; name each once")
        return given


class ArrayDimForm(FileForm):
    """One dimension of an array: elements side by side, each with its own part of a loop."""

    size: Whole
    """Processing elements along this dimension."""
    unrolls: tuple[Loop, ...] = Field(min_length=1)
    """Loops that may be spread over it (groups, m, k, n): one for a fixed dataflow; of several, each may take a share."""

    @field_validator("unrolls")
    @classmethod
    def _distinct(cls, given: tuple[Loop, ...]) -> tuple[Loop, ...]:
        if len(set(given)) < len(given):
            raise ValueError("a loop is named twice; name each once")
        return given


class ArrayDimsForm(_AnyArrayForm):
    """A MAC array with 1 to 4 named dimensions: the long form."""

    dims: dict[Name, ArrayDimForm] = Field(min_length=1, max_length=MAX_DIMS)
    """Dimensions by name."""
    stationary: tuple[OperandName, ...] = Field(min_length=1)
    """Operands that may stay in the array while the loop that they lack streams by; the mapper takes the cheapest."""

    @field_validator("stationary")
    @classmethod
    def _distinct(cls, given: tuple[OperandName, ...]) -> tuple[OperandName, ...]:
        if len(set(given)) < len(given):
            raise ValueError("an operand is named twice; name each once")
        return given


def _form_of(given: object) -> str:
    return "long form" if isinstance(given, ArrayDimsForm) or (isinstance(given, dict) and "dims" in given) else "short form"


AnyArrayForm = Annotated[Annotated[ArrayForm, Tag("short form")] | Annotated[ArrayDimsForm, Tag("long form")], Discriminator(_form_of)]
