"""Operator graphs: tensors, loop-nest operators, and ONNX in and out; knows no model and no chip."""
