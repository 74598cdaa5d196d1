"""Descriptions: overrides, paths, technologies, papercuts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from accelerators.catalogue import CATALOGUE, TECHNOLOGIES
from accelerators.families import flat_like
from dse.errors import InputError, UsageError
from dse.hw.accelerator import Dataflow


def test_overrides_of_geometry_and_price() -> None:
    old = CATALOGUE.load("flat_cloud")
    new = old.with_overrides({"core.array.rows": np.int64(128), "core.array.dataflows": (Dataflow.OUTPUT_STATIONARY,), "clock_mhz": 500})
    assert new.geometry.array.rows == 128
    assert new.geometry.array.dataflows == (Dataflow.OUTPUT_STATIONARY,)
    assert new.accelerator().prices.clock_hz == 500e6
    assert old.geometry.array.rows == 256
    assert new.geometry != old.geometry


def test_override_of_what_the_technology_gives() -> None:
    new = CATALOGUE.load("flat_cloud").with_overrides({"core.array.mac_energy_pj.bf16": 1.5, "overheads.launch_latency_us": 2})
    assert new.accelerator().prices.mac_pj == {"bf16": 1.5, "fp8": 0.45}
    assert new.accelerator().prices.launch_latency_s == pytest.approx(2e-6)


def test_another_technology_renews_what_is_left_out() -> None:
    new = CATALOGUE.load("flat_cloud").with_overrides({"technology": "generic_5nm"}).accelerator()
    assert new.technology == "generic_5nm"
    assert new.prices.mac_pj["bf16"] == 0.413
    assert new.prices.dram_read_pj_per_byte == 64  # the file's own


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"core.array.rows": 0}, "--set core.array.rows=0: 'core.array.rows' must be at least 1, not 0"),
        ({"clock_mhz": "fast"}, "--set clock_mhz=fast: 'clock_mhz' must be a number, not the text 'fast'; write the bare number without quotes, the unit is in the key's name"),
        ({"technology": "generic_8nm"}, "--set technology=generic_8nm: technology 'generic_8nm' is not known; allowed: generic_5nm, generic_7nm, or a path that ends in .yaml. Did you mean 'generic_7nm'?"),
    ],
)  # fmt: skip
def test_refused_overrides(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as error:
        CATALOGUE.load("flat_cloud").with_overrides(overrides, origin="--set")
    assert str(error.value) == message


@pytest.mark.parametrize("path", ["memories.srm.capacity_kib", "core.array.row", "name", "core.count", "nothing"])
def test_unknown_paths(path: str) -> None:
    with pytest.raises(UsageError, match=f"--set {path}: flat_cloud has no such field"):
        CATALOGUE.load("flat_cloud").with_overrides({path: 1}, origin="--set")


def test_paths_tell_effect_type_and_unit() -> None:
    paths = {p.path: p for p in CATALOGUE.load("tpu7x").paths()}
    assert len(paths) == len(CATALOGUE.load("tpu7x").paths())
    capacity, rows = paths["memories.vmem.capacity_kib"], paths["core.array.rows"]
    assert (capacity.effect, capacity.type, capacity.unit, capacity.allowed) == ("price", "number", "KiB", "above 0")
    assert (rows.effect, rows.type, rows.unit, rows.allowed) == ("geometry", "integer", "", "at least 1")
    assert paths["memories.vmem.double_buffered"].effect == "geometry"
    assert paths["core.array.mac_energy_pj.bf16"].unit == "pJ"
    assert paths["core.array.folds"].value == "pipelined"
    geometry = {p for p in paths if paths[p].effect == "geometry"}
    assert geometry == {
        "core.array.rows", "core.array.columns", "core.array.count", "core.array.dataflows", "core.array.folds",
        "core.array.load_rows_per_cycle", "core.array.macs_per_pe_per_cycle.bf16", "core.array.macs_per_pe_per_cycle.fp8", "memories.vmem.double_buffered",
        "memories.vmem.operands",
    }  # fmt: skip


def test_technology_beside_the_file(tmp_path: Path, repository: Path) -> None:
    technology = (repository / "accelerators/technology/generic_7nm.yaml").read_text(encoding="utf-8").replace("bf16: 0.59", "bf16: 0.25")
    (tmp_path / "own.yaml").write_text(technology, encoding="utf-8")
    chip = (repository / "accelerators/catalogue/flat_edge.yaml").read_text(encoding="utf-8").replace("generic_7nm", "own.yaml")
    (tmp_path / "chip.yaml").write_text(chip, encoding="utf-8")
    assert CATALOGUE.from_file(str(tmp_path / "chip.yaml")).accelerator().prices.mac_pj["bf16"] == 0.25
    (tmp_path / "own.yaml").unlink()
    with pytest.raises(InputError, match=r"own\.yaml: no such file"):
        CATALOGUE.from_file(str(tmp_path / "chip.yaml"))


def test_papercuts_name_file_and_line() -> None:
    doubtful = CATALOGUE.load("flat_cloud").with_overrides({"clock_mhz": 1, "memories.sram.write_gb_per_s": 1}, origin="--set")
    assert doubtful.warnings() == (
        "--set clock_mhz=1: clock_mhz 1 is outside 10 to 5000 MHz; is it in MHz?",
        "--set memories.sram.write_gb_per_s=1: write_gb_per_s 1 of the buffer is below the DRAM's 400; are both in GB/s?",
    )
    assert doubtful.accelerator().warnings == doubtful.warnings()


def test_catalogues_refuse_unknown_names() -> None:
    with pytest.raises(UsageError, match=r"accelerator 'flat_clod' is not known.*Did you mean 'flat_cloud'"):
        CATALOGUE.load("flat_clod")
    with pytest.raises(UsageError, match="technology 'generic' is not known"):
        TECHNOLOGIES.load("generic")


def test_family_keeps_the_ridge() -> None:
    member = flat_like(128, ops_per_dram_byte=100).accelerator()
    # 2 x 128 x 128 x 940 MHz = 30.80 TOP/s; over 100 op/byte: 308.0 GB/s
    assert member.prices.dram_bytes_per_s == pytest.approx(308.0192e9)
    assert member.prices.buffer_read_bytes_per_s == pytest.approx(4e12)
    assert member.prices.vector_ops_per_cycle == 128
    with pytest.raises(UsageError):
        flat_like(0)
    with pytest.raises(UsageError):
        flat_like(8, ops_per_dram_byte=float("nan"))
