"""Design-space exploration in one file: find the frontier of mappings once, price many accelerators with it.

Question: which accelerators of one family are worth building for one matrix product? `python docs/tiny_dse.py` answers.
"""

from __future__ import annotations

import numpy as np

TOKENS, Q_RANK, Q_WIDTH = 128, 1536, 24576  # DeepSeek-V3, query up-projection, 128 heads of 128 + 64: arXiv 2412.19437, section 4.2
ELEMENT_BYTES = 2  # bf16 everywhere; partial sums too, for brevity
MAC_PJ = 0.21 + 0.38  # bf16 multiply and fp32 add, 7 nm: Jouppi et al., "Ten Lessons", ISCA 2021, table 2
DRAM_PJ_PER_BYTE = 350 / 8  # HBM2, 250 to 450 pJ per 64 bits: same table
BUFFER_PJ_PER_BYTE_AT_1_MIB = 14 / 8  # SRAM, 14 pJ per 64 bits at 1 MiB: same table
BUFFER_ENERGY_EXPONENT = 0.144  # log(14 / 8.5) / log(32): 8.5 pJ at 32 KiB against 14 pJ at 1 MiB: same table
NOMINAL_CLOCK_MHZ = 1000  # assumption: voltage is (1 + clock / nominal) / 2 of the nominal one, on-chip energy its square
COLUMNS = ("array_side", "capacity_kib", "dram_gb_per_s", "clock_mhz", "tokens_per_s", "joules_per_token")
TIE_TOLERANCE = 5e-4  # latencies within this share count as equal; the least energy decides


def tile_sides(size: int, array_side: int) -> np.ndarray:
    """Tile sides worth trying: those that no smaller side beats, which makes as few tiles and as few array blocks.

    The larger a side the more buffer it needs; tiles mean DRAM traffic, blocks mean cycles and buffer accesses.
    """
    sides = np.arange(min(array_side, size), size + 1)
    tiles = -(-size // sides)  # ceil(size / side), falls as the side grows: only sides with equal tiles can beat each other
    rank = tiles * (size + 1) + blocks(size, sides, array_side)
    least_before = np.minimum.accumulate(np.concatenate(([rank[0] + 1], rank[:-1])))
    return sides[rank < least_before]


def blocks(size: int, side: np.ndarray, array_side: int) -> np.ndarray:
    """Array blocks along a dimension cut into tiles of `side`: every whole tile and the last one round up."""
    tiles = -(-size // side)
    last = size - (tiles - 1) * side
    return (tiles - 1) * -(-side // array_side) + -(-last // array_side)


def mappings(m: int, k: int, n: int, array_side: int) -> np.ndarray:
    """Counts [R, 4] of C[m, n] = A[m, k] B[k, n]: buffer elements needed, DRAM elements, buffer elements moved, array cycles.

    One operand's tile, sides a and b, stays in the buffer while the third dimension streams by in chunks of one array
    block, side R. Needed: the tile, a strip of one other operand, one block of the last: a b + R min(a, b) + R^2. DRAM:
    an operand is read again for every tile of the dimension it lacks; unfinished sums go out and come back. With R = 1
    this is the two-level machine of Huang et al., ISCA 2024 (Orojenesis). The array multiplies two R x R blocks in R
    cycles, the next weights loading meanwhile; one fill and drain of 3 R - 2. Every block crosses between buffer and array.
    """
    found = []
    for streamed, (first, second) in {"k": ((m, "m"), (n, "n")), "m": ((k, "k"), (n, "n")), "n": ((m, "m"), (k, "k"))}.items():
        a, b = (x.ravel() for x in np.meshgrid(*(tile_sides(size, array_side) for size, _ in (first, second)), indexing="ij"))
        side = {first[1]: a, second[1]: b}
        size = {"m": m, "k": k, "n": n}
        chunk = min(array_side, size[streamed])
        piece = [min(array_side, size[d]) for d in (first[1], second[1])]
        need = a * b + chunk * np.minimum(a + piece[1], b + piece[0])
        visits = {d: -(-size[d] // side[d]) if d in side else np.ones_like(a) for d in size}  # times a non-resident operand returns
        dram = m * k * visits["n"] + k * n * visits["m"] + m * n * (2 * visits["k"] - 1)
        passes = {d: blocks(size[d], side.get(d, np.full_like(a, size[d])), array_side) for d in size}
        moved = m * k * passes["n"] + k * n * passes["m"] + m * n * (2 * passes["k"] - 1)
        cycles = passes["m"] * passes["k"] * passes["n"] * array_side + 3 * array_side - 2
        found.append(np.stack((need, dram, moved, cycles), axis=1))
    return np.concatenate(found)


def not_dominated(rows: np.ndarray) -> np.ndarray:
    """The rows [R, C] than which no other is at most as large in every column; equal rows once.

    Latency, energy and feasibility all grow with each count, so no price can prefer a row that is left out.
    """
    rest = np.unique(rows, axis=0)  # sorted: a row can be dominated only by an earlier one
    kept = []
    while len(rest):
        kept.append(rest[0])
        rest = rest[(rest < rest[0]).any(axis=1)]
    return np.array(kept)


def price(
    counts: np.ndarray, macs: int, *, capacity_kib: float, dram_gb_per_s: np.ndarray, clock_mhz: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Latency in s and energy in J [D] of the best mapping of `counts` [R, 4], for one capacity and D rates and clocks.

    latency = max(cycles / clock, DRAM bytes / bandwidth): transfers overlap, so tiles that are replaced are held twice.
    energy = DRAM bytes x pJ + voltage^2 x (MACs x pJ + buffer bytes x pJ). Left out: leakage, DRAM latency, area.
    Infinite where no mapping fits.
    """
    fitting = counts[2 * counts[:, 0] * ELEMENT_BYTES <= capacity_kib * 1024, 1:]
    if len(fitting) == 0:
        return np.full_like(clock_mhz, np.inf), np.full_like(clock_mhz, np.inf)
    dram, moved, cycles = (column[:, None] for column in not_dominated(fitting).astype(float).T)  # [R, 1] each; need no longer matters
    latency_s = np.maximum(cycles / (clock_mhz * 1e6), dram * ELEMENT_BYTES / (dram_gb_per_s * 1e9))  # [R, D]
    voltage = (1 + clock_mhz / NOMINAL_CLOCK_MHZ) / 2
    buffer_pj_per_byte = BUFFER_PJ_PER_BYTE_AT_1_MIB * (capacity_kib / 1024) ** BUFFER_ENERGY_EXPONENT
    on_chip_pj = macs * MAC_PJ + moved * ELEMENT_BYTES * buffer_pj_per_byte
    energy_j = 1e-12 * (dram * ELEMENT_BYTES * DRAM_PJ_PER_BYTE + voltage**2 * on_chip_pj)  # [R, D]
    ties = latency_s <= latency_s.min(axis=0) * (1 + TIE_TOLERANCE)
    best = np.where(ties, energy_j, np.inf).argmin(axis=0)  # [D]
    points = np.arange(len(best))
    return latency_s[best, points], energy_j[best, points]


def sweep(m: int = TOKENS, k: int = Q_RANK, n: int = Q_WIDTH) -> dict[str, np.ndarray]:
    """100,000 accelerators as columns [D]: what they are made of, tokens per s, J per token.

    The array side selects a frontier; capacity, bandwidth and clock only price it.
    """
    dram_gb_per_s, clock_mhz = (x.ravel() for x in np.meshgrid(np.geomspace(50, 4000, 50), np.linspace(200, 2000, 20), indexing="ij"))
    found = []
    for array_side in (32, 64, 128, 256):
        frontier = not_dominated(mappings(m, k, n, array_side))
        for capacity_kib in np.geomspace(64, 65536, 25):
            latency_s, energy_j = price(frontier, m * k * n, capacity_kib=capacity_kib, dram_gb_per_s=dram_gb_per_s, clock_mhz=clock_mhz)
            rates = (np.full_like(clock_mhz, array_side), np.full_like(clock_mhz, capacity_kib), dram_gb_per_s, clock_mhz)
            found.append((*rates, m / latency_s, energy_j / m))
    return dict(zip(COLUMNS, (np.concatenate(column) for column in zip(*found, strict=True)), strict=True))


def pareto_front(designs: dict[str, np.ndarray]) -> np.ndarray:
    """Indices of the designs that no other beats on throughput and energy per token, fastest first."""
    order = np.lexsort((designs["joules_per_token"], -designs["tokens_per_s"]))
    energy = designs["joules_per_token"][order]
    least_before = np.minimum.accumulate(np.concatenate(([np.inf], energy[:-1])))
    return order[energy < least_before]


def main() -> None:
    """Print eight designs of the front."""
    designs = sweep()
    front = pareto_front(designs)
    print(f"{len(designs['array_side']):,} designs priced, {len(front)} on the front, from the fastest to the most frugal:")
    print("array side  buffer KiB  DRAM GB/s  clock MHz   tokens/s  uJ/token")
    for i in front[np.linspace(0, len(front) - 1, 8).astype(int)]:
        design = [designs[name][i] for name in COLUMNS]
        print("{:10.0f}  {:10.0f}  {:9.0f}  {:9.0f}  {:9.0f}".format(*design[:5]), f"{design[5] * 1e6:9.2f}")


if __name__ == "__main__":
    main()
