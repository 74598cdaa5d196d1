"""Limits as expressions: what the grammar takes, what it refuses, and that columns give what single values give."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.search.expression import ExpressionError, parse
from dse.search.limits import Limits, OuterChoices
from tests.search_fakes import SPACE

SAMPLES = {"a.b": (1, 2), "c": ("x", "y"), "d": (True,), "n": (None, 3)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.b < 3", [True, True, False]),
        ("0 < a.b <= 2 and c == 'x'", [True, True, False]),
        ("c in ['x', 'z'] or not d", [True] * 3),
        ("c not in ['x']", [False] * 3),
        ("n == null", [True] * 3),
        ("n <= 3", [False] * 3),  # null has no size
        ("a.b % 2 == 0", [False, True, False]),
        ("a.b // 2 + -a.b * 1.0 == -1", [True, True, False]),
        ("1 / (a.b - 1) > 0.4", [True, True, True]),  # infinite, then 1 and a half
        ("d == 1", [False] * 3),  # true is no number
        ("a.b in [1, 3]", [True, False, True]),
    ],
)
def test_what_it_means(text: str, expected: list[bool]) -> None:
    expression = parse(text)
    expression.check(SAMPLES)
    assert expression.holds({"a.b": np.array([1.0, 2.0, 3.0]), "c": "x", "d": True, "n": None}, 3).tolist() == expected


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a.b.__class__ == 1", "attribute access is not allowed"),
        ("(1).real < 2", "attribute access is not allowed"),
        ("open('x')", "a call is not allowed"),
        ("a.b[0] == 1", "a subscript is not allowed"),
        ("2 ** 99999 > 1", "a power is not allowed"),
        ("lambda: 1", "a function is not allowed"),
        ("[x for x in c] == 1", "is not allowed"),
        ("f'{c}' == 'x'", "a formatted text is not allowed"),
        ("(z := 1) == 1", "an assignment is not allowed"),
        ("a.c == 1", "there is no 'a.c' here"),
        ("a.b + c > 1", "'c' is a text"),
        ("a.b + 1", "is no condition"),
        ("a.b and d", "'a.b' is a number"),
        ("c is 'x'", "'is' is not allowed"),
        ("a.b <", "cannot be read"),
        ("", "is no condition"),
        ("9" * 30 + " > a.b", "too large"),
        ("-" * 200 + "1 > a.b", "nested"),
        ("a.b > 1" + " " * 2000, "at most"),
    ],
)
def test_what_is_refused(text: str, what: str) -> None:
    with pytest.raises(ExpressionError, match=what):
        parse(text).check(SAMPLES)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(ExpressionError):
        parse(text).check(SAMPLES)


TEXTS = ("core.array.rows * workload.batch <= 128", "workload.attention != 'reuse' or workload.batch > 2", "core.array.rows % 16 == 0")


@pytest.mark.parametrize("text", TEXTS)
def test_columns_agree_with_single_choices(text: str) -> None:
    expression = parse(text)
    choices = OuterChoices(SPACE, Limits((expression,)))
    kept = [i for i in range(SPACE.outer_size) if expression.holds(SPACE.choice(i), 1)[0]]
    assert [choices.at(p) for p in range(choices.count)] == kept
    assert [i for i in range(SPACE.outer_size) if choices.allows(i)] == kept
