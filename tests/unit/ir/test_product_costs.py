"""What products leave to the vector unit, for every pair of formats, against counts by hand."""

from __future__ import annotations

import pytest

from dse.ir.operator import Kind, Operand, Operator
from dse.ir.product_costs import beside_product
from dse.ir.tensor import Role, Tensor, data_type

G, M, K, N = 2, 3, 300, 5
CASES = {
    # left, right, stored result: operand that is widened, widening, work on results
    ("bf16", "bf16", "bf16"): (None, 0, 0),
    ("fp8", "fp8", "fp8"): (None, 0, 0),
    ("bf16", "fp8_128x128", "bf16"): ("right", G * K * N, 0),  # the scale is applied with the conversion
    ("int4_g32", "bf16", "bf16"): ("left", G * M * K, 0),
    ("fp8", "int8", "fp32"): ("right", G * K * N, 0),
    ("fp8_1x128", "fp8_128x128", "fp32"): (None, 0, 2 * G * M * N * 3),  # 300 are 3 blocks of 128
    ("fp8", "fp8_128x128", "fp32"): (None, 0, 2 * G * M * N * 3),
    ("int4_g32", "int4_g128", "bf16"): (None, 0, 2 * G * M * N * 10),  # the shorter blocks count
    ("fp8_1x128", "fp8_128x128", "fp8_1x128"): (None, 0, (2 * 3 + 3) * G * M * N),
    ("mxfp8", "mxfp8", "bf16"): (None, 0, 0),  # arrays apply these scales
    ("nvfp4", "nvfp4", "nvfp4"): (None, 0, 3 * G * M * N),
    ("bf16", "mxfp4", "mxfp8"): ("right", G * K * N, 3 * G * M * N),
}


@pytest.mark.parametrize("formats", CASES, ids="-".join)
def test_formats(formats: tuple[str, str, str]) -> None:
    shapes = {"left": ("g", "m", "k"), "right": ("g", "k", "n"), "out": ("g", "m", "n")}
    sizes = {"g": G, "m": M, "n": N, "k": K}
    tensors, operands = {}, {}
    for (name, axes), dtype in zip(shapes.items(), formats, strict=True):
        tensors[name] = Tensor(name, tuple(sizes[a] for a in axes), data_type(dtype), Role.ACTIVATION, name)
        operands[name] = Operand(name, axes, tensors[name].elements)
    product = Operator(
        "p", "Einsum", Kind.CONTRACTION, tuple(sizes.items()), (operands["left"], operands["right"]), (operands["out"],), G * M * K * N
    )
    found = beside_product(product, tensors)
    assert (found.widened and found.widened.tensor, found.widening, found.on_results) == CASES[formats]


def test_scores_are_not_quantised() -> None:
    """They go to the softmax as the sums that they are."""
    tensors = {n: Tensor(n, (4, 4), data_type("mxfp8"), Role.SCORE, n) for n in "abc"}
    operands = [Operand(n, axes, 16) for n, axes in (("a", ("m", "k")), ("b", ("k", "n")), ("c", ("m", "n")))]
    product = Operator("p", "MatMul", Kind.CONTRACTION, (("m", 4), ("n", 4), ("k", 4)), tuple(operands[:2]), (operands[2],), 64)
    assert beside_product(product, tensors).total == 0
