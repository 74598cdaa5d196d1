"""Table 1: parameters and cached values of MLA and the two MHA baselines, counted in the lowered ONNX models."""

from experiments import mla
from experiments.kit import Outcome, Table

SCHEMES = {"mla": "left_to_right", "mha_l": "mha_l", "mha_s": "mha_s"}


def run(*, smoke: bool) -> Outcome:
    del smoke  # the same size
    values: dict[str, float | bool | str] = {}
    rows = []
    for name, scheme in SCHEMES.items():
        short, long = (mla.counted(mla.Layer(scheme, n))[2] / 2 for n in (1, 1025))
        values[f"{name}_parameters"] = mla.workload(mla.Layer(scheme, 1)).parameters_total
        values[f"{name}_cached"] = (long - short) / 1024
        rows.append((mla.LABELS.get(name, "MLA"), values[f"{name}_parameters"], values[f"{name}_cached"]))
    values["mla_with_rope"] = mla.workload(mla.Layer("left_to_right", 1, rope=True)).parameters_total
    return Outcome(values, {"table": Table(("layer", "parameters", "cached_values_per_token"), rows)})
