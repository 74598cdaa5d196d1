"""Many cores: operators split over cores, tensors placed in their memories, transfers over shared channels."""
