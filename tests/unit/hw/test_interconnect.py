"""Routes and multicast trees over links, meshes and buses."""

from __future__ import annotations

import pytest

from dse.hw.interconnect import Channel, Interconnect, transfer_pj, transfer_s


def link(a: str, b: str, rate: float = 1e9) -> tuple[Channel, Channel]:
    return Channel(f"{a}>{b}", (a,), (b,), rate, 2.0, 1e-9), Channel(f"{b}>{a}", (b,), (a,), rate, 2.0, 1e-9)


def mesh(rows: int, columns: int) -> Interconnect:
    nodes = tuple(f"{r},{c}" for r in range(rows) for c in range(columns))
    pairs = [(f"{r},{c}", f"{r},{c + 1}") for r in range(rows) for c in range(columns - 1)]
    pairs += [(f"{r},{c}", f"{r + 1},{c}") for r in range(rows - 1) for c in range(columns)]
    return Interconnect(nodes, tuple(ch for a, b in pairs for ch in link(a, b)))


def test_a_mesh_routes_along_a_shortest_path() -> None:
    net = mesh(3, 4)
    for r in range(3):
        for c in range(4):
            assert len(net.route("0,0", f"{r},{c}")) == r + c


def test_a_multicast_crosses_each_channel_once() -> None:
    net = mesh(1, 4)
    tree = net.tree("0,0", ("0,1", "0,2", "0,3"))
    assert [c.name for c in tree] == ["0,0>0,1", "0,1>0,2", "0,2>0,3"]


def test_a_link_of_ones_own_is_preferred_to_a_bus_of_the_same_rate() -> None:
    nodes = ("a", "b", "c")
    net = Interconnect(nodes, (Channel("bus", nodes, nodes, 1e9, 1.0, 0.0), *link("a", "b")))
    assert [c.name for c in net.route("a", "b")] == ["a>b"]
    assert [c.name for c in net.route("a", "c")] == ["bus"]


def test_islands_are_not_connected() -> None:
    net = Interconnect(("a", "b", "c"), link("a", "b"))
    assert net.connected("a", "b")
    assert not net.connected("a", "c")


def test_a_transfer_goes_at_the_slowest_rate_and_pays_every_hop() -> None:
    route = (link("a", "b", 4e9)[0], link("b", "c", 1e9)[0])
    assert transfer_s(route, 1000.0) == pytest.approx(1000.0 / 1e9 + 2e-9)
    assert transfer_pj(route, 1000.0) == 4000.0
    assert transfer_s((), 1000.0) == 0.0
