"""Collectives and expert exchange against single measured points (aiconfigurator-core 0.12.0, calibration half)."""

import pytest

from dse.errors import UsageError
from dse.plugins import load_system
from dse.system.measured import predict_all_to_all_s, predict_collective_s

# (system, operation, implementation, ranks, bytes, measured us): rows of the published tables
COLLECTIVES = [
    ("h100_node", "all_reduce", "nccl", 8, 8192, 15.96),
    ("h100_node", "all_reduce", "nccl", 8, 536870912, 2111.06),
    ("h100_node", "all_reduce", "custom", 4, 1048576, 11.1341),
    ("h100_node", "all_gather", "nccl", 8, 33554432, 125.46),
    ("h100_node", "reduce_scatter", "nccl", 2, 8388608, 32.41),
    ("b200_node", "all_reduce", "nccl", 4, 67108864, 181.81),
    ("b200_node", "alltoall", "nccl", 8, 536870912, 834.17),
]
# (system, phase, mode, nodes, ranks, tokens, hidden, experts per token, SMs, measured us)
EXCHANGES = [
    ("h100_node", "combine", "low_latency", 1, 8, 128, 7168, 8, 0, 67.16),
    ("h100_cluster", "dispatch", "low_latency", 4, 32, 256, 7168, 8, 0, 264.47),
    ("h100_cluster", "combine", "low_latency", 8, 64, 48, 7168, 8, 0, 128.67),
    ("h100_cluster", "dispatch", "normal", 2, 16, 65536, 7168, 8, 24, 11244.93),
    ("h100_cluster", "combine", "normal", 8, 64, 4096, 7168, 8, 12, 12188.0),
]


@pytest.mark.parametrize(("system", "op", "impl", "ranks", "size", "us"), COLLECTIVES)
def test_collectives(system: str, op: str, impl: str, ranks: int, size: int, us: float) -> None:
    ours = predict_collective_s(load_system(system).system, op, size_bytes=size, ranks=ranks, implementation=impl)
    assert ours * 1e6 == pytest.approx(us, rel=0.25)


@pytest.mark.parametrize(("system", "phase", "mode", "nodes", "ranks", "tokens", "hidden", "k", "sms", "us"), EXCHANGES)
def test_exchanges(
    system: str, phase: str, mode: str, nodes: int, ranks: int, tokens: int, hidden: int, k: int, sms: int, us: float
) -> None:
    ours = predict_all_to_all_s(
        load_system(system).system,
        phase=phase,
        mode=mode,
        nodes=nodes,
        ranks=ranks,
        tokens_per_rank=tokens,
        hidden=hidden,
        top_k=k,
        experts=256,
        sms=sms,
    )
    assert ours * 1e6 == pytest.approx(us, rel=0.25)


def test_what_is_not_measured_is_said() -> None:
    with pytest.raises(UsageError, match="no measured exchange"):
        predict_all_to_all_s(
            load_system("b200_x32").system,
            phase="dispatch",
            mode="normal",
            ranks=32,
            nodes=1,
            tokens_per_rank=1,
            hidden=1,
            top_k=1,
            experts=8,
        )
    with pytest.raises(UsageError, match="Did you mean 'all_gather'"):
        predict_collective_s(load_system("h100_node").system, "allgather", size_bytes=1, ranks=2)
