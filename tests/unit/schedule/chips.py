"""Small chips of many cores whose plans can be counted by hand."""

from __future__ import annotations

from accelerators.catalogue import TECHNOLOGIES
from dse.files import parse_yaml
from dse.hw.many_core_read import ChipDescription, describe_chip


def small_chip(
    cores: int = 2, *, capacity_kib: float = 64, dram_gb_per_s: float = 16, bus_gb_per_s: float = 32, vector: bool = False, extra: str = ""
) -> ChipDescription:
    """`cores` cores with an array of 8 x 8 and a vector unit of 8 lanes at 1 GHz on one bus; with `vector`, a vector core beside them.

    `extra` lines are added under memories.
    """
    buffer = f"{{kind: buffer, capacity_kib: {capacity_kib}, read_gb_per_s: 64, write_gb_per_s: 64, double_buffered: true}}"
    beside = f"  vec:\n    vector: {{lanes: 8}}\n    memories:\n      own: {buffer}\n" if vector else ""
    lanes = "" if vector else "    vector: {lanes: 8}\n"
    array = "{rows: 8, columns: 8, count: 1, dataflows: [weight_stationary], folds: pipelined, macs_per_pe_per_cycle: {fp16: 1, bf16: 1}}"
    text = f"""schema_version: 1
name: small
summary: cores on a bus
technology: generic_7nm
clock_mhz: 1000
cores:
  mac:
    count: {cores}
    array: {array}
{lanes}    memories:
      sram: {buffer}
{beside}memories:
{extra}  dram: {{kind: dram, capacity_gib: 1, bandwidth_gb_per_s: {dram_gb_per_s}, latency_ns: 0}}
links:
  bus: {{kind: bus, members: [mac, dram{", vec" if vector else ""}{", l2" if extra else ""}], bandwidth_gb_per_s: {bus_gb_per_s}, energy_pj_per_byte: 1}}
"""
    return describe_chip(parse_yaml(text, "small.yaml"), TECHNOLOGIES)


SHARED = "  l2: {kind: buffer, capacity_kib: 256, read_gb_per_s: 32, write_gb_per_s: 32, double_buffered: true}\n"
"""A buffer beside the cores."""
