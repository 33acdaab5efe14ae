"""The table of options, as the library has it: from it come the keywords of Trainer, Generator and evaluate."""
from __future__ import annotations

import ctypes
import inspect
import json
import os
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple, Union

from . import _c
from ._library import Context, Handle, encode, joined, lib, out, string, structure

_SCOPES = {"train": _c.AIOS_SCOPE_TRAIN, "eval": _c.AIOS_SCOPE_EVAL, "generate": _c.AIOS_SCOPE_GENERATE, "data": _c.AIOS_SCOPE_DATA,
           "hrm": _c.AIOS_SCOPE_HRM}
_TYPES = {_c.AIOS_OPTION_INT: int, _c.AIOS_OPTION_FLOAT: float, _c.AIOS_OPTION_BOOL: bool, _c.AIOS_OPTION_STRING: str,
          _c.AIOS_OPTION_CHOICE: str}
Value = Union[bool, int, float, str]


@dataclass(frozen=True)
class Option:
    """One row of the table."""

    name: str  #: as a keyword: "batch_size"
    type: type  #: int, float, bool or str
    default: Optional[Value]  #: None where it is empty
    choices: Tuple[str, ...]  #: of an option that has a few values alone
    minimum: Optional[float]
    maximum: Optional[float]
    help: str
    section: str  #: "Optimizer": how the help groups them
    scopes: Tuple[str, ...]  #: "train", "eval", "generate", "data", "hrm"
    alias: str  #: another name that is accepted, or ""


def _default(kind: type, text: str) -> Optional[Value]:
    if text == "":
        return None
    if kind is bool:
        return text == "on"
    made: Value = kind(text)
    return made


_table: List[Option] = []


def options(scope: Optional[str] = None) -> List[Option]:
    """Every option, or those of a scope: "train" are Trainer's, "generate" Generator's, "eval" evaluate's."""
    if scope is not None and scope not in _SCOPES:
        raise ValueError(f'"{scope}" is no scope: {", ".join(_SCOPES)} are')
    if not _table:
        for index in range(lib.aios_option_count()):
            info = structure("aios_option_info")
            lib.aios_option_get_info(index, ctypes.byref(info))
            kind, numeric = _TYPES[info.type], info.type in (_c.AIOS_OPTION_INT, _c.AIOS_OPTION_FLOAT)
            choices = string(info.choices)
            _table.append(Option(
                name=string(info.name).replace("-", "_"), type=kind, default=_default(kind, string(info.default_text)),
                choices=tuple(choices.split("|")) if choices else (), minimum=info.minimum if numeric else None,
                maximum=info.maximum if numeric else None, help=string(info.help), section=string(info.section),
                scopes=tuple(name for name, bit in _SCOPES.items() if info.scopes & bit), alias=string(info.alias).replace("-", "_")))
    return [option for option in _table if scope is None or scope in option.scopes]


def signature(scope: str, *before: inspect.Parameter) -> inspect.Signature:
    """What help() and completion show for keywords of a scope; `before` are parameters that come first and hide an option of their name."""
    taken = {parameter.name for parameter in before}
    keywords = [inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=option.default,
                                  annotation=option.type if option.default is not None else Optional[option.type])
                for option in options(scope) if option.name not in taken]
    return inspect.Signature([*before, *keywords])


class _WithKeywords(type):
    """A class whose signature comes from the table, once somebody asks for it."""

    _scope = "train"
    _before: Tuple[inspect.Parameter, ...] = ()

    @property
    def __signature__(cls) -> inspect.Signature:
        return signature(cls._scope, *cls._before)


class Options(Handle):
    """Values for a run, checked as they are set: an unknown name or a value out of range is an error that says what would be right."""

    def __init__(self, context: Context, scope: str, values: Mapping[str, Any]) -> None:
        self._own("aios_options_destroy", out(lib.aios_options_create, context.handle, _SCOPES[scope]), context)
        for name, value in values.items():
            if value is not None:
                self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        key = encode(name)
        if isinstance(value, bool) or getattr(getattr(value, "dtype", None), "kind", "") == "b":
            lib.aios_options_set(self.handle, key, b"on" if value else b"off")
        elif isinstance(value, Mapping):
            lib.aios_options_set(self.handle, key, encode(json.dumps(value)))
        elif isinstance(value, (str, bytes, os.PathLike)):
            lib.aios_options_set(self.handle, key, encode(value))
        elif hasattr(value, "__iter__") and getattr(value, "ndim", True):  # an array of no dimensions is a number
            words = joined(value)
            if not words:
                raise ValueError(f"option {name}: the list is empty: None leaves the option as it is")
            lib.aios_options_set(self.handle, key, encode(words))
        elif hasattr(value, "__index__"):
            number = int(value)
            if abs(number) < 2**63:
                lib.aios_options_set_int(self.handle, key, number)
            else:
                lib.aios_options_set(self.handle, key, str(number).encode())
        elif isinstance(value, float) or hasattr(value, "__float__"):
            lib.aios_options_set_float(self.handle, key, float(value))
        else:
            raise TypeError(f"option {name}: a number, a text, a path or a list of them is needed, not {type(value).__name__}")

    def __getitem__(self, name: str) -> Value:
        kinds = {option.name: option.type for option in options()}
        kinds.update({option.alias: option.type for option in options() if option.alias})
        kind = kinds.get(name.replace("-", "_"), str)
        if kind is str:
            text = ctypes.c_char_p()
            lib.aios_options_get_string(self.handle, encode(name), ctypes.byref(text))
            return string(text.value)
        value: Any = ctypes.c_double() if kind is float else ctypes.c_int64()
        get = lib.aios_options_get_float if kind is float else lib.aios_options_get_int
        get(self.handle, encode(name), ctypes.byref(value))
        return kind(value.value)  # type: ignore[no-any-return]

    def as_dict(self) -> Dict[str, Value]:
        """The options that were set."""
        return {name.replace("-", "_"): value for name, value in json.loads(string(lib.aios_options_write_json(self.handle))).items()}
