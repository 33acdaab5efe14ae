"""Memory on a device, shared with other libraries without copies: numpy, and by DLPack PyTorch, JAX, CuPy, TensorFlow …"""
from __future__ import annotations

import array
import ctypes
import math
import struct
import weakref
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

from . import _c, _dlpack
from ._library import Handle, encode, lib, out, shared_context, string, structure

__all__ = ["Array", "GPUDevice", "Stream", "Telemetry", "from_dlpack"]

_SIZES = {"f32": 4, "bf16": 2, "f16": 2, "i32": 4, "u8": 1}
_FORMATS = {"f32": "f", "bf16": "H", "f16": "e", "i32": "i", "u8": "B"}
_ARRAYS = {"f32": "f", "bf16": "H", "i32": "i", "u8": "B"}  # of the module array, which has no f16
_NUMPY = {"f32": "<f4", "f16": "<f2", "i32": "<i4", "u8": "|u1"}
_BY_FORMAT = {"f": "f32", "e": "f16", "i": "i32", "B": "u8", "b": "u8", "c": "u8", "H": "bf16"}


def numpy_or_none() -> Any:
    """numpy, where it is installed."""
    try:
        import numpy
    except ImportError:
        return None
    return numpy


# ---- host memory -----------------------------------------------------------------------------------------------------


class _Buffer(ctypes.Structure):
    """Py_buffer."""

    _fields_ = [("buf", ctypes.c_void_p), ("obj", ctypes.c_void_p), ("len", ctypes.c_ssize_t), ("itemsize", ctypes.c_ssize_t),
                ("readonly", ctypes.c_int), ("ndim", ctypes.c_int), ("format", ctypes.c_char_p), ("shape", ctypes.POINTER(ctypes.c_ssize_t)),
                ("strides", ctypes.POINTER(ctypes.c_ssize_t)), ("suboffsets", ctypes.POINTER(ctypes.c_ssize_t)), ("internal", ctypes.c_void_p)]


_get_buffer = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.POINTER(_Buffer), ctypes.c_int)(("PyObject_GetBuffer", ctypes.pythonapi))
_release_buffer = ctypes.PYFUNCTYPE(None, ctypes.POINTER(_Buffer))(("PyBuffer_Release", ctypes.pythonapi))
_CONTIGUOUS_WITH_FORMAT = 0x20 | 0x10 | 0x08 | 0x04  # PyBUF_C_CONTIGUOUS | PyBUF_FORMAT


class Host(NamedTuple):
    """Dense host memory of somebody's, as it is.  keep: what must live as long as it is used."""

    pointer: int
    dtype: str
    shape: Tuple[int, ...]
    keep: Any

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * _SIZES[self.dtype]


class _KeepBuffer:
    def __init__(self, view: _Buffer) -> None:
        self._view = view

    def __del__(self) -> None:
        _release_buffer(ctypes.byref(self._view))


def _from_buffer(source: Any) -> Host:
    view = _Buffer()
    try:
        _get_buffer(source, ctypes.byref(view), _CONTIGUOUS_WITH_FORMAT)
    except (BufferError, ValueError) as error:
        raise ValueError(f"{error}: make it contiguous first") from None
    keep = _KeepBuffer(view)
    code = (view.format or b"B").decode().lstrip("<=@")
    code = "i" if code == "l" and view.itemsize == 4 else code
    if code not in _BY_FORMAT:
        raise TypeError(f'elements of format "{code}" ({view.itemsize} bytes): float32, float16, int32 and uint8 are what libaios has')
    return Host(view.buf or 0, _BY_FORMAT[code], tuple(view.shape[axis] for axis in range(view.ndim)), keep)


def _from_lists(source: Sequence[Any], dtype: str) -> Host:
    """Nested lists: the one form that is copied."""
    shape, flat = [], list(source)
    shape.append(len(flat))
    while flat and isinstance(flat[0], (list, tuple)):
        shape.append(len(flat[0]))
        if any(len(row) != shape[-1] for row in flat):
            raise ValueError("nested lists whose lengths differ")
        flat = [item for row in flat for item in row]
    if dtype == "bf16":  # the upper halves of f32, rounded to the nearest
        wide = array.array("I", array.array("f", flat).tobytes())
        flat = [(bits + 0x7FFF + (bits >> 16 & 1)) >> 16 if bits & 0x7FFFFFFF <= 0x7F800000 else bits >> 16 | 0x40 for bits in wide]
    if dtype == "f16":
        held = bytearray(struct.pack(f"<{len(flat)}e", *flat))
        return _from_buffer(held)._replace(dtype=dtype, shape=tuple(shape))
    try:
        numbers = array.array(_ARRAYS[dtype], flat)
    except OverflowError as error:
        raise ValueError(f"a list has a number that {dtype} has not: {error}") from None
    return _from_buffer(numbers)._replace(dtype=dtype, shape=tuple(shape))


def host(source: Any, dtype: str = "f32") -> Host:
    """The memory of an array, tensor, buffer or (nested) list, without a copy but for lists, which become dtype."""
    if dtype not in _SIZES:
        raise ValueError(f'"{dtype}" is no type: {", ".join(_SIZES)} are')
    if isinstance(source, Array):
        return Host(source.host_pointer, source.dtype, source.shape, source)
    if isinstance(source, (list, tuple)):
        return _from_lists(source, dtype)
    try:
        memoryview(source)
    except TypeError:
        pass
    else:
        return _from_buffer(source)
    if not hasattr(source, "__dlpack__"):
        raise TypeError(f"an array, a tensor, a buffer or a list is needed, not {type(source).__name__}")
    taken = _dlpack.take(_dlpack.ask(source))
    if _dlpack.BACKENDS[taken.device[0]] != "cpu":
        raise ValueError(f"a tensor in host memory is needed, not one on {_dlpack.BACKENDS[taken.device[0]]}:{taken.device[1]}")
    return Host(taken.data, taken.dtype, taken.shape, taken.keep)


def typed(source: Any, dtype: str, what: str, shape: Optional[Tuple[int, ...]] = None) -> Host:
    """host(), of the type that is asked for, and of the shape, where it is known: a row of all its numbers will do too."""
    found = host(source, dtype)
    if found.dtype != dtype:
        raise TypeError(f"{what} has elements of type {dtype}, not {found.dtype}")
    if shape is not None and len(found.shape) > 1 and found.shape != shape and math.prod(found.shape) == math.prod(shape):
        raise ValueError(f"{what} has the shape {shape}, not {found.shape}")
    return found


def new_host(dtype: str, shape: Tuple[int, ...]) -> Tuple[Any, int]:
    """New host memory as a numpy array, or a memoryview where there is no numpy; and its address."""
    numpy = numpy_or_none()
    if numpy is not None and dtype in _NUMPY:
        made = numpy.empty(shape, _NUMPY[dtype])
        return made, int(made.ctypes.data)
    memory = bytearray(max(math.prod(shape) * _SIZES[dtype], 1))
    view = memoryview(memory)[: math.prod(shape) * _SIZES[dtype]].cast(_FORMATS[dtype], list(shape)) if math.prod(shape) else memoryview(b"")
    return view, ctypes.addressof(ctypes.c_char.from_buffer(memory))


# ---- devices ---------------------------------------------------------------------------------------------------------


class Telemetry(NamedTuple):
    """How busy, warm and hungry a device is; None for what its driver can't tell."""

    utilisation: Optional[float]  #: percent
    temperature: Optional[float]  #: degrees Celsius
    power: Optional[float]  #: watts
    power_limit: Optional[float]


class Stream(Handle):
    """Work on a device, in order."""

    def __init__(self, device: "GPUDevice") -> None:
        self._own("aios_stream_destroy", out(lib.aios_stream_create, device.handle), device)

    def synchronize(self) -> None:
        """Waits until all of it is done."""
        lib.aios_stream_synchronize(self.handle)


class GPUDevice(Handle):
    """One device, opened, whatever its vendor: "cuda:0", "hip:0", "xpu:0", "cpu", "gpu:0", a PCI address or UUID."""

    def __init__(self, spec: str = "cpu") -> None:
        self._adopt(out(lib.aios_device_open, shared_context().handle, encode(spec)))

    @classmethod
    def retained(cls, handle: int) -> "GPUDevice":
        """One more reference to a device that somebody else opened."""
        made = cls.__new__(cls)
        made._adopt(lib.aios_device_retain(handle))
        return made

    def _adopt(self, handle: int) -> None:
        self._own("aios_device_close", handle, shared_context())
        info = lib.aios_device_get_info(self.handle).contents
        self.spec: str = string(lib.aios_device_spec(self.handle))
        self.name: str = string(info.name)
        self.vendor: str = string(info.vendor)
        self.backend: str = string(info.backend)
        self.index: int = info.index
        self.memory_total: int = info.memory_total
        self.host_accessible: bool = bool(info.host_accessible)  #: whether the CPU may read and write its memory

    def set_device(self) -> None:
        """Makes it the current one of the calling thread, for other libraries of its vendor."""
        lib.aios_device_set_current(self.handle)

    def synchronize(self) -> None:
        """Waits for all of its work."""
        lib.aios_device_synchronize(self.handle)

    def create_stream(self) -> Stream:
        return Stream(self)

    def get_memory_info(self) -> Tuple[int, int]:
        """(free, total) bytes."""
        free, total = ctypes.c_uint64(), ctypes.c_uint64()
        lib.aios_device_memory_info(self.handle, ctypes.byref(free), ctypes.byref(total))
        return free.value, total.value

    def memory_used(self) -> Tuple[int, int]:
        """Bytes that this handle has given out: (now, at the most)."""
        now, peak = ctypes.c_uint64(), ctypes.c_uint64()
        lib.aios_device_memory_used(self.handle, ctypes.byref(now), ctypes.byref(peak))
        return now.value, peak.value

    def telemetry(self) -> Telemetry:
        """From any thread, also while the device trains."""
        now = structure("aios_telemetry")
        lib.aios_device_get_telemetry(self.handle, ctypes.byref(now))
        return Telemetry(*(value if value >= 0 else None for value in (now.utilisation, now.temperature, now.power, now.power_limit)))

    def empty(self, shape: Sequence[int], dtype: str = "f32") -> "Array":
        """New memory of any content.  dtype: f32, bf16, f16, i32, u8."""
        if dtype not in _SIZES:
            raise ValueError(f'"{dtype}" is no type: {", ".join(_SIZES)} are')
        if any(length < 0 for length in shape):
            raise ValueError(f"shape is {tuple(shape)}: no length may be negative")
        size = math.prod(shape) * _SIZES[dtype]
        pointer = ctypes.c_void_p()
        lib.aios_device_alloc(self.handle, max(size, 1), ctypes.byref(pointer))
        return Array(self, pointer.value or 0, dtype, tuple(shape), _Memory(self, pointer.value or 0))

    def array(self, source: Any, dtype: str = "f32") -> "Array":
        """A copy of an array, tensor, buffer or list on this device; dtype is a list's."""
        found = host(source, dtype)
        made = self.empty(found.shape, found.dtype)
        made.copy_from(found)
        return made

    def __repr__(self) -> str:
        return f"GPUDevice({self.spec!r}, {self.name!r})" if not self.closed else "GPUDevice(closed)"


class _Memory:
    """Memory of a device, given back with its last array, before the device is."""

    def __init__(self, device: GPUDevice, pointer: int) -> None:
        weakref.finalize(self, _free, device.handle, pointer, device._token)


def _free(device: int, pointer: int, _keep: Any) -> None:
    lib.aios_device_free(device, pointer)


class Array:
    """Dense memory on a device, in the order of C.

    np.asarray(array), np.from_dlpack(array), torch.from_dlpack(array) … look at the same memory, where they can reach it.  It lives as
    long as one of them does."""

    def __init__(self, device: GPUDevice, pointer: int, dtype: str, shape: Tuple[int, ...], keep: Any, read_only: bool = False) -> None:
        self.device = device
        self.pointer = pointer  #: the address on the device
        self.dtype = dtype  #: "f32", "bf16", "f16", "i32", "u8"
        self.shape = shape
        self.read_only = read_only
        self._keep = keep

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * _SIZES[self.dtype]

    @property
    def host_pointer(self) -> int:
        """The address for the CPU; a ValueError where it can't reach the device's memory."""
        if not self.device.host_accessible:
            raise ValueError(f"this array is in the memory of {self.device.spec}, which the CPU can't reach: use numpy(), or to(\"cpu\")")
        self.device.synchronize()
        return self.pointer

    @property
    def __array_interface__(self) -> Dict[str, Any]:
        if self.dtype not in _NUMPY:
            raise AttributeError(f"numpy has no {self.dtype}")
        return {"version": 3, "data": (self.host_pointer, self.read_only), "typestr": _NUMPY[self.dtype], "shape": self.shape}

    def __dlpack_device__(self) -> Tuple[int, int]:
        kind = _dlpack.DEVICE_TYPES[self.device.backend]
        return kind, 0 if kind == _dlpack.CPU else self.device.index

    def __dlpack__(self, *, stream: Optional[Any] = None, max_version: Optional[Tuple[int, int]] = None,
                   dl_device: Optional[Tuple[int, int]] = None, copy: Optional[bool] = None) -> Any:
        """For from_dlpack of other libraries.  All work on the memory is waited for, so any stream of theirs may go on."""
        if copy:
            raise BufferError("an array of libaios is shared as it is: copy it afterwards")
        if dl_device is not None and tuple(dl_device) != self.__dlpack_device__():
            raise BufferError(f"this array is on {self.device.spec}: to() brings it elsewhere")
        versioned = max_version is not None and max_version[0] >= 1
        if self.read_only and not versioned:
            raise BufferError("an array that may not be written can be shared by DLPack 1.0 and later alone")
        self.device.synchronize()
        return _dlpack.export(self, self.pointer, self.dtype, self.shape, self.__dlpack_device__(), versioned, self.read_only)

    def numpy(self) -> Any:
        """A numpy array: of this very memory where the CPU can reach it, else a copy."""
        numpy = numpy_or_none()
        if numpy is None:
            raise ImportError("Array.numpy() needs numpy; memory() does without")
        return numpy.asarray(self) if self.device.host_accessible else self.memory()

    def memory(self) -> Any:
        """A copy in host memory: a numpy array, or a memoryview where there is no numpy."""
        made, address = new_host(self.dtype, self.shape)
        self._transfer(address, self.pointer, _c.AIOS_COPY_DEVICE_TO_HOST)
        return made

    def tolist(self) -> List[Any]:
        made: List[Any] = self.memory().tolist()
        return made

    def copy_from(self, source: Any) -> None:
        """Copies an array, tensor, buffer or list of the same type and size into this one."""
        if self.read_only:
            raise ValueError("this array may not be written")
        if isinstance(source, Array) and source.device.spec == self.device.spec:
            self._same(source.dtype, source.nbytes)
            self._transfer(self.pointer, source.pointer, _c.AIOS_COPY_DEVICE_TO_DEVICE)
            return
        found = source if isinstance(source, Host) else host(source.memory() if isinstance(source, Array) else source, self.dtype)
        self._same(found.dtype, found.nbytes)
        self._transfer(self.pointer, found.pointer, _c.AIOS_COPY_HOST_TO_DEVICE)

    def _same(self, dtype: str, nbytes: int) -> None:
        if (dtype, nbytes) != (self.dtype, self.nbytes):
            raise ValueError(f"{nbytes} bytes of {dtype} do not fit an array of {self.nbytes} bytes of {self.dtype}")

    def _transfer(self, to: int, source: int, kind: int) -> None:
        if self.nbytes:
            with self.device.create_stream() as stream:
                lib.aios_stream_copy(stream.handle, to, source, self.nbytes, kind)
                stream.synchronize()

    def to(self, device: Union[str, GPUDevice]) -> "Array":
        """A copy on another device."""
        there = GPUDevice(device) if isinstance(device, str) else device
        made = there.empty(self.shape, self.dtype)
        made.copy_from(self)
        return made

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("an array of no dimensions has no length")
        return self.shape[0]

    def __repr__(self) -> str:
        return f"Array(shape={self.shape}, dtype={self.dtype!r}, device={self.device.spec!r})"


def from_dlpack(source: Any, device: Optional[GPUDevice] = None) -> Array:
    """An array over the memory of another library's tensor, without a copy; it lives as long as the array.

    device: the opened device that the tensor is on, where one is at hand already."""
    if not hasattr(source, "__dlpack_device__"):
        raise TypeError(f"a tensor that can be shared by DLPack is needed, not {type(source).__name__}: GPUDevice.array copies lists and buffers")
    kind, index = source.__dlpack_device__()
    if kind not in _dlpack.BACKENDS:
        raise ValueError(f"a tensor on DLPack device type {kind}: {', '.join(map(str, _dlpack.BACKENDS))} are what libaios can use")
    backend = _dlpack.BACKENDS[kind]
    there = device if device is not None else GPUDevice("cpu" if backend == "cpu" else f"{backend}:{index}")
    if there.backend != backend or (backend != "cpu" and there.index != index):
        raise ValueError(f"the tensor is on {backend}:{index}, not on {there.spec}")
    taken = _dlpack.take(_dlpack.ask(source))
    there.synchronize()  # the producer's work on it may be under way
    return Array(there, taken.data, taken.dtype, taken.shape, taken.keep, taken.read_only)
