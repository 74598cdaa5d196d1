"""Design tables: units, broadcasting, refusal; numbers worked out by hand from flat_cloud and generic_7nm."""

from __future__ import annotations

import pytest

from accelerators.catalogue import CATALOGUE
from dse.errors import UsageError
from dse.hw.accelerator import ArrayGeometry, Dataflow, Folds
from dse.hw.area import element_area_um2


def test_units_of_flat_cloud() -> None:
    prices = CATALOGUE.load("flat_cloud").accelerator().prices
    assert prices.clock_hz == 940e6
    assert prices.buffer_capacity_bytes == 32 * 1024**2
    assert prices.buffer_read_bytes_per_s == 8e12
    assert prices.dram_bytes_per_s == 400e9
    assert prices.dram_read_pj_per_byte == 64  # 8 pJ/bit
    assert prices.dram_capacity_bytes == 80 * 1024**3
    assert prices.vector_ops_per_cycle == 256
    assert prices.vector_pj_per_op == 0.845  # the technology's
    assert prices.mac_pj == {"bf16": 0.59, "fp8": 0.45}  # the technology's


def test_area_of_flat_cloud() -> None:
    area = CATALOGUE.load("flat_cloud").accelerator().area
    assert area.array_mm2 == pytest.approx(43.974656)  # 65,536 elements x 671 um2
    assert area.vector_mm2 == pytest.approx(0.687104)  # 256 lanes x 2,684 um2
    assert area.buffer_mm2 == pytest.approx(28.0)  # 32 MiB x 0.875 mm2
    assert area.dram_interface_mm2 == pytest.approx(8.0)  # 400 GB/s x 0.02 mm2
    assert area.total_mm2 == pytest.approx(80.66176)


def test_element_takes_its_largest_demand() -> None:
    technology = CATALOGUE.load("flat_cloud").technology
    array = ArrayGeometry(1, 1, 1, (Dataflow.WEIGHT_STATIONARY,), Folds.SERIAL, (("bf16", 1), ("fp8", 4)))
    assert element_area_um2(array, technology) == 4 * 335.5  # above 1 x 671
    unknown = ArrayGeometry(1, 1, 1, (Dataflow.WEIGHT_STATIONARY,), Folds.SERIAL, (("int64", 1),))
    assert element_area_um2(unknown, technology) == 2684  # that of the widest known type, fp32


@pytest.mark.parametrize(
    ("name", "tflops"),
    [("h100_sxm", 989.4), ("h200_sxm", 989.4), ("a100_sxm", 312), ("b200_sxm", 2250), ("tpu7x", 2307), ("flat_cloud", 123.2)],
)
def test_published_peak_rates(name: str, tflops: float) -> None:
    accelerator = CATALOGUE.load(name).accelerator()
    array = accelerator.geometry.array
    macs_per_cycle = array.rows * array.columns * array.count * (array.rate("bf16") or 0)
    assert 2 * macs_per_cycle * accelerator.prices.clock_hz == pytest.approx(tflops * 1e12, rel=1e-3)


@pytest.mark.parametrize(("name", "mm2"), [("h100_sxm", 814), ("a100_sxm", 826)])
def test_published_die_sizes(name: str, mm2: float) -> None:
    assert CATALOGUE.load(name).accelerator().area.total_mm2 == pytest.approx(mm2, abs=0.1)


def test_tpu7x_is_the_slice() -> None:
    accelerator = CATALOGUE.load("tpu7x").accelerator()
    array, prices = accelerator.geometry.array, accelerator.prices
    assert array.rows * array.columns * array.count == 8 * 131_072
    assert prices.dram_bytes_per_s / prices.clock_hz == pytest.approx(6700)  # 53,600 bit per cycle
    assert prices.buffer_read_bytes_per_s / prices.clock_hz == pytest.approx(4 * 98_304 / 8)
    assert prices.buffer_write_bytes_per_s / prices.clock_hz == pytest.approx(4 * 65_536 / 8)
    assert prices.buffer_read_pj_per_byte * 98_304 / 8 == pytest.approx(23_340)
    assert prices.buffer_write_pj_per_byte * 65_536 / 8 == pytest.approx(25_680)


def test_columns_broadcast() -> None:
    table = CATALOGUE.load("flat_cloud").table({"memories.sram.capacity_kib": [1024, 2048], "clock_mhz": 500})
    assert table.size == 2
    assert table.buffer_capacity_bytes.tolist() == [1024**2, 2 * 1024**2]
    assert table.clock_hz.tolist() == [500e6, 500e6]
    assert table.mac_pj["bf16"].shape == (2,)
    assert table.area_mm2[1] - table.area_mm2[0] == pytest.approx(0.875)  # one MiB more
    assert table.prices(1).buffer_capacity_bytes == 2 * 1024**2
    assert table.area(1).total_mm2 == pytest.approx(float(table.area_mm2[1]))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"core.array.rows": [1]}, "'core.array.rows' cannot be a column of a table: it selects another frontier; use with_overrides for it"),
        ({"clock_mhz": [1.0, float("nan")]}, "'clock_mhz' must be a finite number above 0, not nan (design point 1)"),
        ({"clock_mhz": [5.0, 0.0]}, "'clock_mhz' must be a finite number above 0, not 0 (design point 1)"),
        ({"leakage_w": -1}, "'leakage_w' must be a finite number at least 0, not -1 (design point 0)"),
        ({"core.array.sustained_fraction": 1.5}, "'core.array.sustained_fraction' must be a finite number above 0 and at most 1, not 1.5 (design point 0)"),
        ({"core.vector.lanes": 1.5}, "'core.vector.lanes' must be a whole number at least 1, not 1.5 (design point 0)"),
        ({"clock_mhz": [1, 2], "leakage_w": [1, 2, 3]}, "columns of a table must be scalars or have one length; given: clock_mhz (2,), leakage_w (3,)"),
        ({"clock_mhz": []}, "a table needs at least one design point; the columns are empty"),
    ],
)  # fmt: skip
def test_refused_columns(columns: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as error:
        CATALOGUE.load("flat_cloud").table(columns)  # type: ignore[arg-type]
    assert str(error.value) == message


def test_unknown_column_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"Did you mean 'memories\.sram\.capacity_kib'\?"):
        CATALOGUE.load("flat_cloud").table({"memories.sram.capacity_kb": 1})
