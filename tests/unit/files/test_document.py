"""Reading YAML: plain values, their lines, settings over them, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dse.errors import InputError, RunError, UsageError
from dse.files import MAX_YAML_BYTES, atomic_write, dump_yaml, load_yaml, parse_setting, parse_yaml

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """\
name: x   # a comment
sizes:
  rows: 12
  list: [1, 2.5, yes, ~, true, 0x10, 1e3]
"""


def test_values_and_lines() -> None:
    doc = parse_yaml(TEXT, "f.yaml")
    assert doc.data == {"name": "x", "sizes": {"rows": 12, "list": [1, 2.5, "yes", None, True, 16, 1000.0]}}
    assert doc.where(("sizes", "rows")) == "f.yaml:3"
    assert doc.where(("sizes", "missing")) == "f.yaml:2"
    assert doc.where(("nothing",)) == "f.yaml:1"
    assert doc.value(("sizes", "list", 1)) == 2.5
    assert doc.value(("sizes", "list", 9)) is None


def test_dump_gives_the_same_data_in_the_same_order() -> None:
    doc = parse_yaml(TEXT, "f.yaml")
    again = parse_yaml(dump_yaml(doc.data), "g.yaml")
    assert again.data == doc.data
    assert list(again.data) == ["name", "sizes"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3: 'a' is given twice (first in line 1); keep one"),
        ("a: &x [1]\n", "f.yaml:1: anchors (&) and aliases (*) are not used in these files; write the value out"),
        ("b: 1\na: !!python/name:os.system\n", "f.yaml:2: tags (tag:yaml.org,2002:python/name:os.system) are not used in these files; write the value without"),
        ("b: 1\na: !thing 3\n", "f.yaml:2: tags (!thing) are not used in these files; write the value without"),
        ("", "f.yaml:1: is empty; the top of the file must be a mapping"),
        ("- 1\n", "f.yaml:1: does not start with 'key: value'; the top of the file must be a mapping"),
        ("a: 1\n  b: 2\n", "f.yaml:2: is not valid YAML: mapping values are not allowed here"),
        ("a: 99999999999999999999\n", "f.yaml:1: 99999999999999999999 is too large; integers go up to 9223372036854775807"),
        ("a: 1e999\n", "f.yaml:1: 1e999 is too large for a floating-point number"),
        ("? [1]\n: 2\n", "f.yaml:1: a key must be a word"),
        ("a: " + "[" * 3000, "f.yaml: is nested too deeply; descriptions have a handful of levels"),
    ],
)  # fmt: skip
def test_refused(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_yaml(text, "f.yaml")
    assert str(error.value) == message


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_yaml(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        load_yaml(tmp_path)
    (tmp_path / "b.yaml").write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(InputError, match=r"b\.yaml:2: is not text in UTF-8"):
        load_yaml(tmp_path / "b.yaml")
    (tmp_path / "c.yaml").write_bytes(b"#" * (MAX_YAML_BYTES + 1))
    with pytest.raises(InputError, match="is larger than 1048576 bytes"):
        load_yaml(tmp_path / "c.yaml")


def test_settings() -> None:
    doc = parse_yaml(TEXT, "f.yaml")
    new = doc.with_settings({"sizes.rows": 64, "sizes.list": [7], "sizes.extra": None}, origin="--set")
    assert new.data == {"name": "x", "sizes": {"rows": 64, "list": [7], "extra": None}}
    assert new.where(("sizes", "list", 0)) == "--set sizes.list=[7]"
    assert doc.data["sizes"] == {"rows": 12, "list": [1, 2.5, "yes", None, True, 16, 1000.0]}
    with pytest.raises(UsageError) as error:
        doc.with_settings({"size.rows": 1})
    assert str(error.value) == "setting size.rows=1: there is no 'size' under the top; there: name, sizes. Did you mean 'sizes'?"


def test_parse_setting() -> None:
    assert parse_setting("a.b=128") == ("a.b", 128)
    assert parse_setting("a=[x, 2.5]") == ("a", ["x", 2.5])
    assert parse_setting("a=32 MiB") == ("a", "32 MiB")
    for bad in ("a", "=1", "a..b=1", "a=[1", "a=x\nb: 2"):
        with pytest.raises(UsageError):
            parse_setting(bad)


def test_atomic_write(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    atomic_write(target, "old")
    atomic_write(target, "né\n".encode())
    assert target.read_text(encoding="utf-8") == "né\n"
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]
    with pytest.raises(RunError, match="cannot be written"):
        atomic_write(tmp_path / "none" / "x.txt", "y")
