"""Decode steps of real engines: DeepSeek-R1 served with pools of their own for prompts and tokens.

Rows: aiconfigurator-core 0.12.0 (Apache-2.0), silicon_sample.csv, from the public InferenceX results. Which of them predict
several tokens per step is not said, and repeats over software versions spread by a third; so ranks and the median are held.
"""

import numpy as np
import pytest

from dse.plugins import load_system
from dse.serving_case import ChipModelName, ServingChoices, serving_case
from dse.workload import WorkloadOptions

PRECISIONS = {"fp4": "nvfp4", "fp8": "fp8_block"}
ROWS = (  # chip, precision, prompt, output, tp, dp, moe_tp, ep, sequences, measured TPOT in ms
    ("b200", "fp4", 1024, 1024, 8, 1, 1, 8, 2, 6.1021),
    ("b200", "fp4", 1024, 1024, 8, 1, 1, 8, 75, 13.8417),
    ("b200", "fp4", 8192, 1024, 8, 1, 1, 8, 2, 6.6264),
    ("b200", "fp4", 8192, 1024, 8, 1, 1, 8, 64, 16.9325),
    ("b200", "fp8", 1024, 1024, 1, 8, 1, 8, 4096, 74.2521),
    ("b200", "fp8", 8192, 1024, 8, 1, 1, 8, 16, 13.0469),
    ("b200", "fp8", 8192, 1024, 8, 1, 8, 1, 32, 16.1231),
    ("b200", "fp8", 8192, 1024, 1, 8, 1, 8, 256, 33.1396),
    ("b200", "fp8", 8192, 1024, 1, 8, 1, 8, 512, 38.5026),
    ("h100", "fp8", 1024, 1024, 16, 1, 1, 16, 3, 15.2086),
    ("h200", "fp8", 1024, 1024, 8, 1, 1, 8, 8, 16.2647),
    ("h200", "fp8", 1024, 1024, 8, 1, 1, 8, 32, 25.1895),
    ("h200", "fp8", 1024, 1024, 1, 8, 1, 8, 512, 48.5875),
    ("h200", "fp8", 8192, 1024, 1, 8, 1, 8, 128, 40.6237),
    ("h200", "fp8", 8192, 1024, 8, 1, 1, 8, 32, 27.5529),
    ("h200", "fp8", 8192, 1024, 1, 8, 1, 8, 512, 58.2747),
)


def predicted_ms(row: tuple[str, str, int, int, int, int, int, int, int, float], model: ChipModelName) -> float:
    chip, precision, prompt, output, tp, dp, moe_tp, ep, batch, _ = row
    options = WorkloadOptions(model="deepseek_r1", cache_len=prompt + output // 2, precision=PRECISIONS[precision])
    system = load_system(f"{chip}_cluster").system.part(tp * dp)
    case = serving_case(options, system, f"tp={tp},dp={dp},ep={ep},moe_tp={moe_tp}", choices=ServingChoices(chip_model=model))
    return float(case.times([batch]).seconds[0]) * 1e3


@pytest.mark.parametrize(("model", "low", "high"), [(ChipModelName.ROOFLINE, 0.4, 0.65), (ChipModelName.CALIBRATED, 0.75, 1.1)])
def test_decode_steps_of_engines(model: ChipModelName, low: float, high: float) -> None:
    measured = np.array([row[-1] for row in ROWS])
    ours = np.array([predicted_ms(row, model) for row in ROWS])
    ranks = [np.argsort(np.argsort(values)) for values in (measured, ours)]
    assert np.corrcoef(*ranks)[0, 1] > 0.93
    assert low < float(np.median(ours / measured)) < high
    if model is ChipModelName.CALIBRATED:
        assert float(np.mean(np.abs(ours / measured - 1))) < 0.25
