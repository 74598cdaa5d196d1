"""Readers of single ONNX operators: each turns one node into costed operators; `register` is the plug-in point."""

from dse.ir.onnx_ops import (
    contraction,
    contrib,
    contrib_fused,
    contrib_quantised,
    convolution,
    einsum,
    elementwise,
    move,
    pooling,
    quantised,
    rearrange,
    recurrent,
    rowwise,
    view,
)
from dse.ir.onnx_ops.registry import READERS, SHAPES, Node, Reader, ReadingContext, load_plugins, register

__all__ = [
    "READERS",
    "SHAPES",
    "Node",
    "Reader",
    "ReadingContext",
    "contraction",
    "contrib",
    "contrib_fused",
    "contrib_quantised",
    "convolution",
    "einsum",
    "elementwise",
    "load_plugins",
    "move",
    "pooling",
    "quantised",
    "rearrange",
    "recurrent",
    "register",
    "rowwise",
    "view",
]
