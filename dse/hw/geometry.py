"""From the file form to the geometry: everything of an accelerator that selects a frontier."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from dse.hw.accelerator import ArrayDim, ArrayGeometry, Geometry, MemoryGeometry
from dse.hw.array_form import ArrayDimsForm
from dse.hw.memory_form import BufferForm

if TYPE_CHECKING:
    from dse.hw.array_form import ArrayForm
    from dse.hw.file_form import AcceleratorFile
    from dse.hw.memory_form import RegistersForm


def array_dims(array: ArrayForm | ArrayDimsForm) -> tuple[tuple[str, int], ...]:
    """(name, size) of the dimensions of an array; those of the short form are called rows, columns and arrays."""
    if isinstance(array, ArrayDimsForm):
        return tuple((name, dim.size) for name, dim in array.dims.items())
    return ("rows", array.rows), ("columns", array.columns), ("arrays", array.count)


def geometry_of(form: AcceleratorFile) -> Geometry:
    """The geometry of an accelerator file."""
    dims = array_dims(form.core.array)
    _, buffer = form.buffer
    outer = _memory(buffer, dims)
    plain = MemoryGeometry(double_buffered=buffer.double_buffered, overlapped=buffer.double_buffered)
    return Geometry(
        array=_array(form.core.array),
        double_buffered=buffer.double_buffered,
        buffer=None if outer == plain else outer,
        inner=tuple(_memory(memory, dims) for _, memory in form.inner),
        most_tiles=form.core.most_tiles,
        most_cells=form.core.most_cells,
    )


def _array(array: ArrayForm | ArrayDimsForm) -> ArrayGeometry:
    rates = tuple(sorted(array.macs_per_pe_per_cycle.items()))
    if isinstance(array, ArrayDimsForm):
        dims = tuple(ArrayDim(name, dim.size, dim.unrolls) for name, dim in array.dims.items())
        size = prod(dim.size for dim in dims)
        return ArrayGeometry(size, 1, 1, (), array.folds, rates, array.load_rows_per_cycle, dims, array.stationary)
    return ArrayGeometry(array.rows, array.columns, array.count, array.dataflows, array.folds, rates, array.load_rows_per_cycle)


def _memory(memory: RegistersForm | BufferForm, dims: tuple[tuple[str, int], ...]) -> MemoryGeometry:
    served = [name for name, _ in dims] if memory.serves is None else memory.serves
    replicated = [(name, size) for name, size in dims if name not in served]
    names, instances = tuple(name for name, _ in replicated), prod(size for _, size in replicated)
    if isinstance(memory, BufferForm):
        return MemoryGeometry(
            double_buffered=memory.double_buffered,
            overlapped=memory.overlaps,
            operands=memory.operands,
            capacity_shares=tuple(sorted(memory.capacity_shares.items())),
            shared_port=memory.shared_port,
            replicated=names,
            instances=instances,
        )
    return MemoryGeometry(registers=True, overlapped=True, operands=memory.operands, replicated=names, instances=instances)
