"""Tuning backends. ``torch`` is LoRA on PyTorch, with a file each for adapters, batches, attention, loss, checkpoints and metrics."""
