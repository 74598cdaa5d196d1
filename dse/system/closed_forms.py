"""Closed forms of a serving system with latent attention and experts, as published: ridge, ideal batches, capacity, least step time.

Source of all: Yun et al., arXiv 2507.15465v3, equations 10 to 13 and table I.
"""

from __future__ import annotations


def ridge_flops_per_byte(flops_per_s: float, bytes_per_s: float) -> float:
    """RP = peak arithmetic over peak memory bandwidth. B200 bf16: 2250e12 / 8e12 = 281.25."""
    return flops_per_s / bytes_per_s


def attention_batch(ridge: float, data_parallel: int) -> float:
    """Equation 10: batch of the system at which attention projections reach the ridge (bf16): RP x deg_DP."""
    return ridge * data_parallel


def expert_batch(ridge: float, experts: int, experts_per_token: int) -> float:
    """Equation 10: batch of the system at which experts reach the ridge (bf16): RP x n_e / n_k; no degree enters."""
    return ridge * experts / experts_per_token


def capacity_batch(
    *,
    memory_bytes: float,
    chips: int,
    attention_bytes: float,
    data_parallel: int,
    other_bytes: float,
    cache_bytes_per_token: float,
    cache_len: int,
    activation_bytes: float = 0.0,
) -> float:
    """Equation 11: the batch whose caches fill what the weights leave; sums over all layers.

    (M_cap n_acc - (M_attn deg_DP + M_MoE)) / (M_KV L + M_act), with M_KV per token and sequence over all layers.
    """
    free = memory_bytes * chips - (attention_bytes * data_parallel + other_bytes)
    return free / (cache_bytes_per_token * cache_len + activation_bytes)


def least_step_s(
    *, weight_bytes: float, chips: int, bytes_per_s: float, batch: float, bytes_per_sequence: float, communication_s: float
) -> float:
    """TPOT with equation 12: weights and caches read once at full rate, plus communication."""
    return (weight_bytes + batch * bytes_per_sequence) / (chips * bytes_per_s) + communication_s


def expert_exchange_s(
    *, gamma: float, token_bytes: float, experts_per_token: int, batch: float, chips: int, bytes_per_s: float, latency_s: float
) -> float:
    """One direction of equation 13 with messages to the own chip left out: Gamma M n_k B/n (n-1)/n / BW + alpha.

    Worked number: 128 tokens of 14,336 bytes per chip, 32 chips, 100 GB/s, 0.13 us, Gamma 1.066: 151.8 us.
    """
    sent = token_bytes * experts_per_token * batch / chips * (chips - 1) / chips
    return gamma * sent / bytes_per_s + latency_s
