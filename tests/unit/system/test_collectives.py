"""Collectives against closed forms and against a message-by-message count on small grids."""

from itertools import product

import pytest

from dse.errors import UsageError
from dse.plugins import load_system
from dse.system.collectives import Algorithm, collective_cost, contention, level_cost, steps, wire_bytes
from dse.system.system import LinkLevel, Operation, Topology


def link(topology: Topology = Topology.SWITCH, shape: tuple[int, ...] = (8,), **more: object) -> LinkLevel:
    members = 1
    for side in shape:
        members *= side
    return LinkLevel(
        name="link",
        chips=members,
        topology=topology,
        shape=shape,
        bytes_per_s=1e9,
        latency_s=1e-6,
        pj_per_byte=8.0,
        in_network_reduction=False,
        sustained_fraction=1.0,
        **more,  # type: ignore[arg-type]
    )


def test_ring_all_reduce_is_the_textbook_formula() -> None:
    # 2 (n-1) (alpha + S / n / B) = 14 (1 us + 1e6 / 8 / 1e9 s)
    cost = level_cost(link(), Operation.ALL_REDUCE, 1e6, 8, algorithm=Algorithm.RING)
    assert cost.seconds == pytest.approx(14 * (1e-6 + 1e6 / 8 / 1e9), rel=1e-12)


def test_tree_takes_few_steps_and_direct_one_each_way() -> None:
    assert steps(Operation.ALL_REDUCE, Algorithm.TREE, 8) == 6
    assert steps(Operation.ALL_GATHER, Algorithm.RING, 8) == 7
    assert steps(Operation.ALL_REDUCE, Algorithm.DIRECT, 8) == 2


def test_wire_bytes() -> None:
    assert wire_bytes(Operation.ALL_REDUCE, Algorithm.RING, 8.0, 4) == 12
    assert wire_bytes(Operation.ALL_GATHER, Algorithm.DIRECT, 8.0, 4) == 6
    assert wire_bytes(Operation.ALL_REDUCE, Algorithm.IN_NETWORK, 8.0, 4) == 10


def loads(sides: tuple[int, ...], *, wrap: bool) -> float:
    """Bytes on the busiest directed link when each node sends one byte to every node: dimension order, shortest way, ties half each."""
    busy: dict[tuple[tuple[int, ...], int, int], float] = {}
    nodes = list(product(*(range(s) for s in sides)))
    for start, end in product(nodes, nodes):
        ways = [(list(start), 1.0)]
        for d, side in enumerate(sides):
            new = []
            for at, part in ways:
                right = (end[d] - at[d]) % side if wrap else end[d] - at[d]
                options = [(1, right)] if 2 * abs(right) < side or not wrap else [(-1, side - right)]
                if wrap and 2 * right == side:
                    options = [(1, right), (-1, right)]
                if not wrap:
                    options = [(1 if right >= 0 else -1, abs(right))]
                for sign, hops in options:
                    here = list(at)
                    for _ in range(hops):
                        key = (tuple(here), d, sign)
                        busy[key] = busy.get(key, 0.0) + part / len(options)
                        here[d] = (here[d] + sign) % side if wrap else here[d] + sign
                    here[d] = end[d]
                    new.append((here, part / len(options)))
            ways = new
    return max(busy.values())


@pytest.mark.parametrize(
    ("sides", "wrap"), [((4,), True), ((5,), True), ((6,), False), ((4, 4), True), ((4, 4), False), ((3, 5), True), ((5, 2), False)]
)
def test_contention_of_an_all_to_all_is_that_of_the_busiest_link(sides: tuple[int, ...], wrap: bool) -> None:
    level = link(Topology.TORUS if wrap else Topology.MESH, sides)
    n = level.members
    port = 1 / (2 * len(sides))  # of the rate of a chip
    expected = loads(sides, wrap=wrap) / port / (n - 1)  # against n - 1 bytes at the full rate
    assert contention(level, Operation.ALL_TO_ALL, Algorithm.DIRECT, n) == pytest.approx(max(1.0, expected), rel=1e-9)


def test_hierarchical_all_reduce_adds_its_three_phases() -> None:
    system = load_system("b200_8x32").system
    inner, outer = system.links
    found = collective_cost(system, Operation.ALL_REDUCE, 64e6, 256).seconds
    parts = (
        level_cost(inner, Operation.REDUCE_SCATTER, 64e6, 32).seconds,
        level_cost(outer, Operation.ALL_REDUCE, 2e6, 8).seconds,
        level_cost(inner, Operation.ALL_GATHER, 64e6, 32).seconds,
    )
    assert found == pytest.approx(sum(parts), rel=1e-12)


def test_ranks_that_fill_no_domain_are_refused() -> None:
    with pytest.raises(UsageError, match="whole number"):
        collective_cost(load_system("b200_8x32").system, Operation.ALL_REDUCE, 1e6, 48)
    with pytest.raises(UsageError, match="has 32"):
        collective_cost(load_system("b200_x32").system, Operation.ALL_REDUCE, 1e6, 64)


@pytest.mark.parametrize("operation", list(Operation))
def test_more_bytes_never_take_less_time(operation: Operation) -> None:
    for name in ("h100_node", "h100_cluster", "tpu7x_pod64", "b200_8x32"):
        system = load_system(name).system
        times = [collective_cost(system, operation, 4.0**e, 8).seconds for e in range(4, 16)]
        assert times == sorted(times), name
