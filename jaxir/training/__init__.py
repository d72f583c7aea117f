"""Batches -> parameters: mesh, optimiser, step, loop, checkpoints, and the run that joins them."""
