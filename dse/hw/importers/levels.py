"""How much of a memory hierarchy an import writes."""

from enum import StrEnum


class Levels(StrEnum):
    """How many memories the accelerator gets; `one` is what every command finds mappings for."""

    ONE = "one"
    """One buffer and DRAM: registers in the MAC's energy, each operand's last memory on chip in the buffer."""
    ALL = "all"
    """All of them, and the array by its own dimensions."""
