"""Times of GPU kernels from the counts of their tiles and bytes, data-sheet rates and a few fitted constants.

Every law has one form: a fixed launch, plus the larger (3-norm) of tile time on the units and byte time at the memories.
Tiles are dealt to units in whole rounds; work that was fitted into the last-level cache is read from there (the
measurements replay one input). Times in us inside this file; rows are columns of numbers [R] of one chip and data type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from dse.units import SECONDS_PER_US

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from dse.validation.silicon.chip import Chip

    FloatArray = NDArray[np.float64]
    Rows = Mapping[str, FloatArray]
    Constants = Mapping[str, float]

NAMES: Final = {
    "gemm": ("launch_us", "array_fraction", "dram_fraction", "tile_us", "quantise_us", "cache_ratio"),
    "bmm": ("launch_us", "array_fraction", "dram_fraction", "tile_us", "cache_ratio"),
    "mla_decode": ("launch_us", "combine_us", "array_fraction", "dram_fraction", "io_fraction", "item_us", "reread_share"),
    "gqa_decode": ("launch_us", "combine_us", "array_fraction", "dram_fraction", "cache_ratio", "item_us", "ops_per_element"),
    "prefill_naive": ("launch_us", "array_fraction", "dram_fraction", "exponential_fraction", "item_us", "cache_ratio"),
    "prefill_absorbed": ("launch_us", "array_fraction", "dram_fraction", "exponential_fraction", "item_us", "cache_ratio"),
    "prefill_gqa_64": ("launch_us", "array_fraction", "dram_fraction", "exponential_fraction", "item_us", "cache_ratio"),
    "prefill_gqa_128": ("launch_us", "array_fraction", "dram_fraction", "exponential_fraction", "item_us", "cache_ratio"),
    "moe": ("launch_us", "array_fraction", "dram_fraction", "tile_us", "activation_fraction", "cache_ratio"),
    "block_decode": ("launch_us", "scale"),
    "block_prefill": ("launch_us", "scale"),
}
"""Fitted constants by kernel family. Fractions are of data-sheet rates; `cache_ratio` is last-level cache rate over DRAM rate."""
BYTES: Final = {"bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "int8": 1.0, "fp8_block": 1.0, "nvfp4": 0.5625}
"""Bytes per element, block scales of nvfp4 (one byte per 16) included."""
NORM: Final = 3.0
"""Exponent that joins tile time and byte time: some overlap is lost where both are near."""
RESIDENT_FROM, RESIDENT_WIDTH = 0.58, 0.28
"""Share of the cache that data may take and stay, and the width over which it is lost; fitted to the BMM tables."""
GEMM_TILES: Final = ((64, 64, 0.7), (64, 128, 0.85), (128, 128, 1.0), (128, 256, 1.0), (64, 256, 1.0))
"""Rows, columns, share of the array rate: operand bandwidth limits small tiles."""
MOE_TILES: Final = ((16, 128, 0.5), (32, 128, 0.5), (64, 128, 0.8), (128, 128, 1.0))
COPIES: Final = 5
"""Weight copies that the GEMM benchmark rotates."""
KEYS: Final = 64
"""Keys of one step of a decode kernel, and query rows of its tile."""
SPLIT_KEYS: Final = 512
"""Keys below which decode kernels do not split a sequence."""
BLOCK: Final = 128
"""Query rows and keys of one step of a prefill kernel."""
EXPONENTIALS_PER_UNIT: Final = 16.0
"""Exponentials per unit and cycle (special-function units of a multiprocessor)."""
NARROW_HEADS, NARROW_TILE = 32, 16
"""Up to so many heads Blackwell's decode kernels take tiles of so many, each of which reads the cache again."""


def join(a: FloatArray, b: FloatArray) -> FloatArray:
    """3-norm of two times."""
    high = np.maximum(np.maximum(a, b), 1e-9)
    return np.asarray(high * (1 + (np.minimum(a, b) / high) ** NORM) ** (1 / NORM))


def missing(total_bytes: FloatArray, chip: Chip) -> FloatArray:
    """Share of replayed data that the last-level cache no longer holds."""
    return np.clip((total_bytes / chip.cache_bytes - RESIDENT_FROM) / RESIDENT_WIDTH, 0.0, 1.0)


def bytes_us(moved: FloatArray, miss: FloatArray, chip: Chip, dram_fraction: float, cache_ratio: float) -> FloatArray:
    """Time to move bytes of which `miss` come from DRAM, the rest from the cache."""
    rate = 1.0 / (miss / dram_fraction + (1 - miss) / max(cache_ratio, dram_fraction))
    return moved / (chip.dram_bytes_per_s * rate) / SECONDS_PER_US


def rounds(tiles: FloatArray, units: int) -> FloatArray:
    """Rounds in which equal tiles are dealt to units: ceil(tiles / units)."""
    return np.ceil(tiles / units)


def mac_us(elements: FloatArray | float, chip: Chip, dtype: str, fraction: float) -> FloatArray:
    """Time of one unit for multiply-accumulates at its share of the peak."""
    return np.asarray(2.0 * elements / (chip.peak(dtype) / chip.units * fraction) / SECONDS_PER_US)


def gemm(rows: Rows, chip: Chip, dtype: str, c: Constants) -> FloatArray:
    """y[m, n] = x[m, k] W[k, n]; narrow types quantise x first. Weights rotate through `COPIES` copies."""
    m, n, k, width = rows["m"], rows["n"], rows["k"], BYTES[dtype]
    tile_time = np.full(m.shape, np.inf)
    for tile_m, tile_n, share in GEMM_TILES:
        for split in (1, 2, 4, 8):
            turns = rounds(np.ceil(m / tile_m) * np.ceil(n / tile_n) * split, chip.units)
            one = mac_us(np.ceil(k / split / KEYS) * KEYS * tile_m * tile_n, chip, dtype, c["array_fraction"] * share) + c["tile_us"]
            tile_time = np.minimum(tile_time, turns * one + (split > 1) * c["tile_us"])
    weight, left, out = n * k * width, m * k * width, m * n * 2.0
    miss_weight = np.clip((COPIES * weight + left + out) / chip.cache_bytes - 0.5, 0, 1)
    miss_rest = np.clip((weight + left + out) / chip.cache_bytes - 0.5, 0, 1)
    rate = chip.dram_bytes_per_s * SECONDS_PER_US
    from_dram = (weight * miss_weight + (left + out) * miss_rest) / (rate * c["dram_fraction"])
    from_cache = (weight + left + out) / (rate * c["cache_ratio"])
    total = c["launch_us"] + join(tile_time, np.maximum(from_dram, from_cache))
    if width == 2.0:
        return total
    moved = m * k * (2.0 + width)
    reached = np.where(moved > 0.7 * chip.cache_bytes, c["dram_fraction"], c["cache_ratio"])
    return np.asarray(total + c["quantise_us"] + moved / (rate * reached))


def bmm(rows: Rows, chip: Chip, dtype: str, c: Constants) -> FloatArray:
    """`heads` products [tokens, k] x [k, n].

    What a tile costs beside its MACs grows with its area, and is hidden more and more behind its neighbours: as the square root of
    the rounds.
    """
    heads, m, k, n, width = rows["heads"], rows["m"], rows["k"], rows["n"], BYTES[dtype]
    tile_time = np.full(m.shape, np.inf)
    for tile_m, tile_n, share in GEMM_TILES[:3]:
        turns = rounds(heads * np.ceil(m / tile_m) * np.ceil(n / tile_n), chip.units)
        one = mac_us(k * tile_m * tile_n, chip, dtype, c["array_fraction"] * share)
        tile_time = np.minimum(tile_time, turns * one + c["tile_us"] * tile_m * tile_n / BLOCK**2 * np.sqrt(turns))
    moved = width * heads * (k * n + m * (k + n))
    miss = missing(moved, chip)
    rate = chip.dram_bytes_per_s * SECONDS_PER_US
    memory = np.maximum(moved * miss / (rate * c["dram_fraction"]), moved / (rate * c["cache_ratio"]))
    return c["launch_us"] + join(tile_time, memory)


def mla_decode(rows: Rows, chip: Chip, dtype: str, c: Constants) -> FloatArray:
    """Absorbed attention core of one query token: scores 576 wide, values 512, one KV head; sequences split over units."""
    heads, batch, keys, width = rows["heads"], rows["batch"], rows["kv_len"], rows["kv_bytes"]
    items, steps = batch * np.ceil(heads / KEYS), np.ceil(keys / KEYS)
    split = np.clip(chip.units / items, 1.0, np.ceil(keys / SPLIT_KEYS))
    step = mac_us(KEYS * KEYS * (576.0 + 512.0), chip, dtype, c["array_fraction"])
    tiles = items * steps / chip.units * step + c["item_us"] * items / chip.units
    narrow = np.where(heads <= NARROW_HEADS, np.ceil(heads / NARROW_TILE), 1.0)
    cache = batch * keys * 576.0 * width * (1 + c["reread_share"] * (narrow - 1))
    in_out = batch * heads * (576.0 + 512.0) * 2.0
    miss = missing(cache + in_out, chip)
    rate = chip.dram_bytes_per_s * SECONDS_PER_US
    memory = cache / (rate * c["dram_fraction"]) * (0.4 + 0.6 * miss)
    ends = in_out / (rate * c["io_fraction"]) * (0.5 + 0.5 * miss)
    return np.asarray(c["launch_us"] + c["combine_us"] * np.log2(split) + ends + join(tiles, memory))


def gqa_decode(rows: Rows, chip: Chip, dtype: str, c: Constants) -> FloatArray:
    """Decode attention; a head alone with its keys runs on the vector lanes instead of the arrays."""
    heads, groups, width, batch, keys = (rows[x] for x in ("heads", "kv_heads", "head_dim", "batch", "kv_len"))
    items, steps = batch * groups * np.ceil(heads / groups / KEYS), np.ceil(keys / KEYS)
    split = np.clip(chip.units / items, 1.0, np.ceil(keys / SPLIT_KEYS))
    step = mac_us(KEYS * KEYS * 2.0 * width, chip, dtype, c["array_fraction"])
    tiles = items * steps / chip.units * step + c["item_us"] * items / chip.units
    elements = batch * groups * keys * 2.0 * width
    lanes = (heads == groups) * elements * c["ops_per_element"] / (chip.lanes * chip.clock_hz * SECONDS_PER_US)
    moved = elements * rows["kv_bytes"] + batch * heads * 2.0 * width * 2.0
    memory = bytes_us(moved, missing(moved, chip), chip, c["dram_fraction"], c["cache_ratio"])
    return np.asarray(c["launch_us"] + c["combine_us"] * np.log2(split) + join(np.maximum(tiles, lanes), memory))


def prefill(rows: Rows, chip: Chip, dtype: str, c: Constants) -> FloatArray:
    """Causal attention without prefix: query rows of a KV head packed into tiles of `BLOCK`, exponentials after the products."""
    heads, groups, batch, length = (rows[x] for x in ("heads", "kv_heads", "batch", "q_len"))
    widths = rows["qk"] + rows["v"]
    blocks = np.ceil(length * heads / groups / BLOCK)
    positions = np.minimum(np.maximum(BLOCK * groups / heads, 1.0), length)
    whole = np.ceil(length / BLOCK)
    visited = np.where(blocks > 1, np.maximum((length + positions) / 2 / BLOCK + 0.5, 1.0), whole)
    exponentials = BLOCK * BLOCK / (EXPONENTIALS_PER_UNIT * chip.clock_hz * c["exponential_fraction"]) / SECONDS_PER_US
    step = mac_us(BLOCK * BLOCK * widths, chip, dtype, c["array_fraction"]) + exponentials
    even = batch * groups * blocks * (visited * step + c["item_us"]) / chip.units
    tiles = np.maximum(even, whole * step + c["item_us"])
    moved = batch * length * (heads + groups) * widths * 2.0
    return c["launch_us"] + join(tiles, bytes_us(moved, missing(moved, chip), chip, c["dram_fraction"], c["cache_ratio"]))


def moe(rows: Rows, chip: Chip, dtype: str, c: Constants) -> FloatArray:
    """Gate and up, then down, of the active experts: rows padded to tiles per expert, activations permuted through memory."""
    hidden, inner, active, routed = (rows[x] for x in ("hidden", "inter", "active", "routed"))
    width = BYTES[dtype]
    tile_time = np.full(hidden.shape, np.inf)
    for tile_m, tile_n, share in MOE_TILES:
        down_up = np.zeros(hidden.shape)
        for n, k in ((2 * inner, hidden), (hidden, inner)):
            turns = rounds(active * np.ceil(routed / active / tile_m) * np.ceil(n / tile_n), chip.units)
            down_up = down_up + turns * (mac_us(k * tile_m * tile_n, chip, dtype, c["array_fraction"] * share) + c["tile_us"])
        tile_time = np.minimum(tile_time, down_up)
    weights = active * 3 * inner * hidden * width
    moved = routed * (hidden * (2 * width + 2.0) + inner * (4.0 + width))
    read = bytes_us(weights, missing(weights, chip), chip, c["dram_fraction"], c["cache_ratio"])
    permuted = bytes_us(moved, missing(moved, chip), chip, c["dram_fraction"], c["cache_ratio"]) / c["activation_fraction"]
    return c["launch_us"] + join(tile_time, read) + permuted
