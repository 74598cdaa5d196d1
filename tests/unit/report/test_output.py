"""One way to write records: table, JSON, CSV."""

from __future__ import annotations

import io
import json

from dse.report.output import Format, write_json, write_records

RECORDS = [{"name": "a", "value_s": 1.23456789, "good": True}, {"name": "b, c", "value_s": float("inf"), "good": None}]
COLUMNS = ("name", "value_s", "good", "missing")


def written(form: Format, title: str = "") -> str:
    out = io.StringIO()
    write_records(RECORDS, COLUMNS, form, title=title, stream=out)
    return out.getvalue()


def test_json_keeps_all_digits_and_has_no_infinity() -> None:
    assert json.loads(written(Format.JSON, title="not in it")) == [
        {"name": "a", "value_s": 1.23456789, "good": True, "missing": None},
        {"name": "b, c", "value_s": None, "good": None, "missing": None},
    ]


def test_csv() -> None:
    assert written(Format.CSV) == 'name,value_s,good,missing\na,1.23456789,true,\n"b, c",inf,,\n'


def test_table_is_plain_and_not_cut() -> None:
    text = written(Format.TABLE, title="Fastest first (latency_s)")
    assert text.splitlines()[0].strip() == "Fastest first (latency_s)"
    assert "1.23457" in text
    assert "\x1b" not in text
    long = io.StringIO()
    write_records([{"x": "y" * 500}], ("x",), Format.TABLE, stream=long)
    assert "y" * 500 in long.getvalue()


def test_markup_in_values_is_text() -> None:
    out = io.StringIO()
    write_records([{"x": "[bold]not bold[/bold]"}], ("x",), Format.TABLE, stream=out)
    assert "[bold]not bold[/bold]" in out.getvalue()


def test_nested_json() -> None:
    out = io.StringIO()
    write_json({"a": [1.0, float("nan")], "b": {"c": (float("-inf"),)}}, stream=out)
    assert json.loads(out.getvalue()) == {"a": [1.0, None], "b": {"c": [None]}}
