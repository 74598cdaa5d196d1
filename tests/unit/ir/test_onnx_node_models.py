"""ONNX' own single-operator models: each is costed, or refused for a reason that is on the list; none gives a traceback."""

from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
import pytest
from onnx import numpy_helper

from dse.errors import DseError
from dse.ir.onnx_check import OLDEST_OPSET, STANDARD_DOMAINS
from dse.ir.onnx_read import read_onnx

REFUSED = {
    "no arithmetic on text": "StringConcat StringSplit StringNormalizer RegexFullMatch TfIdfVectorizer LabelEncoder ImageDecoder",
    "sequences and optionals": """SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength SequenceMap SplitToSequence
        ConcatFromSequence Optional OptionalGetElement OptionalHasElement""",
    "bodies run a number of times": "Loop Scan LinearAttention",
    "results depend on data": "NonZero Unique Compress NonMaxSuppression",
    "random numbers": "Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike",
    "training": "Adagrad Adam Momentum Gradient",
    "no cost yet": "DFT STFT Det DeformConv LRN MaxRoiPool RoiAlign AffineGrid MelWeightMatrix FlexAttention",
    "windows by computed type": "BlackmanWindow HannWindow HammingWindow",
    "tree ensembles and vectors": "TreeEnsemble ArrayFeatureExtractor Binarizer",
}
ALLOWED = {name for names in REFUSED.values() for name in names.split()}
SMALL = 64
LEAST_COSTED = 1500
"""Of the 1,884 models of onnx 1.23.2; 1,640 were costed when this was written."""


def with_constants(case):
    """The model with small integer inputs (axes, shapes, steps) as constants, as exporters write them."""
    model = case.model
    if not case.data_sets:
        return model
    for value, array in zip(list(model.graph.input), case.data_sets[0][0], strict=False):
        if not isinstance(array, np.ndarray | np.generic):
            continue
        small = np.asarray(array)
        if small.dtype.kind in "iu" and small.ndim <= 1 and small.size <= SMALL:
            model.graph.initializer.append(numpy_helper.from_array(small, value.name))
    return model


@pytest.fixture(scope="module")
def outcomes():
    """(operator types, error or None) of each model of opset 13 and later."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        cases = collect_testcases(None)
    found = []
    for case in cases:
        versions = [o.version for o in case.model.opset_import if o.domain in STANDARD_DOMAINS]
        if not versions or versions[0] < OLDEST_OPSET:
            continue
        try:
            read_onnx(with_constants(case), name=case.name)
            found.append((case, None))
        except DseError as e:
            found.append((case, str(e)))
    return found


def test_only_listed_operators_are_refused(outcomes):
    unexpected = Counter()
    for case, error in outcomes:
        types = {n.op_type for n in case.model.graph.node} | {case.model.graph.node[0].op_type}
        words = {
            "string",
            "training",
            "sequence",
            "empty_set",
            "zero_size",
            "expanded",
            "mask",
            "center_crop",
            "optional",
            "random",
            "seq",
            "opt",
        }
        if error and not types & ALLOWED and not any(w in case.name for w in words) and "element type" not in error:
            unexpected[" ".join(sorted(types))] += 1
    assert dict(unexpected) == {}


def test_most_are_costed(outcomes):
    assert sum(error is None for _, error in outcomes) >= LEAST_COSTED


def test_every_refusal_says_where(outcomes):
    assert all(error is None or error.startswith(case.name) for case, error in outcomes)
