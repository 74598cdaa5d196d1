"""What every accelerator must do, ours and those of outside catalogues."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.files import dump_yaml, parse_yaml
from dse.hw.accelerator import AreaBreakdown, Prices
from dse.hw.read import describe

if TYPE_CHECKING:
    from dse.files import Document
    from dse.hw.read import AcceleratorDescription

_NO_CONSTANTS: Final = frozenset({"schema_version", "name", "summary", "technology", "kind"})
_KEY_AND_VALUE: Final = re.compile(r"^\s*(?P<key>\w+):\s+(?P<value>[^#\s].*)$")


def lines_without_source(document: Document) -> list[str]:
    """`file:line: text` of every line that holds a constant and no comment."""
    found = []
    for number, line in enumerate(document.text.splitlines(), start=1):
        match = _KEY_AND_VALUE.match(line)
        if match and match["key"] not in _NO_CONSTANTS and " # " not in line:
            found.append(f"{document.path}:{number}: {line.strip()}")
    return found


class AcceleratorContract:
    """Subclass it in a test module and give a pytest fixture `description`."""

    def test_every_constant_names_its_source(self, description: AcceleratorDescription) -> None:
        """A comment on the line of each number or choice."""
        assert lines_without_source(description.document) == []

    def test_has_no_papercuts(self, description: AcceleratorDescription) -> None:
        """Nothing in it looks like a slip."""
        assert description.warnings() == ()

    def test_survives_a_round_trip(self, description: AcceleratorDescription) -> None:
        """Written as YAML and read again it is the same."""
        document = parse_yaml(dump_yaml(description.document.data), "again.yaml")
        assert document.data == description.document.data
        assert describe(document, description.technologies).file == description.file

    def test_prices_are_finite_and_not_negative(self, description: AcceleratorDescription) -> None:
        """Every price; and everything that something is divided by is above zero."""
        prices = description.accelerator().prices
        values = {f.name: getattr(prices, f.name) for f in fields(Prices) if f.name not in ("mac_pj", "inner")}
        assert all(np.isfinite(v) and v >= 0 for v in values.values())
        assert all(v > 0 for name, v in values.items() if name.endswith(("_hz", "_per_s", "_per_cycle", "_fraction", "_capacity_bytes")))
        assert set(prices.mac_pj) == {dtype for dtype, _ in description.geometry.array.macs_per_pe_per_cycle}

    def test_one_row_of_a_table_is_the_accelerator(self, description: AcceleratorDescription) -> None:
        """Given every price as a column, the table has what the accelerator has."""
        columns = {p.path: [p.value] for p in description.paths() if p.effect == "price"}
        table = description.table(columns)  # type: ignore[arg-type]  # values of price paths are numbers
        accelerator = description.accelerator()
        assert table.size == 1
        assert table.prices() == accelerator.prices
        assert table.area() == accelerator.area
        assert np.isclose(table.area_mm2[0], accelerator.area.total_mm2, rtol=1e-12)

    def test_area_is_positive_and_adds_up(self, description: AcceleratorDescription) -> None:
        """Every component but `other` takes area."""
        area = description.accelerator().area
        parts = {f.name: getattr(area, f.name) for f in fields(AreaBreakdown)}
        assert all(value > 0 for name, value in parts.items() if name != "other_mm2")
        assert np.isclose(sum(parts.values()), area.total_mm2)

    def test_overrides_with_present_values_change_nothing(self, description: AcceleratorDescription) -> None:
        """Every path that is offered can be set, and means what it says."""
        for path in description.paths():
            again = description.with_overrides({path.path: path.value})
            assert again.geometry == description.geometry, path.path
            assert again.accelerator().prices == description.accelerator().prices, path.path

    def test_geometry_is_a_key(self, description: AcceleratorDescription) -> None:
        """It can be hashed, and a price does not change it."""
        other = description.with_overrides({"clock_mhz": description.file.clock_mhz * 2})
        assert hash(other.geometry) == hash(description.geometry)
        assert other.geometry == description.geometry
