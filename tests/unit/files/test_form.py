"""Pydantic's errors in the user's words: line, key, what was given, what is allowed."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import pytest
from pydantic import Field, model_validator

from dse.errors import InputError
from dse.files import FileForm, parse_yaml, validate


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Round(FileForm):
    kind: Literal["round"]
    radius_mm: float = Field(gt=0)
    """Radius."""


class Square(FileForm):
    kind: Literal["square"]
    side_mm: float = Field(gt=0)


class Box(FileForm):
    rows: int = Field(ge=1)
    """Rows of the box.

    More text.
    """
    share: float = Field(gt=0, le=1)
    colours: tuple[Colour, ...] = Field(min_length=1)
    shapes: dict[str, Annotated[Round | Square, Field(discriminator="kind")]]
    rate: dict[Colour, int] = Field(default_factory=dict)
    size: int | list[int] = 1
    flag: bool = False

    @model_validator(mode="after")
    def _own_rule(self) -> Box:
        if self.rows == 13:
            raise ValueError("13 rows bring bad luck")
        return self


GOOD = """\
rows: 1
share: 1
colours: [red]
shapes:
  a: {kind: round, radius_mm: 2}
  b:
    kind: square
    side_mm: 1.5
"""


def problems(text: str) -> list[str]:
    with pytest.raises(InputError) as error:
        validate(parse_yaml(text, "f"), Box)
    return str(error.value).splitlines()


def test_good_file() -> None:
    box = validate(parse_yaml(GOOD, "f"), Box)
    assert box.colours == (Colour.RED,)
    assert box.shapes["b"] == Square(kind="square", side_mm=1.5)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rows: 1", "rows: 0", "f:1: 'rows' must be at least 1, not 0"),
        ("rows: 1", "rows: '1'", "f:1: 'rows' must be an integer, not the text '1'; write the bare number without quotes, the unit is in the key's name"),
        ("rows: 1", "rows: true", "f:1: 'rows' must be an integer, not true"),
        ("rows: 1", "rows: 1.5", "f:1: 'rows' must be an integer, not 1.5"),
        ("rows: 1", "rows: 13", "f:1: 13 rows bring bad luck"),
        ("rows: 1\n", "", "f:1: 'rows' is missing; add it: Rows of the box."),
        ("rows: 1", "rows: 1\nrowz: 2", "f:2: key 'rowz' is not known; allowed here: colours, flag, rate, rows, shapes, share, size. Did you mean 'rows'?"),
        ("share: 1", "share: .nan", "f:2: 'share' must be a finite number, not nan"),
        ("share: 1", "share: 1.5", "f:2: 'share' must be at most 1, not 1.5"),
        ("[red]", "[]", "f:3: 'colours' must be a list of at least 1, not the list []"),
        ("[red]", "[bleu]", "f:3: 'colours.0' must be one of red, blue, not the text 'bleu'. Did you mean 'blue'?"),
        ("[red]", "red", "f:3: 'colours' must be a list, not the text 'red'"),
        ("kind: square", "kind: squar", "f:7: 'shapes.b.kind' must be one of round, square, not 'squar'. Did you mean 'square'?"),
        ("    kind: square\n", "", "f:6: 'shapes.b.kind' is missing; it tells which keys are allowed beside it"),
        ("side_mm: 1.5", "side_mm: -1", "f:8: 'shapes.b.side_mm' must be above 0, not -1"),
        ("side_mm: 1.5", "side_cm: 1", "f:6: 'shapes.b.side_mm' is missing; add it\nf:8: key 'shapes.b.side_cm' is not known; allowed here: kind, side_mm. Did you mean 'side_mm'?"),
        ("share: 1", "share: 1\nrate: {green: 1}", "f:3: 'rate.green' must be one of red, blue, not the text 'green'"),
        ("share: 1", "share: 1\nflag: 1", "f:3: 'flag' must be true or false, not 1"),
        ("share: 1", "share: 1\nsize: [1, x]", "f:3: 'size' must be an integer, not the list [1, x]\n"
         "f:3: 'size.1' must be an integer, not the text 'x'; write the bare number without quotes, the unit is in the key's name"),
        ("  a: {kind: round, radius_mm: 2}", "  a: 3", "f:5: 'shapes.a' must be a mapping (key: value), not 3"),
    ],
)  # fmt: skip
def test_each_error(old: str, new: str, message: str) -> None:
    assert old in GOOD
    assert problems(GOOD.replace(old, new, 1)) == message.splitlines()


def test_all_problems_in_the_order_of_the_lines() -> None:
    text = GOOD.replace("side_mm: 1.5", "side_mm: 0").replace("rows: 1", "rows: 0").replace("share: 1", "share: 0")
    assert [p.split(":")[1] for p in problems(text)] == ["1", "2", "8"]


def test_a_setting_is_named_as_such() -> None:
    doc = parse_yaml(GOOD, "f").with_settings({"shapes.b.side_mm": -1}, origin="--set")
    with pytest.raises(InputError) as error:
        validate(doc, Box)
    assert str(error.value) == "--set shapes.b.side_mm=-1: 'shapes.b.side_mm' must be above 0, not -1"
