"""What an import makes of a memory hierarchy."""

from enum import StrEnum


class Levels(StrEnum):
    """How many memories the accelerator gets."""

    ONE = "one"
    """One buffer and DRAM: registers in the MAC's energy, each operand's last memory on chip in the buffer."""
    ALL = "all"
    """All of them, and the array by its own dimensions."""


class Buffering(StrEnum):
    """Room that a tile takes which is replaced while others are in work."""

    DOUBLE = "double"
    """Twice its bytes, in every buffer: transfers overlap with compute on a machine that exists."""
    SINGLE = "single"
    """Once its bytes, and transfers overlap all the same, as ZigZag counts room; where the source forces two copies, twice."""
