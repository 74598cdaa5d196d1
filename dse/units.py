"""Unit conversions, the only place where powers of 1000 and 1024 are written."""

from __future__ import annotations

from typing import Final

BYTES_PER_KIB: Final = 1024
BYTES_PER_MIB: Final = 1024**2
BYTES_PER_GIB: Final = 1024**3
BYTES_PER_GB: Final = 10**9
HZ_PER_MHZ: Final = 10**6
BITS_PER_BYTE: Final = 8
JOULES_PER_PJ: Final = 1e-12
SECONDS_PER_MS: Final = 1e-3
SECONDS_PER_US: Final = 1e-6
SECONDS_PER_NS: Final = 1e-9
FLOPS_PER_MAC: Final = 2
FLOPS_PER_TFLOP: Final = 10**12
MM2_PER_UM2: Final = 1e-6
