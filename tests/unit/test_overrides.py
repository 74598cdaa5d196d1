"""Values laid over a machine: what is allowed and probably a slip is told, once, wherever values come in."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from dse.overrides import doubts, laid_over
from dse.plugins import load_accelerator, load_chip, load_system
from dse.serving_search import check_field

if TYPE_CHECKING:
    from dse.overrides import Described


@pytest.mark.parametrize(
    ("machine", "setting", "doubt"),
    [
        (load_accelerator("flat_cloud"), "clock_mhz=1e9", "clock_mhz 1e+09 is outside 10 to 5000 MHz"),
        (load_accelerator("flat_cloud"), "memories.dram.bandwidth_gb_per_s=1e6", "8000 of the buffer is below the DRAM's 1e+06"),
        (load_chip("tpu_like_quad"), "clock_mhz=0.001", "clock_mhz 0.001 is outside 10 to 5000 MHz"),
        (load_system("h100_node"), "links.nvlink.bandwidth_gb_per_s=1e9", "1e+09 GB/s per chip and direction"),
    ],
    ids=("clock", "buffer_below_dram", "chip", "system"),
)
def test_a_doubtful_setting_is_logged(machine: Described, setting: str, doubt: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        laid_over(machine, [setting])
    assert doubt in caplog.text


def test_usual_settings_are_silent(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        laid_over(load_accelerator("flat_cloud"), ["clock_mhz=1500", "memories.dram.bandwidth_gb_per_s=2000"])
    assert not caplog.records


def test_doubts_are_about_what_was_laid_over() -> None:
    flat = load_accelerator("flat_cloud")
    assert doubts(flat, "space") == ()
    # the doubt about the buffer stands at the buffer, whose value was not given
    assert doubts(flat.with_overrides({"memories.dram.bandwidth_gb_per_s": 1e6}, origin="space"), "space") == ()
    (found,) = doubts(flat.with_overrides({"clock_mhz": 1e9}, origin="space"), "space")
    assert found == "clock_mhz 1e+09 is outside 10 to 5000 MHz; is it in MHz?"


def test_a_system_of_a_campaign_tells_them() -> None:
    assert check_field(load_system("h100_node"), "system.links.nvlink.bandwidth_gb_per_s", 1e9) == (
        "1e+09 GB/s per chip and direction; is the unit right?",
    )
