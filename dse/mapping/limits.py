"""Largest products that are mapped."""

from __future__ import annotations

from typing import Final

LARGEST_SIZE: Final = 2**31 - 1
LARGEST_FACE: Final = 2**41
"""Largest product of two sizes: about 6 million pairs of tile sides are tried."""
LARGEST_PRODUCT: Final = 2**60
"""Largest number of MACs: at most five times as many elements are moved, which stays within 64 bits."""
LARGEST_BITS: Final = 64
