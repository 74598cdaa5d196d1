"""How a campaign file spells the values of a dimension."""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import Field, field_validator, model_validator

from dse.files import FileForm

Scalar = bool | int | float | str | None
MAX_POINTS: Final = 100_000
"""Most values of one dimension."""


class ValuesForm(FileForm):
    """The values of one dimension, in exactly one of four spellings."""

    values: Annotated[tuple[Scalar, ...], Field(min_length=1, max_length=MAX_POINTS)] | None = None
    """A list of values."""
    power_of_two: tuple[int, int] | None = None
    """[lowest, highest]: every power of two between, both included."""
    linear: tuple[float, float, int] | None = None
    """[lowest, highest, count]: evenly spaced, both included."""
    log: tuple[float, float, int] | None = None
    """[lowest, highest, count]: evenly spaced on a logarithmic scale, both included."""

    @model_validator(mode="after")
    def _one_spelling(self) -> Self:
        given = [name for name in ("values", "power_of_two", "linear", "log") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of values, power_of_two, linear, log; given: {', '.join(given) or 'none'}")
        return self

    @field_validator("values")
    @classmethod
    def _distinct(cls, values: tuple[Scalar, ...] | None) -> tuple[Scalar, ...] | None:
        for position, value in enumerate(values or ()):
            if any(type(other) is type(value) and other == value for other in (values or ())[:position]):
                raise ValueError(f"the value {value} is given twice; keep one")
        return values

    @field_validator("power_of_two")
    @classmethod
    def _powers(cls, bounds: tuple[int, int] | None) -> tuple[int, int] | None:
        for bound in bounds or ():
            if bound < 1 or bound & (bound - 1):
                raise ValueError(f"both ends must be powers of two such as 64 or 1024, not {bound}")
        if bounds and bounds[0] > bounds[1]:
            raise ValueError(f"the lowest value {bounds[0]} is above the highest {bounds[1]}; swap them")
        return bounds

    @field_validator("linear", "log")
    @classmethod
    def _range(cls, given: tuple[float, float, int] | None) -> tuple[float, float, int] | None:
        if given is None:
            return None
        low, high, count = given
        if not 2 <= count <= MAX_POINTS:
            raise ValueError(f"the count must be between 2 and {MAX_POINTS}, not {count}; write one value as values: [x]")
        if low >= high:
            raise ValueError(f"the lowest value {low:g} must be below the highest {high:g}")
        return given

    @field_validator("log")
    @classmethod
    def _positive(cls, given: tuple[float, float, int] | None) -> tuple[float, float, int] | None:
        if given is not None and given[0] <= 0:
            raise ValueError(f"a logarithmic range starts above 0, not at {given[0]:g}")
        return given
