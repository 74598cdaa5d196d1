"""Elementary operations per element of the operators that run on a vector unit.

An elementary operation is one result of one lane: add, multiply, compare, select, divide, or one transcendental
(exponential, root, error function), which counts as one, as a table-driven unit gives one result per issue slot.
Moves (gather, concatenation, cache append) have no arithmetic and are costed by their bytes alone.
"""

from __future__ import annotations

from math import ceil, log2
from typing import Final

PER_OUTPUT_ELEMENT: Final = {
    "Add": 1,  # one addition
    "Sub": 1,  # one subtraction
    "Mul": 1,  # one multiplication
    "Div": 1,  # one division
    "Neg": 1,  # one negation
    "Abs": 1,  # one absolute value
    "Max": 1,  # one comparison with select (per input pair)
    "Min": 1,  # one comparison with select (per input pair)
    "Pow": 1,  # one transcendental; squares are one multiplication
    "Exp": 1,  # one transcendental
    "Log": 1,  # one transcendental
    "Sqrt": 1,  # one transcendental
    "Reciprocal": 1,  # one division
    "Erf": 1,  # one transcendental
    "Tanh": 1,  # one transcendental
    "Sin": 1,  # one transcendental
    "Cos": 1,  # one transcendental
    "Relu": 1,  # one comparison with select
    "Clip": 2,  # two comparisons with select
    "Where": 1,  # one select
    "Cast": 1,  # one conversion
    "Equal": 1,  # one comparison
    "Greater": 1,  # one comparison
    "Less": 1,  # one comparison
    "GreaterOrEqual": 1,  # one comparison
    "LessOrEqual": 1,  # one comparison
    "And": 1,  # one logical operation
    "Or": 1,  # one logical operation
    "Not": 1,  # one logical operation
    "Sigmoid": 4,  # counted here: negate, exponential, add, reciprocal
    "Swish": 5,  # counted here: sigmoid (4) and one multiplication
    "Gelu": 5,  # counted here, exact form: scale, erf, add, multiply, halve
    "Softplus": 3,  # counted here: exponential, add, logarithm
    "FastGelu": 8,  # counted here, tanh form: cube (2), scale and add (2), tanh, add one, multiply, halve
    "QuickGelu": 6,  # counted here: scale, sigmoid (4), multiplication
    "HardSigmoid": 4,  # counted here: multiply, add, two comparisons with select
    "HardSwish": 5,  # counted here: hard sigmoid (4) and one multiplication
    "Elu": 4,  # counted here: exponential, subtract, multiply, select
    "Selu": 5,  # counted here: elu (4) and one multiplication
    "Celu": 5,  # counted here: divide, exponential, subtract, multiply, select
    "LeakyRelu": 2,  # one multiplication and one select
    "PRelu": 2,  # one multiplication and one select
    "ThresholdedRelu": 1,  # one comparison with select
    "Softsign": 3,  # absolute value, addition, division
    "Mish": 5,  # counted here: softplus (3), tanh, multiplication
    "Shrink": 3,  # two comparisons with select, one addition
    "Floor": 1,  # one rounding
    "Ceil": 1,  # one rounding
    "Round": 1,  # one rounding
    "Sign": 1,  # one comparison with select
    "IsNaN": 1,  # one comparison
    "IsInf": 1,  # one comparison
    "Mod": 1,  # one division with remainder
    "BitShift": 1,  # one shift
    "BitwiseAnd": 1,  # one logical operation
    "BitwiseOr": 1,  # one logical operation
    "BitwiseXor": 1,  # one logical operation
    "BitwiseNot": 1,  # one logical operation
    "Xor": 1,  # one logical operation
    "Tan": 1,  # one transcendental
    "Asin": 1,  # one transcendental
    "Acos": 1,  # one transcendental
    "Atan": 1,  # one transcendental
    "Sinh": 1,  # one transcendental
    "Cosh": 1,  # one transcendental
    "Asinh": 1,  # one transcendental
    "Acosh": 1,  # one transcendental
    "Atanh": 1,  # one transcendental
    "Sum": 1,  # one addition (per input pair)
    "Mean": 1,  # one addition (per input pair); the division is one more and counted apart
    "CastLike": 1,  # one conversion
    "QuantizeLinear": 4,  # divide, round, add the zero point, saturate
    "DequantizeLinear": 2,  # subtract the zero point, multiply
    "BatchNormalization": 2,  # multiply and add; scale and shift of a channel follow from its statistics beforehand
}
"""Elementwise operators, operations per output element."""

PER_INPUT_ELEMENT: Final = {
    "Softmax": 7,  # LLMSimulator source, softmax layer: 7 FLOP per element (max, subtract, exponential, sum, divide, with two conversions)
    "LogSoftmax": 7,  # as Softmax; the division becomes a subtraction
    "RMSNormalization": 4,  # counted here: square, sum, multiply by 1/rms, multiply by gain; the root is once per row and left out
    "LayerNormalization": 7,  # counted here: sum; subtract, square, sum; multiply by 1/sigma, gain, bias; the root is left out
    "ReduceSum": 1,  # one addition
    "ReduceMean": 1,  # one addition; the division is once per row and left out
    "ReduceMax": 1,  # one comparison
    "ReduceMin": 1,  # one comparison
    "ReduceProd": 1,  # one multiplication
    "ReduceSumSquare": 2,  # multiplication and addition
    "ReduceL1": 2,  # absolute value and addition
    "ReduceLogSum": 1,  # one addition; the logarithm is once per row and left out
    "ReduceLogSumExp": 4,  # maximum, subtract, exponential, sum; the logarithm is once per row and left out
    "GroupNormalization": 7,  # as LayerNormalization
    "InstanceNormalization": 7,  # as LayerNormalization
    "LpNormalization": 3,  # power, sum, division; the root is once per row and left out
    "Hardmax": 2,  # one comparison to find the largest, one to mark it
    "ArgMax": 1,  # one comparison
    "ArgMin": 1,  # one comparison
    "CumSum": 1,  # one addition
    "CumProd": 1,  # one multiplication
    "DynamicQuantizeLinear": 6,  # smallest, largest; divide, round, add, saturate
    "ReduceL2": 2,  # multiplication and addition; the root is once per row and left out
    "RotaryEmbedding": 3,  # counted here: per rotated pair four multiplications and two additions
}
"""Reductions and row-wise operators, operations per input element."""


QUANTISE_OPERATIONS: Final = 3
"""Per element stored with block scales: largest magnitude of the block, multiply by 1 / scale, convert; the scale is once per block
and left out. Counted here. DeepSeek-V3 quantises activations so, in the kernel that makes them (arXiv 2412.19437, section 3.3.2)."""

BLOCK_OPERATIONS: Final = 2
"""Per result and block of a product whose operands have block scales: multiply the partial sum by the scales, add. Counted here;
DeepSeek-V3 does so on CUDA cores every 128 products (arXiv 2412.19437, section 3.3.2)."""


def top_k_operations_per_element(k: int) -> int:
    """Comparisons per input element to keep a sorted list of the `k` largest.

    Each element is placed by binary search in a list of k entries: ceil(log2(k + 1)) comparisons, at least one.
    Derived here; the shifts of a hardware sorter's registers are free. Worked number: k = 8 gives 4.
    """
    return max(1, ceil(log2(k + 1)))
