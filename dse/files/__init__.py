"""The file boundary: YAML in with line numbers, settings on top of it, errors in the user's words, files out in one piece."""

from dse.files.cache_folder import CACHE_FOLDER, CACHE_MIB, cache_folder
from dse.files.document import MAX_YAML_BYTES, Document, Value, dump_yaml, load_yaml, parse_setting, parse_yaml, render
from dse.files.form import FileForm, validate
from dse.files.write import atomic_write

__all__ = [
    "CACHE_FOLDER",
    "CACHE_MIB",
    "MAX_YAML_BYTES",
    "Document",
    "FileForm",
    "Value",
    "atomic_write",
    "cache_folder",
    "dump_yaml",
    "load_yaml",
    "parse_setting",
    "parse_yaml",
    "render",
    "validate",
]
