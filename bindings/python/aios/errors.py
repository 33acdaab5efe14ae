"""Exceptions: one class for each status of the library, each with the library's own sentence.

All of them are :class:`Error`; most are also the Python exception that a caller would expect (``ValueError``, ``MemoryError`` …), so code
that knows nothing of libaios handles them too."""
from __future__ import annotations

from typing import Dict, Optional, Tuple, Type

__all__ = ["Error", "InvalidArgumentError", "OutOfRangeError", "NotFoundError", "AlreadyExistsError", "OutOfMemoryError",
           "DeviceOutOfMemoryError", "InputOutputError", "CorruptError", "UnsupportedError", "UnavailableError", "AbiMismatchError",
           "DeviceError", "DeviceLostError", "TimedOutError", "StoppedError", "NotFiniteError", "WrongStateError", "InternalError"]


class Error(Exception):
    """What libaios could not do.  ``str(error)`` is the library's message."""

    status: str = ""  #: "NOT_FOUND": the name of the code in the C headers, without ``AIOS_``

    def __init__(self, message: str, *, status: Optional[str] = None, code: int = 0, frames: Tuple[str, ...] = (), backend: str = "",
                 native_code: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.code = code  #: the number of the status
        self.frames = frames  #: what the library was doing, innermost first: ("opening run/config.json",)
        self.backend = backend  #: "cuda", where a device call failed, with …
        self.native_code = native_code  #: … that driver's own code
        if status is not None:
            self.status = status

    def __str__(self) -> str:
        return self.message


class InvalidArgumentError(Error, ValueError):
    """An argument or option has a value that is never right."""
    status = "INVALID_ARGUMENT"


class OutOfRangeError(Error, ValueError):
    """A number lies outside what is allowed."""
    status = "OUT_OF_RANGE"


class NotFoundError(Error, LookupError):
    """A file, device, option or tensor of that name is not there; of an option, the message names the nearest one."""
    status = "NOT_FOUND"


class AlreadyExistsError(Error):
    """The name is taken."""
    status = "ALREADY_EXISTS"


class OutOfMemoryError(Error, MemoryError):
    """The host has no memory left for this."""
    status = "OUT_OF_MEMORY"


class DeviceOutOfMemoryError(Error, MemoryError):
    """The device has no memory left for this."""
    status = "DEVICE_OUT_OF_MEMORY"


class InputOutputError(Error):
    """The operating system refused to read or write."""
    status = "IO"


class CorruptError(Error, ValueError):
    """A file does not hold what its format promises."""
    status = "CORRUPT"


class UnsupportedError(Error):
    """The device, format or combination can't do this."""
    status = "UNSUPPORTED"


class UnavailableError(Error):
    """A driver or library that this needs is not on this machine."""
    status = "UNAVAILABLE"


class AbiMismatchError(Error):
    """This package, or a plugin, was built for another libaios."""
    status = "ABI_MISMATCH"


class DeviceError(Error):
    """The device reported a failure."""
    status = "DEVICE_ERROR"


class DeviceLostError(DeviceError):
    """The device is gone or no longer usable in this process."""
    status = "DEVICE_LOST"


class TimedOutError(Error, TimeoutError):
    """The deadline passed."""
    status = "TIMEOUT"


class StoppedError(Error):
    """A stop was asked for and obeyed."""
    status = "STOPPED"


class NotFiniteError(Error, ArithmeticError):
    """Training gave NaN or infinity too often in a row."""
    status = "NOT_FINITE"


class WrongStateError(Error):
    """The object is not in a state where this call makes sense; it may be closed."""
    status = "WRONG_STATE"


class InternalError(Error):
    """A promise inside libaios was broken: please report it."""
    status = "INTERNAL"


def _classes(base: Type[Error]) -> Dict[str, Type[Error]]:
    found: Dict[str, Type[Error]] = {}
    for kind in base.__subclasses__():
        found[kind.status] = kind
        found.update(_classes(kind))
    return found


BY_STATUS: Dict[str, Type[Error]] = _classes(Error)
