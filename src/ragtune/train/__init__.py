"""Tuning backends. ``torch`` is LoRA on PyTorch: ``lora`` the adapters, ``batches`` context groups to tensors, ``checkpoint`` resumption."""
