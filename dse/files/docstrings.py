"""Docstrings under the fields of a form: the documentation of its keys, read from the source only where it is shown.

Pydantic can collect them too (`use_attribute_docstrings`), but does so when a class is made, which costs every command 0.1 s.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@cache
def field_docs(kind: type) -> Mapping[str, str]:
    """Text by name of field, with those of the classes that it inherits from; empty for a class without source."""
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        if "__annotations__" in vars(one):
            found |= _own(one)
    return found


def _own(kind: type) -> dict[str, str]:
    try:
        source = inspect.getsource(kind)
    except (OSError, TypeError):
        return {}
    body = ast.parse(textwrap.dedent(source)).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, text in pairwise(body.body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                found[name] = inspect.cleandoc(words)
    return found
