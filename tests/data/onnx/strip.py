"""Strips the weights of exported models: `python strip.py IN.onnx OUT.onnx` keeps shapes and small integers, drops the data.

The models here come from torch 2.13.0 (torch.onnx.export of networks written by hand): resnet18 as published (He et al., 2015, table 1,
18 layers), and one decoder block of each kind with random weights:
  llama  width 256, 8 heads of 32, 2 key heads, feed-forward 688, RMSNorm, rotary embedding, a cache that is concatenated
  gpt2   width 192, 6 heads, vocabulary 1,000, learned positions, tied output, causal mask from a stored triangle
  mobile 3 inverted residuals with depthwise convolutions, hard swish, a dilated grouped convolution, a transposed one, bilinear resize
Of the transformers package (5.23) with two layers of width 64: hfdeepseek (DeepSeek-V3, dense), hfopt (OPT), hfllama4bit (Llama, weights
packed by onnxruntime's MatMulNBits quantizer), bertfused (BERT without pooler through onnxruntime's transformer optimizer), bertq (the same through
its dynamic quantizer and the session's own fusions). mobilenetfused: torchvision's mobilenet_v3_small after the session's fusions.
Names say exporter and opset: `script` is TorchScript, `dynamo` is torch.export.
"""

from __future__ import annotations

import sys
from math import prod
from pathlib import Path

import onnx

KEPT_ELEMENTS = 64


def strip(source: str, target: str) -> None:
    """Write `source` without weight data, names of nodes kept, documentation dropped."""
    model = onnx.load(source, load_external_data=False)
    for tensor in model.graph.initializer:
        if prod(tensor.dims) > KEPT_ELEMENTS:
            for field in ("raw_data", "float_data", "int32_data", "int64_data"):
                tensor.ClearField(field)
            tensor.data_location = onnx.TensorProto.EXTERNAL
            del tensor.external_data[:]
            tensor.external_data.add(key="location", value="dropped.bin")
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    del model.graph.value_info[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    model.doc_string = model.graph.doc_string = ""
    Path(target).write_bytes(model.SerializeToString(deterministic=True))


if __name__ == "__main__":
    strip(*sys.argv[1:3])
