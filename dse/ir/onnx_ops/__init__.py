"""Readers of single ONNX operators: each turns one node into costed operators; `register` is the plug-in point."""

from dse.ir.onnx_ops import contraction, elementwise, move, rowwise, view
from dse.ir.onnx_ops.registry import READERS, Node, Reader, ReadingContext, register

__all__ = ["READERS", "Node", "Reader", "ReadingContext", "contraction", "elementwise", "move", "register", "rowwise", "view"]
