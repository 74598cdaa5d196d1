"""The tables of measured kernels: which columns each family has, and which law predicts its rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.validation.silicon import laws

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from dse.validation.silicon.chip import Chip

    FloatArray = NDArray[np.float64]
    Texts = Mapping[str, NDArray[np.str_]]

HIDDEN, QUERY_RANK, LATENT, ROPE, HEAD = 7168.0, 1536.0, 512.0, 64.0, 128.0
"""DeepSeek-V3 attention: the geometry of the MLA tables (silicon tables' README)."""


@dataclass(frozen=True)
class Family:
    """One operator of the tables."""

    numbers: tuple[str, ...]
    """Numeric columns that a prediction needs."""
    words: tuple[str, ...]
    """Text columns that split the rows; besides `dtype`."""
    law: Callable[[laws.Rows, Chip, str, laws.Constants], FloatArray]
    constants: Callable[[Mapping[str, str]], str]
    """Name of the constants, from the words of a group."""
    rows: Callable[[Mapping[str, FloatArray], Mapping[str, str]], dict[str, FloatArray]]
    """Columns of the law from columns of the table."""


def _same(columns: Mapping[str, FloatArray], words: Mapping[str, str]) -> dict[str, FloatArray]:
    del words
    return dict(columns)


def _bmm(columns: Mapping[str, FloatArray], words: Mapping[str, str]) -> dict[str, FloatArray]:
    k, n = (LATENT, HEAD) if words["side"] == "o_x_W_UV" else (HEAD, LATENT)
    heads = columns["num_heads"]
    return {"heads": heads, "m": columns["tokens"], "k": np.full_like(heads, k), "n": np.full_like(heads, n)}


def _decode(columns: Mapping[str, FloatArray], words: Mapping[str, str]) -> dict[str, FloatArray]:
    heads = columns["num_heads"]
    return {**columns, "heads": heads, "kv_bytes": np.full_like(heads, laws.BYTES[words["kv_dtype"]])}


def _mla_prefill(columns: Mapping[str, FloatArray], words: Mapping[str, str]) -> dict[str, FloatArray]:
    heads = columns["num_heads"]
    naive = words["form"] == "naive"
    qk, v = (HEAD + ROPE, HEAD) if naive else (LATENT + ROPE, LATENT)
    groups = heads if naive else np.ones_like(heads)
    return {**columns, "heads": heads, "kv_heads": groups, "qk": np.full_like(heads, qk), "v": np.full_like(heads, v)}


def _gqa_prefill(columns: Mapping[str, FloatArray], words: Mapping[str, str]) -> dict[str, FloatArray]:
    del words
    return {**columns, "heads": columns["num_heads"], "qk": columns["head_dim"], "v": columns["head_dim"]}


def _moe(columns: Mapping[str, FloatArray], words: Mapping[str, str]) -> dict[str, FloatArray]:
    del words
    return {
        "hidden": columns["hidden"],
        "inter": columns["inter"] / columns["tp"],
        "active": columns["active_local_experts"],
        "routed": columns["routed_local"],
    }


def _gqa_prefill_name(words: Mapping[str, str]) -> str:
    return "prefill_gqa_64" if float(words["head_dim"]) <= HEAD / 2 else "prefill_gqa_128"


def _block(columns: laws.Rows, chip: Chip, dtype: str, c: laws.Constants) -> FloatArray:
    """The parts of an MLA block one after the other; launches of its kernels overlap, so one launch stands for all."""
    heads, tokens = columns["num_heads"], columns["batch"] * columns["q_len"]

    def product(k: FloatArray | float, n: FloatArray | float, kind: str) -> FloatArray:
        at = chip.constants("gemm", kind)
        one = np.ones_like(heads)
        return laws.gemm({"m": tokens, "k": k * one, "n": n * one}, chip, kind, at) - at["launch_us"]

    total = product(HIDDEN, QUERY_RANK + LATENT + ROPE, dtype) + product(QUERY_RANK, heads * (HEAD + ROPE), dtype)
    total = total + product(heads * HEAD, HIDDEN, dtype)
    if columns["decode"][0]:
        for k, n in ((HEAD, LATENT), (LATENT, HEAD)):
            at = chip.constants("bmm", "bf16")
            rows = {"heads": heads, "m": tokens, "k": np.full_like(heads, k), "n": np.full_like(heads, n)}
            total = total + laws.bmm(rows, chip, "bf16", at) - at["launch_us"]
        kind = "fp8" if columns["kv_bytes"][0] == 1.0 else "bf16"
        at = chip.constants("mla_decode", kind)
        total = total + laws.mla_decode({**columns, "heads": heads}, chip, kind, at) - at["launch_us"]
    else:
        total = total + product(LATENT, heads * 2 * HEAD, "bf16")
        at = chip.constants("prefill_naive", "bf16")
        naive = _mla_prefill(columns, {"form": "naive"})
        total = total + laws.prefill(naive, chip, "bf16", at) - at["launch_us"]
    return c["launch_us"] + c["scale"] * total


def _block_rows(columns: Mapping[str, FloatArray], words: Mapping[str, str]) -> dict[str, FloatArray]:
    decode = np.full_like(columns["batch"], float(words["phase"] == "decode"))
    return {**_decode(columns, words), "decode": decode}


FAMILIES: Final = {
    "gemm": Family(("m", "n", "k"), (), laws.gemm, lambda _: "gemm", _same),
    "mla_absorb_bmm": Family(("num_heads", "tokens"), ("side",), laws.bmm, lambda _: "bmm", _bmm),
    "mla_decode_core": Family(("num_heads", "batch", "kv_len"), ("kv_dtype",), laws.mla_decode, lambda _: "mla_decode", _decode),
    "gqa_decode": Family(
        ("num_heads", "kv_heads", "head_dim", "batch", "kv_len"), ("kv_dtype",), laws.gqa_decode, lambda _: "gqa_decode", _decode
    ),
    "mla_prefill_core": Family(("num_heads", "batch", "q_len"), ("form",), laws.prefill, lambda w: f"prefill_{w['form']}", _mla_prefill),
    "gqa_prefill": Family(
        ("num_heads", "kv_heads", "head_dim", "batch", "q_len"), ("head_dim",), laws.prefill, _gqa_prefill_name, _gqa_prefill
    ),
    "moe_fused": Family(("hidden", "inter", "tp", "active_local_experts", "routed_local"), ("routing",), laws.moe, lambda _: "moe", _moe),
    "mla_block": Family(
        ("num_heads", "batch", "q_len", "kv_len"), ("phase", "kv_dtype"), _block, lambda w: f"block_{w['phase']}", _block_rows
    ),
}
"""By the `op` column. The order is that of fitting: a block is made of kernels fitted before."""
