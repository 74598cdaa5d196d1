"""From a document to a checked form: every pydantic error becomes a line, a key, what was given and what is allowed."""

from __future__ import annotations

import json
import re
import types
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from dse.errors import InputError, Problem, did_you_mean
from dse.files.docstrings import field_docs
from dse.files.document import render

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema, ErrorDetails

    from dse.files.document import Document, Location

_POWER: Final = re.compile(r"[+-]?[\d.]+\s*(\^|\*\*)\s*[+-]?[\d.]+")
_NOT_FINITE: Final = ("nan", "inf", "infinity")
Form = TypeVar("Form", bound=BaseModel)


class FileForm(BaseModel):
    """Base of all forms: unknown keys, numbers in quotes, booleans for numbers, infinities and NaN are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The schema with the fields' docstrings as descriptions."""
        found = handler(core_schema)
        properties = handler.resolve_ref_schema(found).get("properties", {})
        for name, text in field_docs(cls).items():
            if name in properties:
                properties[name].setdefault("description", text)
        return found


def validate(document: Document, form: type[Form]) -> Form:
    """`document` as `form`.

    Raises:
        InputError: all problems of the file in the order of its lines, each with file and line, key, what was given
            and what is allowed.
    """
    try:
        # JSON is the door because strict mode then still reads words as enums and lists as tuples.
        return form.model_validate_json(json.dumps(dict(document.data)))
    except ValidationError as error:
        details = error.errors(include_url=False)
    problems = _unique(_problem(document, form, detail) for detail in _deepest(details))
    raise InputError(sorted(problems, key=_line))


def _line(problem: Problem) -> tuple[str, int]:
    file, _, line = problem.where.rpartition(":")
    return (file, int(line)) if line.isdecimal() else (problem.where, 0)


def _unique(problems: Iterator[Problem]) -> list[Problem]:
    return list(dict.fromkeys(problems))


def _deepest(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Leave out 'too short' of a list whose items are wrong already: it follows from that."""
    longer = {d["loc"][:n] for d in details for n in range(len(d["loc"]))}
    return [d for d in details if not (d["type"] == "too_short" and d["loc"] in longer)]


def _problem(document: Document, form: type[BaseModel], detail: ErrorDetails) -> Problem:
    location, holders = _locate(document, form, detail)
    if detail["type"] in ("union_tag_invalid", "union_tag_not_found"):
        location = (*location, detail["ctx"]["discriminator"].strip("'"))
    key = ".".join(str(step) for step in location) or "the file"
    if detail["type"] == "missing":
        about = _description(holders, str(location[-1]))
        return Problem(document.where(location), f"'{key}' is missing; add it{about}")
    if detail["type"] == "extra_forbidden":
        allowed = sorted({name for holder in holders for name in _fields(holder)})
        near = did_you_mean(str(location[-1]), allowed)
        return Problem(document.where(location), f"key '{key}' is not known; allowed here: {', '.join(allowed)}.{near}")
    return Problem(document.where(location), _WORDS.get(detail["type"], _other)(key, detail))


def _locate(document: Document, form: type[BaseModel], detail: ErrorDetails) -> tuple[Location, list[Any]]:
    """The location without pydantic's own steps (union tags), and the types that may stand around its last step."""
    location: tuple[str | int, ...] = ()
    around: list[Any] = [form]
    types_here: list[Any] = [form]
    for n, step in enumerate(detail["loc"]):
        last = n == len(detail["loc"]) - 1
        inner = [t for holder in types_here for t in _inside(holder, step)]
        known = document.value((*location, step)) is not None or (*location, step) in document.origins
        if step == "[key]" or not (known or inner or (last and detail["type"] in ("missing", "extra_forbidden"))):
            types_here = [t for t in types_here if _tagged(t, step)] or types_here
            continue  # a union tag or pydantic's own marker
        location, around, types_here = (*location, step), types_here, inner
    return location, around


def _inside(holder: Any, step: str | int) -> list[Any]:  # Any: annotations are of many kinds
    """The types that `step` leads to from `holder`."""
    found: list[Any] = []
    for kind in _flat(holder):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            if step in kind.model_fields:
                found += _flat(kind.model_fields[str(step)].annotation)
        elif get_origin(kind) in (dict, Mapping):
            found += _flat(get_args(kind)[1])
        elif get_origin(kind) in (list, tuple) and isinstance(step, int):
            found += _flat(get_args(kind)[0])
    return found


def _tagged(kind: Any, tag: str | int) -> bool:
    """Whether one of the fields of `kind` is the literal `tag`."""
    models = isinstance(kind, type) and issubclass(kind, BaseModel)
    return models and any(tag in get_args(f.annotation) for f in kind.model_fields.values() if get_origin(f.annotation) is Literal)


def _flat(kind: Any) -> list[Any]:
    """`kind` without Annotated, unions taken apart."""
    if get_origin(kind) is Annotated:
        return _flat(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return [part for arg in get_args(kind) for part in _flat(arg)]
    return [kind]


def _fields(holder: Any) -> list[str]:
    return [name for kind in _flat(holder) if isinstance(kind, type) and issubclass(kind, BaseModel) for name in kind.model_fields]


def _description(holders: list[Any], name: str) -> str:
    for holder in holders:
        for kind in _flat(holder):
            if isinstance(kind, type) and issubclass(kind, BaseModel) and name in kind.model_fields:
                text = (kind.model_fields[name].description or field_docs(kind).get(name, "")).split("\n")[0]
                return f": {text}" if text else ""
    return ""


def _must(what: str) -> Callable[[str, ErrorDetails], str]:
    def words(key: str, detail: ErrorDetails) -> str:
        return f"'{key}' must be {what.format(**detail.get('ctx', {}))}, not {_given(detail['input'])}{_hint(detail)}"

    return words


def _too_short(key: str, detail: ErrorDetails) -> str:
    kind = "mapping" if isinstance(detail["input"], dict) else "list"
    return _must(f"a {kind} of at least {{min_length}}")(key, detail)


def _given(value: Any) -> str:
    if isinstance(value, str):
        return f"the text '{value[:60]}'"
    if isinstance(value, dict):
        return "a mapping" if value else "an empty one"
    if isinstance(value, list):
        return f"the list {render(value)[:60]}"
    return render(value)[:60]


def _hint(detail: ErrorDetails) -> str:
    text = detail["input"]
    if detail["type"] not in ("int_type", "float_type") or not isinstance(text, str):
        return ""
    if _POWER.fullmatch(text.strip()):
        return "; write a power of ten as in 1e20, other powers as plain numbers"
    if text.strip().lower().lstrip("+-.") in _NOT_FINITE:
        return "; write a finite number"
    return "; write the bare number without quotes, the unit is in the key's name"


def _one_of(key: str, detail: ErrorDetails) -> str:
    allowed = detail["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
    near = did_you_mean(str(detail["input"]), allowed.split(", "))
    end = f".{near}" if near else ""
    return f"'{key}' must be one of {allowed}, not {_given(detail['input'])}{end}"


def _tag(key: str, detail: ErrorDetails) -> str:
    if detail["type"] == "union_tag_not_found":
        return f"'{key}' is missing; it tells which keys are allowed beside it"
    allowed = detail["ctx"]["expected_tags"].replace("'", "")
    near = did_you_mean(str(detail["ctx"]["tag"]), allowed.split(", "))
    end = f".{near}" if near else ""
    return f"'{key}' must be one of {allowed}, not '{detail['ctx']['tag']}'{end}"


def _own(key: str, detail: ErrorDetails) -> str:
    return detail["msg"].removeprefix("Value error, ") if key == "the file" else f"'{key}': {detail['msg'].removeprefix('Value error, ')}"


def _other(key: str, detail: ErrorDetails) -> str:
    return f"'{key}': {detail['msg']}; given: {_given(detail['input'])}"


_WORDS: Final[Mapping[str, Callable[[str, ErrorDetails], str]]] = {
    "int_type": _must("an integer"),
    "int_from_float": _must("an integer"),
    "float_type": _must("a number"),
    "bool_type": _must("true or false"),
    "string_type": _must("a word or text"),
    "finite_number": _must("a finite number"),
    "greater_than": _must("above {gt:g}"),
    "greater_than_equal": _must("at least {ge:g}"),
    "less_than": _must("below {lt:g}"),
    "less_than_equal": _must("at most {le:g}"),
    "too_short": _too_short,
    "too_long": _must("a list of at most {max_length}"),
    "string_too_short": _must("a text of at least {min_length} characters"),
    "string_too_long": _must("a text of at most {max_length} characters"),
    "string_pattern_mismatch": _must("spelt like {pattern}"),
    "model_type": _must("a mapping (key: value)"),
    "dict_type": _must("a mapping (key: value)"),
    "list_type": _must("a list"),
    "tuple_type": _must("a list"),
    "literal_error": _one_of,
    "enum": _one_of,
    "union_tag_invalid": _tag,
    "union_tag_not_found": _tag,
    "value_error": _own,
}
