"""Readers of single ONNX operators: each turns one node into costed operators; `register` is the plug-in point."""

from dse.ir.onnx_ops import contraction, elementwise, move, rowwise, view
from dse.ir.onnx_ops.registry import READERS, SHAPES, Node, Reader, ReadingContext, load_plugins, register

__all__ = [
    "READERS",
    "SHAPES",
    "Node",
    "Reader",
    "ReadingContext",
    "contraction",
    "elementwise",
    "load_plugins",
    "move",
    "register",
    "rowwise",
    "view",
]
