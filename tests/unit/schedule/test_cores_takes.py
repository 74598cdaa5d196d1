"""What of all that tasks hold decides when they start, worked by hand."""

from __future__ import annotations

from dse.schedule.cores.takes import Block, Take, needed


def test_what_is_held_alike_counts_once() -> None:
    # Channels 0 and 1 in one block of every take; core 2 alone.
    takes = [Take((Block(0, 0, (0, 1)),), 1), Take((Block(2, 0, (1, 0)),), 3, until_done=(2,))]
    found, resources, ports = needed(takes)
    assert (resources, ports) == (2, 0)
    assert [b.resources for t in found for b in t.blocks] == [(0,), (0,)]
    assert found[1].until_done == (1,)


def test_what_is_never_held_longer_than_another_is_left_out() -> None:
    # Channel 0 carries half of what channel 1 of the same rate carries, wherever it is used; channel 2 is used with 1, but has another rate.
    takes = [Take((Block(0, 5, (0,)), Block(1, 5, (1,)), Block(2, 6, (2,))), 3), Take((Block(4, 5, (1,)),), 5)]
    found, resources, _ = needed(takes)
    assert resources == 2
    assert [b.row for b in found[0].blocks] == [1, 2]


def test_the_longer_block_of_another_take_counts() -> None:
    # Each of two channels is once the longer: both are needed.
    takes = [Take((Block(0, 5, (0,)), Block(1, 5, (1,))), 2), Take((Block(0, 5, (1,)), Block(1, 5, (0,))), 2)]
    assert needed(takes)[1] == 2


def test_what_is_held_until_the_task_is_done_covers_its_channels() -> None:
    takes = [Take((Block(0, 5, (0,)),), 1, ((9, 2, True),), (1,)), Take((), 3, until_done=(1,))]
    found, resources, ports = needed(takes)
    assert (resources, ports) == (1, 1)
    assert found[0] == Take((), 1, ((0, 2, True),), (0,))


def test_ports_that_nobody_waits_for_are_left_out() -> None:
    takes = [Take((), 0, ((7, 1, False), (8, 1, True))), Take((), 0, ((9, 1, True), (8, 1, True)))]
    found, _, ports = needed(takes)
    assert ports == 2
    assert [len(t.ports) for t in found] == [1, 2]
