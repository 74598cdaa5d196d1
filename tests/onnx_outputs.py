"""Outputs of an ONNX model as ONNX' own reference evaluator computes them."""

import numpy as np
import numpy.typing as npt
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator

Arrays = dict[str, npt.NDArray]


def onnx_outputs(model: ModelProto, arrays: Arrays) -> Arrays:
    """Outputs by name; of `arrays` those are taken that the model has as inputs.

    A matmul of few finite float32 numbers may raise the flag of an invalid value for lanes of its vectors that hold none of them, and
    the reference of Swish forms exp of large numbers on its way to 0: these flags are ignored, since an output that is no number fails
    every comparison all the same.
    """
    names = [v.name for v in model.graph.output]
    with np.errstate(invalid="ignore", over="ignore"):
        return dict(zip(names, ReferenceEvaluator(model).run(names, {v.name: arrays[v.name] for v in model.graph.input}), strict=True))
