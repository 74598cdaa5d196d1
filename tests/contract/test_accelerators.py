"""Every accelerator of every installed catalogue keeps the contract; so do the families."""

from __future__ import annotations

from pathlib import Path

import pytest

from accelerators.catalogue import CATALOGUE, TECHNOLOGIES
from accelerators.families import flat_like
from dse.files import load_yaml
from dse.hw.read import AcceleratorDescription
from dse.plugins import accelerator_names, load_accelerator
from dse.testing.accelerators import AcceleratorContract, lines_without_source


class TestCatalogue(AcceleratorContract):
    @pytest.fixture(params=accelerator_names())
    def description(self, request: pytest.FixtureRequest) -> AcceleratorDescription:
        return load_accelerator(request.param)


class TestFamilies(AcceleratorContract):
    @pytest.fixture(params=[32, 512])
    def description(self, request: pytest.FixtureRequest) -> AcceleratorDescription:
        return flat_like(request.param, ops_per_dram_byte=100)


@pytest.mark.parametrize("name", accelerator_names())
def test_name_of_the_file(name: str) -> None:
    assert load_accelerator(name).name == name


@pytest.mark.parametrize("name", TECHNOLOGIES.names())
def test_technologies(name: str) -> None:
    technology = TECHNOLOGIES.load(name)
    assert technology.name == name
    assert set(technology.mac_area_um2) == set(technology.mac_energy_pj)


@pytest.mark.parametrize("name", TECHNOLOGIES.names())
def test_every_constant_of_a_technology_names_its_source(name: str, repository: Path) -> None:
    assert lines_without_source(load_yaml(repository / f"accelerators/technology/{name}.yaml")) == []


def test_the_entry_point_is_the_catalogue() -> None:
    assert set(CATALOGUE.names()) <= set(accelerator_names())
