"""What devices there are, and what a run makes of those that a user selects."""
from __future__ import annotations

import ctypes
import json
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple, Union

from . import _c
from ._library import Context, Handle, borrowed, encode, joined, lib, optional, out, shared_context, string, structure

Selection = Union[None, str, Iterable[Union[str, int]], Mapping[str, Any]]
_KINDS = {_c.AIOS_DEVICE_DISCRETE: "discrete", _c.AIOS_DEVICE_INTEGRATED: "integrated", _c.AIOS_DEVICE_CPU: "cpu"}
_PRECISIONS = ((_c.AIOS_F32, "32"), (_c.AIOS_F16, "16-mixed"), (_c.AIOS_BF16, "bf16-mixed"))


@dataclass(frozen=True)
class Device:
    """A device of this machine, as it was when the list was made."""

    spec: str  #: "cuda:0": what Trainer, resolve and GPUDevice take
    id: int  #: counts GPUs from 0 in the order cuda, xpu, hip; -1: a CPU
    name: str  #: "NVIDIA H200"
    vendor: str
    backend: str  #: "cpu", "cuda", "hip", "xpu"
    kind: str  #: "discrete", "integrated", "cpu"
    index: int  #: the backend's own number
    memory_total: int  #: bytes
    memory_free: int
    architecture: str  #: "9.0", "gfx942", "dg2", "avx512"
    driver_version: str
    pci_address: str
    uuid: str
    compute_units: int
    precisions: Tuple[str, ...]  #: of "32", "16-mixed", "bf16-mixed"
    weight: float = field(default=0.0)  #: its part of the GPUs' work as planned by memory and make; 0 for a CPU

    @property
    def is_gpu(self) -> bool:
        return self.id >= 0

    @property
    def memory_gb(self) -> float:
        """Gigabytes of 10^9 bytes, with one decimal."""
        return round(self.memory_total / 1e9, 1)

    @property
    def word(self) -> str:
        """"gpu:0" for a GPU, "cpu" for the only CPU: how selections are written and kept."""
        return f"gpu:{self.id}" if self.is_gpu else "cpu" if self.index == 0 else self.spec


@dataclass(frozen=True)
class Backend:
    """A backend that was looked for, usable or not."""

    name: str
    usable: bool
    reason: str  #: why it can't be used, or which of its devices are left out; "" otherwise
    device_count: int
    version: str
    path: str


class Devices(List[Device]):
    """The devices, and why what is missing is missing: ``backends``."""

    backends: List[Backend]

    @property
    def gpus(self) -> List[Device]:
        return [device for device in self if device.is_gpu]


class DeviceList(Handle):
    """aios_device_list."""

    def __init__(self, context: Context) -> None:
        self._own("aios_device_list_destroy", out(lib.aios_device_list_create, context.handle), context)


def _device(entry: Any, weight: float) -> Device:
    info = entry.info
    return Device(
        spec=string(entry.spec), id=entry.id, name=string(info.name), vendor=string(info.vendor), backend=string(info.backend),
        kind=_KINDS.get(info.kind, "discrete"), index=info.index, memory_total=info.memory_total, memory_free=entry.memory_free,
        architecture=string(info.architecture), driver_version=string(info.driver_version), pci_address=string(info.pci_address),
        uuid=string(info.uuid), compute_units=info.compute_units,
        precisions=tuple(name for bit, name in _PRECISIONS if info.storage_types >> bit & 1), weight=weight)


def devices() -> Devices:
    """Looks at every backend and lists its devices, the GPUs first."""
    with DeviceList(shared_context()) as found:
        made = Devices()
        for i in range(lib.aios_device_list_count(found.handle)):
            made.append(_device(lib.aios_device_list_get(found.handle, i).contents, lib.aios_device_list_get_weight(found.handle, i)))
        made.sort(key=lambda device: (not device.is_gpu, device.id, device.index))
        made.backends = []
        for i in range(lib.aios_device_list_backend_count(found.handle)):
            entry = borrowed(lib.aios_device_list_get_backend(found.handle, i))
            made.backends.append(Backend(string(entry.name), entry.status == _c.AIOS_OK, string(entry.reason), entry.device_count,
                                         string(entry.version), string(entry.path)))
        return made


def selection_text(selection: Selection) -> Optional[bytes]:
    """A selection as the library reads it."""
    if selection is None:
        return None
    if isinstance(selection, str):
        return encode(selection)
    if isinstance(selection, Mapping):
        return encode(json.dumps(selection))
    return encode(joined(selection))


class Hardware(Handle):
    """What a run uses, resolved from a selection.  Made by :func:`resolve` and :func:`load_selection`."""

    def __init__(self, handle: int, context: Context) -> None:
        self._own("aios_hardware_destroy", handle, context)
        self._json: Dict[str, Any] = json.loads(string(lib.aios_hardware_json(handle)))
        self.accelerator: str = string(lib.aios_hardware_accelerator(handle))  #: "gpu" or "cpu"
        self.strategy: str = string(lib.aios_hardware_strategy(handle))  #: "auto", "ddp" or "parallel_independent"
        self.precision: str = string(lib.aios_hardware_precision(handle))
        self.platform: str = string(lib.aios_hardware_platform(handle))  #: "linux", "windows", "macos"
        self.devices: Union[str, List[Union[int, str]]] = self._json["devices"]  #: [0, 1]; "auto" for the CPU
        self.specs: List[str] = self._strings("device")  #: ["cuda:0", "hip:0"]: to train on, in the order of the selection
        self.inference_specs: List[str] = self._strings("inference_device", "inference_count")
        self.requested: List[str] = self._strings("requested")  #: the words of the selection, the unusable ones too
        self.notes: List[str] = self._strings("note")  #: sentences for the user
        self.changes: List[str] = self._strings("change")  #: what is other than when the selection was saved
        self.warnings: List[str] = self._strings("warning")  #: tokens: "mixed_device_selection"
        self.warning_messages: List[str] = [string(lib.aios_warning_message(encode(token))) for token in self.warnings]
        self.effective_batch_size: int = lib.aios_hardware_effective_batch_size(handle)  #: 0 where batch_size was not given
        self.learning_rate_scale: int = lib.aios_hardware_learning_rate_scale(handle)
        self.loader_workers: int = lib.aios_hardware_loader_workers(handle)

    def _strings(self, what: str, count: str = "") -> List[str]:
        get = getattr(lib, f"aios_hardware_{what}")
        made = []
        for i in range(getattr(lib, f"aios_hardware_{count or what + '_count'}")(self.handle)):
            item = get(self.handle, i)
            made.append(string(item if isinstance(item, bytes) else item.contents.spec))
        return made

    def as_dict(self) -> Dict[str, Any]:
        """All of it, as `aios resolve --json` prints it."""
        return dict(self._json)

    def save(self, path: Any) -> None:
        """Keeps the selection in a file, replaced atomically; load_selection reads it back."""
        lib.aios_hardware_save(self.handle, encode(path))

    def __repr__(self) -> str:
        return f"Hardware(accelerator={self.accelerator!r}, devices={self.devices!r}, strategy={self.strategy!r}, precision={self.precision!r})"


def _wishes(batch_size: int, num_workers: int, precision: Optional[str], strategy: Optional[str], os: Optional[str], keep_cpu: bool,
            fallback: bool) -> Any:
    return ctypes.byref(structure("aios_hardware_options", batch_size=batch_size, num_workers=num_workers, precision=optional(precision),
                                  strategy=optional(strategy), os=optional(os), keep_cpu=int(keep_cpu), fallback=int(fallback)))


def resolve(selection: Selection = None, *, batch_size: int = 0, num_workers: int = 0, precision: Optional[str] = None,
            strategy: Optional[str] = None, os: Optional[str] = None, keep_cpu: bool = False, fallback: bool = False) -> Hardware:
    """From selected devices to what a run uses: accelerator, devices, strategy, precision, and what to tell the user.

    selection: a list of words (["gpu:0", "cpu"]), a text of them, or the dict of a configuration ({"selected_devices": [...], "precision":
    "32"}).  None is the default: the first GPU, else the CPU.  An empty list is an error: "No device selected".
    fallback: go on with what is there where a device is missing, with a warning, instead of raising.  keep_cpu: a CPU beside GPUs trains too.
    os: "linux", "windows", "macos": whose rules hold; None: this system's."""
    context = shared_context()
    handle = ctypes.c_void_p()
    lib.aios_hardware_resolve(context.handle, None, selection_text(selection),
                              _wishes(batch_size, num_workers, precision, strategy, os, keep_cpu, fallback), ctypes.byref(handle))
    return Hardware(handle.value or 0, context)


def load_selection(path: Any, *, batch_size: int = 0, num_workers: int = 0, precision: Optional[str] = None, strategy: Optional[str] = None,
                   os: Optional[str] = None, keep_cpu: bool = False) -> Hardware:
    """Resolves the selection that a file keeps against the devices of now.  What is gone stays selected, is not used and is in `changes`."""
    context = shared_context()
    handle = ctypes.c_void_p()
    lib.aios_hardware_load(context.handle, None, encode(path), _wishes(batch_size, num_workers, precision, strategy, os, keep_cpu, True),
                           ctypes.byref(handle))
    return Hardware(handle.value or 0, context)


def warning_message(token: str) -> str:
    """The sentence that goes with a warning's token: the same in every program that uses libaios."""
    found = lib.aios_warning_message(encode(token))
    if found is None:
        known = ", ".join(string(lib.aios_warning_token(i)) for i in range(lib.aios_warning_count()))
        raise LookupError(f'"{token}" is no warning: {known} are')
    return string(found)
