"""How much memory a run will take of each device, before any is taken (aios/estimate.h)."""
from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any, List, Optional, Tuple

from . import _c
from ._library import Handle, lib, out, shared_context, string, structure
from ._model import Model
from ._options import Options

__all__ = ["DeviceMemory", "Estimate", "estimate"]


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes of one device; the parts sum to total."""

    spec: str
    name: str
    assumed: bool  #: not a device of this machine: a typical one of its make is meant
    parameters: int
    gradients: int
    optimizer: int
    activations: int
    workspace: int
    exchange: int
    evaluation: int
    total: int
    host: int  #: beside it: host memory that the driver pins
    memory: Optional[int]  #: what there is; None: not known


@dataclass(frozen=True)
class Estimate:
    """Of a run."""

    devices: Tuple[DeviceMemory, ...]
    parameters: int  #: trained numbers of the model
    sequence: int  #: tokens of a sample
    largest_batch: Optional[int]  #: the largest batch_size that fits every device; None: a device's memory is not known

    @property
    def fits(self) -> bool:
        return all(device.memory is None or device.total <= device.memory for device in self.devices)


class _Estimate(Handle):
    """aios_estimate."""


def estimate(model: Any = None, *, memory: int = 0, **options: Any) -> Estimate:
    """Keywords are Trainer's; a dataset_file is not needed.  Devices that are not here are named by backend and number: ["cuda:0", "hip:1"].
    memory: bytes of each device; 0: what is free."""
    context = shared_context()
    own = model if isinstance(model, Model) else None
    given = {**options, **({"model": model} if model is not None and own is None else {})}
    made = _Estimate()
    with Options(context, "train", given) as chosen:
        made._own("aios_estimate_destroy",
                  out(lib.aios_estimate_create, context.handle, chosen.handle, own.handle if own else None, memory), context)
    found: List[DeviceMemory] = []
    with made:
        for index in range(lib.aios_estimate_device_count(made.handle)):
            info = structure("aios_device_estimate")
            lib.aios_estimate_device(made.handle, index, ctypes.byref(info))
            values = {name: getattr(info, name) for name, *_ in _c.aios_device_estimate._fields_ if name != "struct_size"}
            values.update(spec=string(info.spec), name=string(info.name), assumed=bool(info.assumed), memory=info.memory or None)
            found.append(DeviceMemory(**values))
        batch = lib.aios_estimate_largest_batch(made.handle)
        return Estimate(tuple(found), lib.aios_estimate_parameters(made.handle), lib.aios_estimate_sequence(made.handle),
                        batch if batch >= 0 else None)
