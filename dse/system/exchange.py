"""Expert dispatch and combine: how many bytes go where, and what the measured kernels need for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dse.errors import UsageError

if TYPE_CHECKING:
    from dse.system.system import Exchange, LinkLevel, System

GROUP_LIMIT: Final = 4
"""Most nodes that the experts of one token lie on: group-limited routing of DeepSeek-V3, arXiv 2412.19437 section 2.1.2."""


@dataclass(frozen=True, slots=True)
class RoutedMessages:
    """What one chip sends: `tokens`, each to `experts_per_token` experts, of `bytes_per_token`."""

    tokens: float
    experts_per_token: int
    bytes_per_token: float


def distinct(places: int, draws: int) -> float:
    """Expected number of distinct places that `draws` independent uniform draws hit: n (1 - (1 - 1/n)^k).

    Worked number: 8 places, 8 draws: 5.251.
    """
    return float(places * (1 - (1 - 1 / places) ** draws))


def low_latency_bytes(messages: RoutedMessages, ranks: int, nodes: int) -> float:
    """Bytes that a chip sends when every expert of a token gets its own message; with several nodes those that leave the node."""
    leaving = 1 - (ranks // nodes) / ranks if nodes > 1 else 1.0
    return messages.tokens * messages.experts_per_token * messages.bytes_per_token * leaving


def normal_copies(messages: RoutedMessages, ranks: int, nodes: int) -> tuple[float, float]:
    """(copies that reach chips, copies that leave the node) per token when a token goes once to each chip, by way of its node.

    Nodes of a token: at most `GROUP_LIMIT`; the own node takes its share 1/nodes. Derived here; agrees with the bytes
    that the measured tables count.
    """
    within = min(nodes, GROUP_LIMIT)
    across = distinct(within, messages.experts_per_token) * (nodes - 1) / nodes if nodes > 1 else 0.0
    return distinct(ranks, messages.experts_per_token), across


def exchange_s(system: System, messages: RoutedMessages, *, mode: str, phase: str, ranks: int, nodes: int, workers: int = 0) -> float:
    """Seconds of one dispatch or combine by the measured kernels.

        low_latency  fixed + per group (g - 1) + per message x tokens x k + bytes / (rate x fraction)
        normal       fixed + per group (g - 1) + max(bytes / (rate x fraction), copied bytes / (workers x worker rate))

    with the bytes of the outermost level that takes part (g groups of it); form and constants fitted to DeepEP, see the
    system files. Normal kernels copy every message to its chip, which costs workers its bytes and a fixed number more.

    Raises:
        UsageError: no such mode or phase, no measurements on this level, or normal mode without workers.
    """
    level, kernel = _kernel(system, mode, phase, nodes)
    rate = level.bytes_per_s * fraction(kernel, nodes)
    start = kernel.fixed_s + kernel.per_group_s * (nodes - 1)
    if mode == "low_latency":
        sent = low_latency_bytes(messages, ranks, nodes)
        return start + kernel.per_message_s * messages.tokens * messages.experts_per_token + sent / rate
    to_chips, across = normal_copies(messages, ranks, nodes)
    moving = messages.tokens * messages.bytes_per_token * (across if nodes > 1 else to_chips) / rate
    if kernel.worker_bytes_per_s is None:
        return start + moving
    if workers < 1:
        raise UsageError("the normal exchange needs workers (SMs) that copy: at least 1")
    copied = messages.tokens * to_chips * (messages.bytes_per_token + kernel.worker_bytes_per_message)
    return start + max(moving, copied / (workers * kernel.worker_bytes_per_s))


def fraction(kernel: Exchange, groups: int) -> float:
    """Share of the link's rate for `groups` groups: that of the nearest number of groups measured, the smaller one in a tie."""
    return min(kernel.link_fractions, key=lambda known: (abs(known[0] - groups), known[0]))[1]


def _kernel(system: System, mode: str, phase: str, nodes: int) -> tuple[LinkLevel, Exchange]:
    at = 0 if nodes == 1 else 1
    if at >= len(system.links):
        raise UsageError(f"{system.name} has one link level, so one node; given: {nodes} nodes")
    level = system.links[at]
    key = f"{mode}.{phase}"
    if key not in level.exchanges:
        known = ", ".join(level.exchanges) or "none"
        raise UsageError(f"{system.name}: level {level.name} has no measured exchange '{key}'; it has: {known}")
    return level, level.exchanges[key]
