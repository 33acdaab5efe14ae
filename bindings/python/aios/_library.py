"""The shared library: where it is found, how its calls become Python, who owns its handles."""
from __future__ import annotations

import ctypes
import glob
import logging
import operator
import os
import queue
import sys
import sysconfig
import threading
import weakref
from array import array
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple, TypeVar

from . import _c, errors

_HERE = os.path.dirname(os.path.abspath(__file__))
NATIVE = os.path.join(_HERE, "_native")  # what a wheel carries: lib/, bin/, share/
_MAJOR = _c.AIOS_VERSION_MAJOR
_NAMES = {"win32": f"aios-{_MAJOR}.dll", "darwin": f"libaios.{_MAJOR}.dylib"}
NAME = _NAMES.get(sys.platform, f"libaios.so.{_MAJOR}")
_STATUS_NAMES = {code: name for name, code, _ in _c.STATUSES}
_LEVELS = {_c.AIOS_LOG_ERROR: logging.ERROR, _c.AIOS_LOG_WARNING: logging.WARNING, _c.AIOS_LOG_INFO: logging.INFO, _c.AIOS_LOG_DEBUG: logging.DEBUG}
logger = logging.getLogger("aios")

Self = TypeVar("Self", bound="Handle")
_POLL = 0.2  # seconds: on systems where a wait can't be interrupted, Ctrl-C is seen after so long


def _open() -> Any:
    """AIOS_LIBRARY, else the one that the wheel carries, that of the prefix where the package is installed, the system's."""
    bundled = os.path.join(NATIVE, "lib", NAME)
    prefix = os.path.dirname(os.path.dirname(os.path.dirname(_HERE)))  # of PREFIX/python3/dist-packages/aios
    places = [bundled, os.path.join(prefix, sysconfig.get_config_var("MULTIARCH") or "", NAME), os.path.join(prefix, NAME)]
    path = os.environ.get("AIOS_LIBRARY") or next((place for place in places if os.path.exists(place)), NAME)
    if path == bundled:
        # What libaios itself needs, where this machine has none: a library that is loaded is found by its name.
        for needed in sorted(glob.glob(os.path.join(NATIVE, "lib", "needed", "*"))):
            try:
                ctypes.CDLL(os.path.basename(needed))
            except OSError:
                ctypes.CDLL(needed, mode=ctypes.RTLD_GLOBAL)
    try:
        return ctypes.CDLL(path)
    except OSError as error:
        raise ImportError(f"the shared library of libaios could not be opened: {error}.  Install libaios, or a wheel that carries it, or name the "
                          f"file in AIOS_LIBRARY") from error


# ---- numbers ---------------------------------------------------------------------------------------------------------


def _limits(kind: Any) -> Tuple[int, int]:
    bits = 8 * ctypes.sizeof(kind)
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if kind(-1).value < 0 else (0, (1 << bits) - 1)


_LIMITS: Dict[Any, Tuple[int, int]] = {kind: _limits(kind) for kind in (ctypes.c_int32, ctypes.c_uint32, ctypes.c_int64, ctypes.c_uint64, ctypes.c_size_t)}


def whole(value: Any, kind: Any, what: str) -> int:
    """A whole number of a C type, of which ctypes would silently keep the lowest bits alone."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{what} must be a whole number, not {value!r} ({type(value).__name__})") from None
    least, most = _LIMITS[kind]
    if not least <= number <= most:
        raise errors.OutOfRangeError(f"{what} is {number}: it must be from {least} to {most}")
    return number


def int32s(values: Any, what: str) -> Any:
    """A C array of whole numbers."""
    try:
        numbers = array("i", iter(values))
    except OverflowError:
        raise errors.OutOfRangeError(f"{what} has a number of more than 32 bits") from None
    except TypeError as error:
        raise TypeError(f"{what} must be whole numbers: {error}") from None
    return (ctypes.c_int32 * len(numbers)).from_buffer(numbers) if numbers else (ctypes.c_int32 * 0)()


def _checked(function: Any, parameters: List[Any], names: List[str]) -> Any:
    """The function, with whole numbers looked at first."""
    looked_at = [(index, kind, names[index]) for index, kind in enumerate(parameters) if kind in _LIMITS]

    def call(*arguments: Any) -> Any:
        given = list(arguments)
        for index, kind, name in looked_at:
            given[index] = whole(given[index], kind, name)
        return function(*given)

    return call if looked_at else function


# ---- functions -------------------------------------------------------------------------------------------------------


class _Library:
    """The functions of libaios by their C names, opened at the first use, with the prototypes of the headers.  A function that returns
    aios_status raises what is not AIOS_OK.  The GIL is free during every call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._dll: Any = None

    @property
    def dll(self) -> Any:
        with self._lock:
            if self._dll is None:
                self._dll = _open()
            return self._dll

    def __getattr__(self, name: str) -> Any:
        if name not in _c.PROTOTYPES:
            raise AttributeError(name)
        result, parameters, names = _c.PROTOTYPES[name]
        try:
            function = self.dll[name]  # by index: an object of our own
        except AttributeError:
            raise ImportError(f"{self.dll._name} has no {name}: this package is of libaios {_c.VERSION}, an older library was found") from None
        function.argtypes = parameters
        function.restype = ctypes.c_int32 if result is _c.STATUS else result
        if result is _c.STATUS:
            function.errcheck = _check
        made = _checked(function, parameters, names)
        setattr(self, name, made)
        return made


lib = _Library()


def _check(status: int, _function: Any, _arguments: Tuple[Any, ...]) -> int:
    if status != _c.AIOS_OK:
        raise last_error(status)
    return status


def last_error(status: int) -> errors.Error:
    """The exception that says what the calling thread's last failure was."""
    name = _STATUS_NAMES.get(status, f"STATUS_{status}")
    message = string(lib.aios_error_message()) or name
    frames: List[str] = []
    while True:
        frame = lib.aios_error_frame(len(frames))
        if frame is None:
            break
        frames.append(string(frame))
    return errors.BY_STATUS.get(name, errors.Error)(message, status=name, code=status, frames=tuple(frames),
                                                    backend=string(lib.aios_error_backend()), native_code=lib.aios_error_native_code())


def string(text: Optional[bytes]) -> str:
    """A string of the library."""
    return (text or b"").decode("utf-8", "surrogateescape")


def encode(text: Any) -> bytes:
    """A string for the library: text, or the path that an object stands for."""
    made = os.fspath(text) if isinstance(text, os.PathLike) else text
    if not isinstance(made, (str, bytes)):
        raise TypeError(f"a string or a path is needed, not {type(text).__name__}")
    made = made.encode("utf-8", "surrogateescape") if isinstance(made, str) else made
    if b"\0" in made:
        raise ValueError(f"{made!r} holds a zero byte, which no string of libaios can")
    return made


def optional(text: Any) -> Optional[bytes]:
    return None if text is None else encode(text)


def structure(name: str, /, **values: Any) -> Any:
    """A structure of the headers with struct_size and the defaults of its _INIT macro set."""
    kind = getattr(_c, name)
    made = kind()
    made.struct_size = ctypes.sizeof(kind)
    kinds: Dict[str, Any] = dict(kind._fields_)
    for field, value in {**_c.DEFAULTS.get(name, {}), **values}.items():
        setattr(made, field, whole(value, kinds[field], field) if kinds.get(field) in _LIMITS else value)
    return made


def borrowed(pointer: Any) -> Any:
    """What a pointer to a structure points to; None for NULL."""
    return pointer.contents if pointer else None


def out(function: Callable[..., Any], *arguments: Any) -> int:
    """Calls a function whose last parameter gets the handle that it makes."""
    handle = ctypes.c_void_p()
    function(*arguments, ctypes.byref(handle))
    return handle.value or 0


# ---- handles ---------------------------------------------------------------------------------------------------------


def _destroy(function: str, handle: int, _keep: Tuple[Any, ...]) -> None:
    getattr(lib, function)(handle)


_leaked: List[Any] = []  # with what those objects need, callbacks among it


class Token:
    """Gives a C object back when nobody holds the token any more, and at the end of the process.  The finalizer holds what the object needs,
    so neither the order of the garbage collector nor that of the end of a process matters."""

    def __init__(self, give_back: Callable[..., Any], *arguments: Any) -> None:
        self._finalizer = weakref.finalize(self, give_back, *arguments)

    def leak(self) -> None:
        """Never gives it back: a call that nobody waits for any more may use it as long as the process lives."""
        _leaked.append(self._finalizer.detach())


class Handle:
    """Something that the library made and that is given back once: by close(), at the end of a with statement, or when nobody has it any
    more.  What it was made from lives at least as long, and so does what arrays look at."""

    _token: Optional[Token] = None
    _handle: Optional[int] = None

    def _own(self, destroy: str, handle: int, *keep: Any) -> None:
        """keep: what must outlive the C object; those that are handles close this one before themselves."""
        self._adopt_token(Token(_destroy, destroy, handle, tokens(keep)), handle, *keep)

    def _adopt_token(self, token: Optional[Token], handle: int, *parents: Any) -> None:
        self._token, self._handle = token, handle
        self._dependents: weakref.WeakSet[Handle] = weakref.WeakSet()
        for parent in parents:
            if isinstance(parent, Handle):
                parent._dependents.add(self)

    @property
    def handle(self) -> int:
        """The address of the C object, for ctypes and cffi programs that go on from here."""
        if self._handle is None:
            raise errors.WrongStateError(f"this {type(self).__name__} is closed")
        return self._handle

    @property
    def closed(self) -> bool:
        return self._handle is None

    def close(self) -> None:
        """Gives the object back, or has it given back with the last array that looks at its memory; calling it again does nothing."""
        if self._handle is not None:
            for dependent in list(self._dependents):
                dependent.close()
        self._handle = self._token = None

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def tokens(keep: Tuple[Any, ...]) -> Tuple[Any, ...]:
    """What holds the C objects of handles, whatever becomes of the handles; other things as they are."""
    return tuple(thing._token if isinstance(thing, Handle) else thing for thing in keep)


class Context(Handle):
    """aios_context: log lines go to the logger "aios", events to a function, from whatever thread they come."""

    def __init__(self, on_event: Optional[Callable[[str, str], None]] = None) -> None:
        def log(_user: Any, level: int, message: bytes) -> None:
            logger.log(_LEVELS.get(level, logging.INFO), "%s", string(message))

        def event(_user: Any, name: bytes, fields: bytes) -> None:
            if on_event is not None:
                on_event(string(name), string(fields))

        level = _c.AIOS_LOG_DEBUG if logger.isEnabledFor(logging.DEBUG) else _c.AIOS_LOG_INFO
        callbacks = (_c.aios_log_fn(log), _c.aios_event_fn(event))
        made = structure("aios_context_options", log_level=level, log=callbacks[0])
        if on_event is not None:
            made.event = callbacks[1]
        self._own("aios_context_destroy", out(lib.aios_context_create, ctypes.byref(made)), callbacks)

_shared: Optional[Context] = None
_shared_lock = threading.Lock()


def shared_context() -> Context:
    """The context of whatever reports no events."""
    global _shared
    with _shared_lock:
        if _shared is None or _shared.closed:
            _shared = Context()
        return _shared


def patiently(work: Callable[[], Any], *used: Handle) -> Any:
    """A call that may take long, on a thread of its own, so that Ctrl-C comes through at once: on the thread that waits in C, Python would
    raise it in the first callback, where it is lost.  used: what the call needs; it goes on without being waited for."""
    done: "queue.SimpleQueue[Tuple[Any, Optional[BaseException]]]" = queue.SimpleQueue()

    def body() -> None:
        try:
            done.put((work(), None))
        except BaseException as error:  # goes on in the thread that waits
            done.put((None, error))

    threading.Thread(target=body, name="aios-call", daemon=True).start()
    try:
        while True:
            try:
                made, error = done.get(timeout=_POLL)
                break
            except queue.Empty:
                continue
    except BaseException:
        for handle in used:
            if handle._token is not None:
                handle._token.leak()
        raise
    if error is not None:
        raise error
    return made


def until_stopped(work: Callable[[Any], Any]) -> bool:
    """Calls work(stop), stop being the address of a number, on a thread of its own.  The first Ctrl-C makes it 1, with which the work ends
    (True) with what it has; the second is a KeyboardInterrupt as ever."""
    stop, ended = ctypes.c_int32(0), threading.Event()
    failed: List[BaseException] = []

    def body() -> None:
        try:
            work(ctypes.byref(stop))
        except BaseException as error:  # goes on in the thread that waits
            failed.append(error)
        ended.set()

    threading.Thread(target=body, name="aios-call", daemon=True).start()
    while not ended.is_set():
        try:
            ended.wait(_POLL)
        except KeyboardInterrupt:
            if stop.value:
                raise
            stop.value = 1
    if failed and not isinstance(failed[0], errors.StoppedError):
        raise failed[0]
    return bool(failed)


def joined(words: Iterable[Any]) -> str:
    return ",".join(str(word) for word in words)
