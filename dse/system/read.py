"""From a system file to its internal form: validated, with its chip from a catalogue and settings laid over it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dse.errors import InputError, UsageError
from dse.files import load_yaml, validate
from dse.plugins import load_hardware
from dse.system.file_form import SystemFile
from dse.system.kernels import Region
from dse.system.system import Exchange, LinkLevel, NearMemory, System
from dse.system.system import Protocol as MeasuredProtocol
from dse.units import BITS_PER_BYTE, BYTES_PER_GB, BYTES_PER_GIB, FLOPS_PER_MAC, FLOPS_PER_TFLOP, SECONDS_PER_NS, SECONDS_PER_US

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.files import Document
    from dse.system.chip_time import Hardware
    from dse.system.file_form import ExchangeForm, LinkForm, NearMemoryForm, ProtocolForm

_SLOWEST_SENSIBLE_GB_PER_S: Final = 0.1  # below 1 Gb/s: slower than any network of a computing centre
_FASTEST_SENSIBLE_GB_PER_S: Final = 100_000  # beyond any announced chip by an order of magnitude


@dataclass(frozen=True)
class SystemDescription:
    """One system file, checked, with its chip."""

    document: Document
    file: SystemFile
    chip: Hardware

    @property
    def name(self) -> str:
        """Name as the file gives it."""
        return self.file.name

    @property
    def summary(self) -> str:
        """One line for `dse list`."""
        return self.file.summary

    def with_overrides(self, overrides: Mapping[str, Any], *, origin: str = "setting") -> SystemDescription:
        """This system with `{'links.nvlink.bandwidth_gb_per_s': 300}` laid over it; values are what YAML can hold (hence Any).

        Paths that start with `chips.settings.` set fields of the accelerator or chip.

        Raises:
            UsageError: unknown path or a value that is not allowed, with what is.
        """
        plain: dict[str, Any] = {}
        chip = dict(self.file.chips.settings)
        for path, value in overrides.items():
            if path.startswith(_CHIP_SETTINGS):
                chip[path.removeprefix(_CHIP_SETTINGS)] = value
            else:
                plain[path] = value
        try:
            document = self.document.with_settings(plain, origin=origin, add_parents=False)
            file = validate(document, SystemFile)
        except InputError as error:
            raise UsageError(str(error)) from error
        base = self.chip if chip == self.file.chips.settings else load_hardware(_located(file.chips.accelerator, document))
        if file.chips.accelerator != self.file.chips.accelerator:
            base = load_hardware(_located(file.chips.accelerator, document))
        laid = base.with_overrides(chip, origin=f"{origin} {_CHIP_SETTINGS}") if chip else base
        return SystemDescription(document, file, laid)

    @cached_property
    def system(self) -> System:
        """The internal form."""
        chips = self.file.chips
        own_bytes = float(self.chip.table().dram_capacity_bytes[0])
        memory = own_bytes if chips.memory_gib is None else chips.memory_gib * BYTES_PER_GIB
        return System(
            name=self.file.name,
            summary=self.file.summary,
            chips=chips.count,
            chip=self.chip,
            memory_bytes=memory * chips.usable_memory_fraction,
            links=_levels(self.file.links),
            power_w=chips.power_w,
            price=chips.price,
            warnings=self.warnings(),
            near_memory=_near_memory(chips.near_memory),
        )

    def warnings(self) -> tuple[str, ...]:
        """Values that look like slips, one line each with file and line."""
        found = []
        inner = float("inf")
        for name, link in self.file.links.items():
            where = self.document.where(("links", name, "bandwidth_gb_per_s"))
            rate = link.bandwidth_gb_per_s
            if not _SLOWEST_SENSIBLE_GB_PER_S <= rate <= _FASTEST_SENSIBLE_GB_PER_S:
                found.append(f"{where}: {rate:g} GB/s per chip and direction; is the unit right?")
            if rate > inner:
                found.append(f"{where}: {name} is faster ({rate:g} GB/s) than the level inside it ({inner:g} GB/s)")
            inner = rate
        return tuple(found)


_CHIP_SETTINGS: Final = "chips.settings."


def read_system_file(path: str | Path) -> SystemDescription:
    """The system in a YAML file, its chip looked up in the accelerator catalogues or beside the file.

    Raises:
        InputError: missing, broken or wrong file, all problems with their lines.
    """
    document = load_yaml(path)
    form = validate(document, SystemFile)
    where = document.where(("chips", "accelerator"))
    try:
        chip = load_hardware(_located(form.chips.accelerator, document))
        if form.chips.settings:
            where = document.where(("chips", "settings"))
            chip = chip.with_overrides(form.chips.settings, origin="chips.settings")
    except UsageError as error:
        raise InputError.single(where, str(error)) from error
    return SystemDescription(document, form, chip)


def _located(name: str, document: Document) -> str:
    """A path beside the system file, or a catalogue name as it is."""
    return str(Path(document.path).parent / name) if name.endswith((".yaml", ".yml")) else name


def _levels(links: Mapping[str, LinkForm]) -> tuple[LinkLevel, ...]:
    found = []
    inner = 1
    for name, link in links.items():
        found.append(
            LinkLevel(
                name=name,
                chips=link.chips,
                topology=link.topology,
                shape=link.shape or (link.chips // inner,),
                bytes_per_s=link.bandwidth_gb_per_s * BYTES_PER_GB,
                latency_s=link.latency_us * SECONDS_PER_US,
                pj_per_byte=link.energy_pj_per_bit * BITS_PER_BYTE,
                in_network_reduction=link.in_network_reduction,
                sustained_fraction=link.sustained_fraction,
                leaf_members=link.leaf or 1,
                oversubscription=link.oversubscription,
                protocols={
                    f"{library}.{operation}": tuple(_protocol(p) for p in given)
                    for library, operations in link.collectives.items()
                    for operation, given in operations.items()
                },
                exchanges={f"{mode}.{phase}": _exchange(form) for mode, phases in link.exchange.items() for phase, form in phases.items()},
            )
        )
        inner = link.chips
    return tuple(found)


def _near_memory(form: NearMemoryForm | None) -> NearMemory | None:
    if form is None:
        return None
    pj_per_bit = form.dram_energy_pj_per_bit
    return NearMemory(
        regions=frozenset(Region(name) for name in form.runs),
        macs_per_s=form.tflops * FLOPS_PER_TFLOP / FLOPS_PER_MAC,
        bytes_per_s=form.bandwidth_gb_per_s * BYTES_PER_GB,
        dram_pj_per_byte=None if pj_per_bit is None else pj_per_bit * BITS_PER_BYTE,
    )


def _protocol(form: ProtocolForm) -> MeasuredProtocol:
    return MeasuredProtocol(
        fixed_s=form.fixed_us * SECONDS_PER_US,
        per_rank_s=form.per_rank_us * SECONDS_PER_US,
        link_fraction=form.link_fraction,
        staging_fraction=form.staging_fraction,
        in_network=form.in_network,
    )


def _exchange(form: ExchangeForm) -> Exchange:
    return Exchange(
        fixed_s=form.fixed_us * SECONDS_PER_US,
        link_fractions=tuple(sorted((int(groups), share) for groups, share in form.link_fraction.items())),
        per_group_s=form.per_group_us * SECONDS_PER_US,
        per_message_s=form.per_message_ns * SECONDS_PER_NS,
        worker_bytes_per_s=None if form.worker_gb_per_s is None else form.worker_gb_per_s * BYTES_PER_GB,
        worker_bytes_per_message=form.worker_bytes_per_message,
    )
