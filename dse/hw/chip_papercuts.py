"""Values of a chip of many cores that are allowed and probably a slip: what the papercuts of its cores cannot see."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.hw.many_core_form import LinkForm
from dse.hw.papercuts import LARGEST_BUFFER_KIB, huge_buffer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dse.files import Document
    from dse.hw.many_core_form import ChipFile


def chip_papercuts(form: ChipFile, document: Document) -> tuple[str, ...]:
    """One line per doubt about shared buffers and connections, `file:line: what and why`."""
    doubts = (*_idle_links(form), *_large_buffers(form))
    return tuple(f"{document.where(path)}: {text}" for path, text in doubts)


def _idle_links(form: ChipFile) -> Iterator[tuple[tuple[str, ...], str]]:
    """Links between two that another link joins: a route takes one of them, so the other carries nothing."""
    fastest: dict[frozenset[str], str] = {}
    links = {name: link for name, link in form.links.items() if isinstance(link, LinkForm)}
    for name, link in sorted(links.items(), key=lambda item: -item[1].bandwidth_gb_per_s):
        taken = fastest.setdefault(frozenset(link.between), name)
        if taken != name:
            ends = " and ".join(f"'{end}'" for end in link.between)
            yield (
                ("links", name),
                f"nothing goes over '{name}': '{taken}' joins {ends} too and is not slower; give one link with the bandwidth of both",
            )


def _large_buffers(form: ChipFile) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, memory in form.shared:
        if memory.capacity_kib >= LARGEST_BUFFER_KIB:
            yield ("memories", name, "capacity_kib"), huge_buffer(memory)
