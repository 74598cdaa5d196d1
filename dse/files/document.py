"""A YAML file as plain values that remember their lines, and settings laid over it."""

from __future__ import annotations

import io
import math
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from dse.errors import InputError, Problem, UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ruamel.yaml.nodes import Node

Value: TypeAlias = "bool | int | float | str | list[Value] | dict[str, Value] | None"
"""What a YAML file can hold; nothing else passes the boundary."""
Location: TypeAlias = tuple[str | int, ...]
"""Keys and list positions from the top of a file down to a value."""

MAX_YAML_BYTES: Final = 1024**2
"""A larger file is refused: the largest of ours has some KiB, and one of this size takes seconds to parse."""
_MAX_SETTING_CHARACTERS: Final = 10_000
_LARGEST_INTEGER: Final = 2**63 - 1
_TAG: Final = "tag:yaml.org,2002:"
_PLAIN_TAGS: Final = frozenset(_TAG + kind for kind in ("map", "seq", "str", "int", "float", "bool", "null", "timestamp"))


@dataclass(frozen=True, slots=True)
class Document:
    """The values of one file and where each came from."""

    path: str
    text: str
    """The file as read, for checks of its comments."""
    data: Mapping[str, Value]
    origins: Mapping[Location, str]
    """`file:line` or `setting path=value` by location; a location that is missing has its parent's."""

    def where(self, location: Location = ()) -> str:
        """`file:line` of a value, or of the nearest thing around it that exists."""
        for end in range(len(location), 0, -1):
            if location[:end] in self.origins:
                return self.origins[location[:end]]
        return f"{self.path}:1"

    def value(self, location: Location) -> Value:
        """The value at `location`; None where there is none."""
        here: Value = dict(self.data)
        for step in location:
            if isinstance(here, dict) and isinstance(step, str):
                here = here.get(step)
            elif isinstance(here, list) and isinstance(step, int) and step < len(here):
                here = here[step]
            else:
                return None
        return here

    def with_settings(self, settings: Mapping[str, Value], *, origin: str = "setting", add_parents: bool = False) -> Document:
        """A document with `{'path.to.field': value}` laid over it; errors then name `origin path=value`.

        A last key that is not there yet is added (it may be optional), with `add_parents` the keys on the way too;
        whether they are known, validation decides.

        Raises:
            UsageError: the way to a field leads through a key that does not exist.
        """
        data = deepcopy(dict(self.data))
        origins = dict(self.origins)
        for path, value in settings.items():
            location = tuple(path.split("."))
            if add_parents:
                _add_parents(data, location)
            _put(data, location, deepcopy(value), f"{origin} {path}={render(value)}")
            origins = {k: v for k, v in origins.items() if k[: len(location)] != location}
            origins[location] = f"{origin} {path}={render(value)}"
        return Document(self.path, self.text, data, origins)


def _add_parents(data: dict[str, Value], location: tuple[str, ...]) -> None:
    here: Value = data
    for step in location[:-1]:
        if not isinstance(here, dict):
            return  # _put says what is wrong
        here = here.setdefault(step, {})


def _put(data: dict[str, Value], location: tuple[str, ...], value: Value, origin: str) -> None:
    here = data
    for depth, step in enumerate(location[:-1]):
        inner = here.get(step)
        if not isinstance(inner, dict):
            way = ".".join(location[:depth]) or "the top"
            raise UsageError(f"{origin}: there is no '{step}' under {way}; there: {', '.join(here)}.{did_you_mean(step, here)}")
        here = inner
    here[location[-1]] = value


def render(value: Value) -> str:
    """A value as a message shows it: short, YAML spelling."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list):
        return "[" + ", ".join(render(v) for v in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {render(v)}" for k, v in value.items()) + "}"
    return str(value)


def load_yaml(path: str | Path, *, repeated: list[Problem] | None = None) -> Document:
    """Read a YAML 1.2 file of at most MAX_YAML_BYTES whose top is a mapping.

    With `repeated`, for files of other tools, the last of several equal keys counts and each one before it is noted there.

    Raises:
        InputError: missing, unreadable, too large, not UTF-8, broken YAML, a key given twice, anchors, aliases or tags.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_YAML_BYTES + 1)
    except FileNotFoundError as error:
        raise InputError.single(str(path), "no such file") from error
    except OSError as error:
        raise InputError.single(str(path), f"cannot be read: {error.strerror}") from error
    if len(content) > MAX_YAML_BYTES:
        raise InputError.single(
            str(path), f"is larger than {MAX_YAML_BYTES} bytes, far more than any description needs; is this the right file?"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError.single(f"{path}:{line}", "is not text in UTF-8; save it as UTF-8") from error
    return parse_yaml(text, str(path), repeated=repeated)


def parse_yaml(text: str, path: str, *, repeated: list[Problem] | None = None) -> Document:
    """The document in `text`; `path` is what errors call it; `repeated` as in `load_yaml`.

    Raises:
        InputError: as `load_yaml`.
    """
    top = _compose(text, path)
    if not isinstance(top, MappingNode):
        given = "is empty" if top is None else "does not start with 'key: value'"
        raise InputError.single(f"{path}:1", f"{given}; the top of the file must be a mapping")
    reader = _Reader(path, repeated)
    data = reader.mapping(top, ())
    if reader.problems:
        raise InputError(reader.problems)
    return Document(path, text, data, reader.origins)


def parse_setting(text: str) -> tuple[str, Value]:
    """`path.to.field=value` as path and value; the value is read as YAML (`--set core.array.rows=128`).

    Raises:
        UsageError: no '=' or path, or a value that is not YAML.
    """
    path, equals, value = text.partition("=")
    if not equals or not all(path.split(".")) or len(text) > _MAX_SETTING_CHARACTERS or "\n" in text:
        raise UsageError(f"'{text[:80]}' is not a setting; write path.to.field=value, as in core.array.rows=128")
    try:
        return path, parse_yaml(f"value: {value.strip()}", "setting").data["value"]
    except InputError as error:
        why = "; ".join(problem.message for problem in error.problems)
        raise UsageError(f"setting {path}: the value '{value[:80]}': {why}; write a number, a word or [a, list]") from error


def dump_yaml(data: Mapping[str, Value]) -> str:
    """`data` as YAML in the order of its keys; `parse_yaml` gives it back."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    out = io.StringIO()
    yaml.dump(dict(data), out)
    return out.getvalue()


def _compose(text: str, path: str) -> Node | None:
    try:
        node: Node | None = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark else path
        what = "; ".join(str(part) for part in (error.context, error.problem) if part)
        raise InputError.single(where, f"is not valid YAML: {what}") from error
    except YAMLError as error:
        raise InputError.single(path, f"is not valid YAML: {str(error).splitlines()[0]}") from error
    except RecursionError as error:
        raise InputError.single(path, "is nested too deeply; descriptions have a handful of levels") from error
    return node


class _Reader:
    """Turns nodes into plain values and collects what is wrong on the way."""

    def __init__(self, path: str, repeated: list[Problem] | None = None) -> None:
        self.path = path
        self.repeated = repeated
        self.problems: list[Problem] = []
        self.origins: dict[Location, str] = {}

    def mapping(self, node: MappingNode, location: Location) -> dict[str, Value]:
        result: dict[str, Value] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if not isinstance(key_node, ScalarNode):
                self._problem(key_node, "a key must be a word")
            elif key in result and self.repeated is not None:
                self.repeated.append(Problem(self.origins[*location, key], f"'{key}' is given twice; the last counts"))
                self.origins[*location, key] = self._where(key_node)
                result[key] = self.value(value_node, (*location, key))
            elif key in result:
                first = self.origins[*location, key].rpartition(":")[2]
                self._problem(key_node, f"'{key}' is given twice (first in line {first}); keep one")
            else:
                self.origins[*location, key] = self._where(key_node)
                result[key] = self.value(value_node, (*location, key))
        return result

    def value(self, node: Node, location: Location) -> Value:
        if node.anchor is not None:
            self._problem(node, "anchors (&) and aliases (*) are not used in these files; write the value out")
        elif str(node.tag) not in _PLAIN_TAGS:
            self._problem(node, f"tags ({node.tag}) are not used in these files; write the value without")
        elif isinstance(node, MappingNode):
            return self.mapping(node, location)
        elif isinstance(node, SequenceNode):
            return self._items(node, location)
        else:
            return self._scalar(node)
        return None

    def _items(self, node: SequenceNode, location: Location) -> list[Value]:
        for position, item in enumerate(node.value):
            self.origins[*location, position] = self._where(item)
        return [self.value(item, (*location, position)) for position, item in enumerate(node.value)]

    def _scalar(self, node: Node) -> Value:
        kind, text = str(node.tag).removeprefix(_TAG), str(node.value)
        if kind == "null":
            return None
        if kind == "bool" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if kind in ("int", "float"):
            return self._number(node, kind, text.replace("_", "").lower())
        return text

    def _number(self, node: Node, kind: str, text: str) -> Value:
        try:
            number: int | float
            if kind == "float":
                number = float(text.replace(".inf", "inf").replace(".nan", "nan"))
            else:
                number = int(text, 0) if text.lstrip("+-")[:2] in ("0o", "0x", "0b") else int(text)
        except ValueError:
            self._problem(node, f"'{text[:40]}' is not a number that can be read")
            return None
        if isinstance(number, int) and abs(number) > _LARGEST_INTEGER:
            self._problem(node, f"{text[:40]} is too large; integers go up to {_LARGEST_INTEGER}")
            return None
        if isinstance(number, float) and math.isinf(number) and "inf" not in text:
            self._problem(node, f"{text[:40]} is too large for a floating-point number")
            return None
        return number

    def _where(self, node: Node) -> str:
        return f"{self.path}:{node.start_mark.line + 1}"

    def _problem(self, node: Node, message: str) -> None:
        self.problems.append(Problem(self._where(node), message))
