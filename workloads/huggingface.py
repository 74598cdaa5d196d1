"""Hugging Face `config.json` as a model configuration: reads the file and finds the architecture's reader."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dse.errors import InputError, did_you_mean
from dse.files import parse_yaml, validate
from workloads.hf import deepseek, families
from workloads.hf.quantisation import quantised_precision

if TYPE_CHECKING:
    from collections.abc import Callable

    from dse.files import Document
    from workloads.config import ModelConfig

READERS: Final[dict[str, Callable[[Document], ModelConfig]]] = {
    **dict.fromkeys(
        ("deepseek_v2", "deepseek_v3", "deepseek_v32", "kimi_k2", "glm_moe_dsa"),
        lambda document: deepseek.to_model(validate(document, deepseek.DeepseekConfigFile)),
    ),
    **families.READERS,
}
"""Architecture to its reader."""
MODEL_TYPES: Final = tuple(READERS)
"""Architectures that can be read."""
_TEXT_MODELS: Final = {
    "llama4": "llama4_text",
    "gemma3": "gemma3_text",
    "kimi_k25": "kimi_k2",
    "step3_vl": "step3_text",
    "mistral3": "mistral",
}
"""Architecture of the language model inside a multimodal one, where `text_config` does not say it."""
_MAX_CONFIG_BYTES: Final = 4 * 1024**2


def load_config(path: str) -> ModelConfig:
    """The model in a Hugging Face `config.json`; it is called like its folder is not known: `<model_type>_config`.

    Raises:
        InputError: missing or broken file, unknown architecture, a key that is missing or of the wrong kind; with line.
    """
    document = _text_part(_read(path))
    found = document.data.get("model_type")
    if not isinstance(found, str) or found not in READERS:
        given = f"'{found}'" if found is not None else "missing"
        near = did_you_mean(str(found), MODEL_TYPES)
        raise InputError.single(
            document.where(("model_type",)),
            f"key 'model_type' is {given}; supported architectures: {', '.join(MODEL_TYPES)}.{near} "
            "Others come in as ONNX (--onnx) or as a YAML of our form (dse schema model)",
        )
    precision = quantised_precision(document)
    return replace(READERS[found](document), precision=precision)


def _text_part(document: Document) -> Document:
    """The language model of a multimodal configuration (`text_config`), else the whole."""
    text = document.data.get("text_config")
    if not isinstance(text, dict) or not text:
        return document
    inherited = {k: document.data[k] for k in ("quantization_config", "tie_word_embeddings") if k in document.data}
    default = {"model_type": _TEXT_MODELS.get(str(document.data.get("model_type")), document.data.get("model_type"))}
    origins = {at[1:]: line for at, line in document.origins.items() if at[:1] == ("text_config",)}
    outside = {at: line for at, line in document.origins.items() if at[:1] != ("text_config",)}
    return replace(document, data={**inherited, **default, **text}, origins={**outside, **origins})


def _read(path: str) -> Document:
    """The JSON file as a document whose values know their lines."""
    file = Path(path)
    try:
        with file.open("rb") as opened:
            content = opened.read(_MAX_CONFIG_BYTES + 1)
        text = content.decode("utf-8-sig")
    except FileNotFoundError as e:
        raise InputError.single(path, "no such file") from e
    except OSError as e:
        raise InputError.single(path, f"cannot be read: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise InputError.single(path, "is not text in UTF-8; save it as UTF-8") from e
    if len(content) > _MAX_CONFIG_BYTES:
        raise InputError.single(path, f"is larger than {_MAX_CONFIG_BYTES} bytes; is this the right file?")
    try:
        top = json.loads(text)
    except json.JSONDecodeError as e:
        raise InputError.single(f"{path}:{e.lineno}", f"is not valid JSON: {e.msg}") from e
    except (RecursionError, ValueError) as e:
        raise InputError.single(path, "is not a configuration: nested too deeply or a number too long") from e
    if not isinstance(top, dict):
        raise InputError.single(f"{path}:1", "does not start with '{'; the top of a config.json must be an object")
    return parse_yaml(text.replace("\t", " "), path)  # valid JSON is YAML 1.2 but for tabs
