"""What every chip of many cores must do, ours and those of outside catalogues."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.files import dump_yaml, parse_yaml
from dse.hw.interconnect import transfer_s
from dse.hw.many_core_read import describe_chip
from dse.testing.accelerators import lines_without_source

if TYPE_CHECKING:
    from dse.hw.many_core_read import ChipDescription


class ChipContract:
    """Subclass it in a test module and give a pytest fixture `description`."""

    def test_every_constant_names_its_source(self, description: ChipDescription) -> None:
        """A comment on the line of each number or choice."""
        assert lines_without_source(description.document) == []

    def test_has_no_papercuts(self, description: ChipDescription) -> None:
        """Nothing in it looks like a slip."""
        assert description.warnings() == ()

    def test_survives_a_round_trip(self, description: ChipDescription) -> None:
        """Written as YAML and read again it is the same."""
        document = parse_yaml(dump_yaml(description.document.data), "again.yaml")
        assert document.data == description.document.data
        again = describe_chip(document, description.technologies)
        assert again.file == description.file
        assert again.chip == description.chip

    def test_every_core_reaches_the_memory_and_back(self, description: ChipDescription) -> None:
        """A byte takes time each way, at most as fast as the memory's port."""
        chip = description.chip
        rate = description.file.dram[1].bandwidth_gb_per_s * 1e9
        for core in chip.cores:
            for route in (chip.interconnect.route(chip.dram, core.name), chip.interconnect.route(core.name, chip.dram)):
                assert transfer_s(route, 1e6) >= 1e6 / rate * (1 - 1e-12)

    def test_area_counts_every_core(self, description: ChipDescription) -> None:
        """Twice the cores of each kind take more than the silicon of one set and less than that of two chips."""
        area = description.area
        assert area.total_mm2 > 0
        parts = sum(form.count * description.kinds[kind].table().area().buffer_mm2 for kind, form in description.file.cores.items())
        assert area.buffer_mm2 >= parts * (1 - 1e-12)

    def test_a_price_can_be_set(self, description: ChipDescription) -> None:
        """A faster clock is taken over by every kind of core."""
        faster = description.with_overrides({"clock_mhz": description.file.clock_mhz * 2})
        assert all(d.file.clock_mhz == description.file.clock_mhz * 2 for d in faster.kinds.values())

    def test_a_column_is_what_a_setting_is(self, description: ChipDescription) -> None:
        """Area, capacity, rate and leakage follow every price field alike, as a column of a table and laid over the file."""
        for field in description.paths():
            if field.effect != "price" or isinstance(field.value, str | bool) or not isinstance(field.value, int | float):
                continue
            other = 2 * field.value if field.type == "integer" else field.value / 2
            one = description.with_overrides({field.path: other}).table()
            table = description.table({field.path: [field.value, other]})
            for name in ("area_mm2", "dram_capacity_bytes", "dram_bytes_per_s", "leakage_w"):
                assert abs(getattr(table, name)[1] - getattr(one, name)[0]) <= 1e-12 * abs(getattr(one, name)[0]), (field.path, name)
