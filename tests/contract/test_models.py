"""Every model of the catalogue keeps the contract; the YAML files are sourced line by line."""

from __future__ import annotations

from pathlib import Path

import pytest

import workloads
from dse.ir.lowering import Model
from dse.testing.models import ModelContract
from workloads.catalogue import CATALOGUE

FILES = sorted((Path(workloads.__file__).parent / "models").glob("*.yaml"))


class TestCatalogue(ModelContract):
    @pytest.fixture(params=CATALOGUE.names())
    def model(self, request: pytest.FixtureRequest) -> Model:
        return CATALOGUE.load(request.param)


def test_catalogue_has_the_names_that_scripts_rely_on():
    assert {"deepseek_v3", "deepseek_r1", "deepseek_v2_lite", "kimi_k2"} <= set(CATALOGUE.names())
    v3 = CATALOGUE.load("deepseek_v3")
    named = {"naive", "left_to_right", "reuse", "recompute", "reuse_both", "recompute_both", "mha_l", "mha_s"}
    assert set(v3.attention_schemes) == named


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_every_hyper_parameter_has_a_source(file: Path):
    for line in file.read_text().splitlines():
        key, _, value = line.partition(":")
        if value.strip() and not line.startswith("#") and key.strip() not in ("schema_version", "name", "summary"):
            assert "#" in value, line


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_file_name_is_the_model_name(file: Path):
    assert CATALOGUE.from_file(str(file)).name == file.stem


def test_schema_describes_every_key():
    schema = CATALOGUE.json_schema()
    assert schema["additionalProperties"] is False
    properties = schema["properties"]
    assert isinstance(properties, dict)
    assert all("description" in p or "$ref" in p for p in properties.values())
