"""One file per layer: a frozen configuration in, ONNX nodes and parameter counts out."""
