"""DLPack (dmlc/dlpack, v1.0) in ctypes: capsules of both kinds, made and taken.

A capsule owns a managed tensor until somebody takes it by renaming it; whoever has the tensor calls its deleter once.  Destructors are
called while their capsule dies, so they get its address, never an object."""
from __future__ import annotations

import ctypes
from ctypes import (CFUNCTYPE, POINTER, Structure, c_char_p, c_int, c_int32, c_int64, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p, py_object,
                    pythonapi)
from typing import Any, Dict, NamedTuple, Optional, Tuple

CPU, CUDA, CUDA_HOST, ROCM, ROCM_HOST, CUDA_MANAGED, ONEAPI = 1, 2, 3, 10, 11, 13, 14
DEVICE_TYPES = {"cpu": CPU, "cuda": CUDA, "hip": ROCM, "xpu": ONEAPI}
BACKENDS = {CPU: "cpu", CUDA: "cuda", CUDA_HOST: "cpu", ROCM: "hip", ROCM_HOST: "cpu", CUDA_MANAGED: "cuda", ONEAPI: "xpu"}
# (code, bits): kDLInt 0, kDLUInt 1, kDLFloat 2, kDLBfloat 4
CODES = {"f32": (2, 32), "bf16": (4, 16), "f16": (2, 16), "i32": (0, 32), "u8": (1, 8)}
_TYPES = {code: name for name, code in CODES.items()}
READ_ONLY = 1
NAME, TAKEN = b"dltensor", b"used_dltensor"
NAME_VERSIONED, TAKEN_VERSIONED = b"dltensor_versioned", b"used_dltensor_versioned"
VERSION = (1, 0)


class _Device(Structure):
    _fields_ = [("type", c_int32), ("id", c_int32)]


class _Type(Structure):
    _fields_ = [("code", c_uint8), ("bits", c_uint8), ("lanes", c_uint16)]


class _Tensor(Structure):
    _fields_ = [("data", c_void_p), ("device", _Device), ("ndim", c_int32), ("dtype", _Type), ("shape", POINTER(c_int64)),
                ("strides", POINTER(c_int64)), ("byte_offset", c_uint64)]


_Deleter = CFUNCTYPE(None, c_void_p)


class _Managed(Structure):
    _fields_ = [("tensor", _Tensor), ("context", c_void_p), ("deleter", _Deleter)]


class _Version(Structure):
    _fields_ = [("major", c_uint32), ("minor", c_uint32)]


class _ManagedVersioned(Structure):
    _fields_ = [("version", _Version), ("context", c_void_p), ("deleter", _Deleter), ("flags", c_uint64), ("tensor", _Tensor)]


_Destructor = CFUNCTYPE(None, c_void_p)
_new = pythonapi.PyCapsule_New
_new.restype, _new.argtypes = py_object, [c_void_p, c_char_p, c_void_p]
# By address, for destructors: PyDLL keeps the GIL, as these need it.
_prototype = ctypes.PYFUNCTYPE(c_int, c_void_p, c_char_p)
_is_valid = _prototype(("PyCapsule_IsValid", pythonapi))
_get_pointer = ctypes.PYFUNCTYPE(c_void_p, c_void_p, c_char_p)(("PyCapsule_GetPointer", pythonapi))
_set_name = ctypes.PYFUNCTYPE(c_int, py_object, c_char_p)(("PyCapsule_SetName", pythonapi))

_exported: Dict[int, Tuple[Any, ...]] = {}  # address of a managed tensor: what lives until its deleter is called


def _give_back(managed: int) -> None:
    _exported.pop(managed, None)


def _forget_capsule(capsule: int) -> None:
    """A capsule that nobody took."""
    for name, kind in ((NAME, _Managed), (NAME_VERSIONED, _ManagedVersioned)):
        if _is_valid(capsule, name):
            managed = kind.from_address(_get_pointer(capsule, name))
            managed.deleter(ctypes.addressof(managed))


_delete, _destroy = _Deleter(_give_back), _Destructor(_forget_capsule)


def export(owner: Any, data: int, dtype: str, shape: Tuple[int, ...], device: Tuple[int, int], versioned: bool, read_only: bool = False) -> Any:
    """A capsule of dense memory that lives as long as `owner`, which the capsule keeps."""
    code, bits = CODES[dtype]
    lengths = (c_int64 * max(len(shape), 1))(*shape)
    steps, step = (c_int64 * max(len(shape), 1))(), 1
    for axis in reversed(range(len(shape))):
        steps[axis], step = step, step * shape[axis]
    tensor = _Tensor(data, _Device(*device), len(shape), _Type(code, bits, 1), lengths, steps, 0)
    managed: Any
    if versioned:
        managed = _ManagedVersioned(_Version(*VERSION), None, _delete, READ_ONLY if read_only else 0, tensor)
    else:
        managed = _Managed(tensor, None, _delete)
    address = ctypes.addressof(managed)
    _exported[address] = (managed, lengths, steps, owner)
    return _new(address, NAME_VERSIONED if versioned else NAME, ctypes.cast(_destroy, c_void_p))


class Taken(NamedTuple):
    """What a capsule held.  keep: calls the deleter when it goes."""

    data: int
    dtype: str
    shape: Tuple[int, ...]
    device: Tuple[int, int]
    read_only: bool
    keep: Any


class _Keep:
    """Gives a tensor of another library back."""

    def __init__(self, managed: Any) -> None:
        self._managed = managed

    def __del__(self) -> None:
        if self._managed.deleter:
            self._managed.deleter(ctypes.addressof(self._managed))


def take(capsule: Any) -> Taken:
    """The tensor of a capsule, which is used up.  It must be dense, in the order of C, and of a type that libaios has."""
    address = id(capsule)  # of the object, in CPython
    versioned = bool(_is_valid(address, NAME_VERSIONED))
    if not versioned and not _is_valid(address, NAME):
        raise ValueError("this is no DLPack capsule, or its tensor was taken already")
    managed: Any = (_ManagedVersioned if versioned else _Managed).from_address(_get_pointer(address, NAME_VERSIONED if versioned else NAME))
    if versioned and managed.version.major > VERSION[0]:
        raise ValueError(f"this capsule is of DLPack {managed.version.major}.{managed.version.minor}: up to major version {VERSION[0]} is known")
    tensor = managed.tensor
    dtype = _TYPES.get((tensor.dtype.code, tensor.dtype.bits)) if tensor.dtype.lanes == 1 else None
    if dtype is None:
        raise TypeError(f"a tensor of DLPack type {tensor.dtype.code} with {tensor.dtype.bits} bits: {', '.join(CODES)} are what libaios has")
    shape = tuple(tensor.shape[axis] for axis in range(tensor.ndim))
    if tensor.strides:
        step = 1
        for axis in reversed(range(len(shape))):
            if shape[axis] > 1 and tensor.strides[axis] != step:
                raise ValueError("a tensor with gaps or in another order than C's: make it contiguous first")
            step *= shape[axis]
    if tensor.device.type not in BACKENDS:
        raise ValueError(f"a tensor on DLPack device type {tensor.device.type}: {', '.join(map(str, BACKENDS))} are what libaios can use")
    _set_name(capsule, TAKEN_VERSIONED if versioned else TAKEN)
    return Taken((tensor.data or 0) + tensor.byte_offset, dtype, shape, (tensor.device.type, tensor.device.id),
                 bool(versioned and managed.flags & READ_ONLY), _Keep(managed))


def ask(source: Any, stream: Optional[int] = None) -> Any:
    """source.__dlpack__() in the newest form that it knows."""
    try:
        return source.__dlpack__(stream=stream, max_version=VERSION)
    except TypeError:
        return source.__dlpack__() if stream is None else source.__dlpack__(stream=stream)
