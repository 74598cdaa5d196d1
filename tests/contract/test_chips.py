"""Every chip of every installed catalogue keeps the contract."""

from __future__ import annotations

import pytest

from accelerators.chips import CATALOGUE
from dse.errors import UsageError
from dse.hw.many_core_read import ChipDescription
from dse.plugins import chip_names, load_chip, names_chip
from dse.testing.chips import ChipContract


class TestCatalogue(ChipContract):
    @pytest.fixture(params=chip_names())
    def description(self, request: pytest.FixtureRequest) -> ChipDescription:
        return load_chip(request.param)


@pytest.mark.parametrize("name", chip_names())
def test_name_of_the_file(name: str) -> None:
    assert load_chip(name).name == name
    assert names_chip(name)


def test_the_entry_point_is_the_catalogue() -> None:
    assert {"simba", "tpu7x_quad", "tpu_like_quad"} <= set(CATALOGUE.names()) <= set(chip_names())


def test_a_path_that_leads_nowhere_is_named() -> None:
    with pytest.raises(UsageError, match=r"cores.tpu.arays.*is not known"):
        load_chip("tpu_like_quad").with_overrides({"cores.tpu.arays": 3})
