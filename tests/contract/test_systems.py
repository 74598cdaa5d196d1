"""Every system of the catalogue: a source on each line, nothing doubtful, and a form that survives a round trip."""

import pytest

from dse.files import dump_yaml, parse_yaml, validate
from dse.ir.lowering import Phase
from dse.plugins import load_system, system_names
from dse.serving import evaluate_serving
from dse.system.file_form import SystemFile
from dse.testing.accelerators import lines_without_source
from dse.workload import WorkloadOptions


@pytest.fixture(params=system_names())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_constant_names_its_source(name: str) -> None:
    lines = lines_without_source(load_system(name).document)
    assert lines == []


def test_is_sound(name: str) -> None:
    description = load_system(name)
    assert description.name == name
    assert description.warnings() == ()
    again = parse_yaml(dump_yaml(description.document.data), "again.yaml")
    assert validate(again, SystemFile) == description.file
    assert description.system.links[-1].chips == description.system.chips


def test_serves_a_model(name: str) -> None:
    options = WorkloadOptions(model="deepseek_v2_lite", phase=Phase.DECODE, batch=64, cache_len=1024)
    point = evaluate_serving(options, load_system(name).system, prefill=False)
    assert sum(point.shares.values()) == pytest.approx(1.0)
    assert 0 < point.step_s < 1
