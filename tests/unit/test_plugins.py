"""Catalogues through entry points."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING

import pytest

from accelerators.catalogue import CATALOGUE
from dse import plugins
from dse.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def entry_points(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EntryPoint]]:
    found: list[EntryPoint] = []
    monkeypatch.setattr(plugins, "entry_points", lambda group: [e for e in found if e.group == group])
    plugins.accelerator_catalogues.cache_clear()
    plugins.chip_catalogues.cache_clear()
    yield found
    plugins.accelerator_catalogues.cache_clear()
    plugins.chip_catalogues.cache_clear()


def test_built_in_catalogues() -> None:
    assert "flat_cloud" in plugins.accelerator_names()
    assert plugins.load_accelerator("flat_cloud").name == "flat_cloud"
    assert "deepseek_v3" in plugins.model_names()
    assert plugins.load_model("deepseek_v3").name == "deepseek_v3"


def test_a_path_is_a_file() -> None:
    path = str(CATALOGUE.load("flat_edge").document.path)
    assert plugins.load_accelerator(path).name == "flat_edge"
    with pytest.raises(InputError, match=r"none\.yaml: no such file"):
        plugins.load_accelerator("none.yaml")


def test_unknown_name() -> None:
    with pytest.raises(UsageError, match=r"accelerator 'flat_clouds' is not known\. Did you mean 'flat_cloud'\? Known: a100_sxm"):
        plugins.load_accelerator("flat_clouds")


def test_catalogues_of_others(entry_points: list[EntryPoint]) -> None:
    entry_points.append(EntryPoint("abroad", "accelerators.catalogue:CATALOGUE", plugins.ACCELERATORS))
    entry_points.append(EntryPoint("builtin", "accelerators.catalogue:CATALOGUE", plugins.ACCELERATORS))
    assert list(plugins.accelerator_catalogues()) == ["builtin", "abroad"]
    assert plugins.accelerator_names() == CATALOGUE.names()


def test_a_broken_catalogue_is_named(entry_points: list[EntryPoint]) -> None:
    entry_points.append(EntryPoint("broken", "no_such_module:CATALOGUE", plugins.ACCELERATORS))
    with pytest.raises(UsageError, match=r"catalogue 'broken' \(no_such_module:CATALOGUE\) of dse\.accelerators cannot be loaded"):
        plugins.accelerator_names()


def test_no_catalogue_at_all(entry_points: list[EntryPoint]) -> None:
    assert entry_points == []
    with pytest.raises(UsageError, match="no catalogue of accelerators is installed"):
        plugins.load_accelerator("./x.yaml")
