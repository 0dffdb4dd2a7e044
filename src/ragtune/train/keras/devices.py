"""Which of TensorFlow's devices train, in which number format, and how much memory they took."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch

from ragtune.errors import TrainError
from ragtune.train.keras.backend import tf
from ragtune.train.predict import PeakMemory

Dtype = Literal["float32", "bfloat16"]


def find_devices(device: str | None) -> list[str]:
    """The devices that a setting names: one, or where it is unset every GPU that is visible, else the CPU.

    Raises:
        TrainError: TensorFlow has no such device.
    """
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        with contextlib.suppress(RuntimeError):  # it is in use already, as it was then set to be
            tf.config.experimental.set_memory_growth(gpu, True)  # PyTorch may want some of it, in the same process
    kind, _, number = (device or ("cuda" if gpus else "cpu")).partition(":")
    name = {"cpu": "CPU", "cuda": "GPU"}.get(kind)
    there = [each.name.removeprefix("/device:") for each in tf.config.list_logical_devices(name)] if name else []
    wanted = there if device is None and gpus else [f"{name}:{number or 0}"]
    if not wanted or not set(wanted) <= set(there):
        raise TrainError(f"TensorFlow has no device for model.device = {device}: unset it, or run 'ragtune train --backend torch'")
    return wanted


def strategy_over(devices: Sequence[str]) -> Any:
    """The same model on each device; each gets a share of the rows of a pass, and their gradients are summed."""
    if len(devices) == 1:
        return tf.distribute.OneDeviceStrategy(f"/{devices[0]}")
    on_host = any(device.startswith("CPU") for device in devices)
    operations = tf.distribute.ReductionToOneDevice() if on_host else None  # NCCL is for GPUs
    return tf.distribute.MirroredStrategy([f"/{device}" for device in devices], cross_device_ops=operations)


def best_dtype(devices: Sequence[str]) -> Dtype:
    """bfloat16 on GPUs that multiply it, else float32."""
    if devices[0].startswith("CPU"):
        return "float32"
    found = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    return "bfloat16" if all(each.get("compute_capability", (0, 0)) >= (8, 0) for each in found) else "float32"


def peak_memory(devices: Sequence[str]) -> Callable[[], float | None]:
    """Begin to measure the most memory in use: of the process on a CPU, else of the device that has most."""
    if devices[0].startswith("CPU"):
        return PeakMemory(torch.device("cpu"))
    for device in devices:
        tf.config.experimental.reset_memory_stats(device)
    return lambda: float(max(tf.config.experimental.get_memory_info(device)["peak"] for device in devices))


def room(devices: Sequence[str]) -> float | None:
    """Bytes that TensorFlow may have on each GPU; ``None`` on a CPU, where PyTorch's way to ask does."""
    if devices[0].startswith("CPU"):
        return None
    from tensorflow.python.client import device_lib  # there is no public way to ask

    limits = {each.name.removeprefix("/device:"): float(each.memory_limit) for each in device_lib.list_local_devices()}
    return min(limits[device] for device in devices)
