"""Architectures: GPT-2 and the library's others by their configuration, any by a function of your own."""
from __future__ import annotations

import ctypes
import json
import os
from typing import Any, Callable, Dict, Mapping, Optional, Union

from . import _c
from ._library import Handle, encode, lib, optional, out, shared_context, string, structure
from .arrays import GPUDevice
from .errors import Error
from .graph import Graph, choose
from .parameters import Parameters

__all__ = ["Model", "model"]

_MODES = {"train": _c.AIOS_MODEL_TRAIN, "eval": _c.AIOS_MODEL_EVAL, "decode": _c.AIOS_MODEL_DECODE}
_MODE_NAMES = {number: name for name, number in _MODES.items()}
_STORAGE = {"f32": _c.AIOS_F32, "bf16": _c.AIOS_BF16, "f16": _c.AIOS_F16}
Record = Callable[[Graph, str, int, int], Any]


class _Recorder:
    """Calls the Python function from C and keeps what it raised."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.failure: Optional[BaseException] = None
        self.recorded: Optional[Graph] = None  #: as it was lent

    def __call__(self, _user: Any, graph: int, mode: int, batch: int, sequence: int) -> int:
        lent = Graph._borrow(graph)
        try:
            self.record(lent, _MODE_NAMES.get(mode, str(mode)), batch, sequence)
        except Error as error:  # a mistake in the graph: the library has it
            self.failure = error
            return error.code or _c.AIOS_INVALID_ARGUMENT
        except BaseException as error:
            self.failure = error
            return _c.AIOS_INVALID_ARGUMENT
        finally:
            lent.close()  # the graph is the library's
            self.recorded = lent
        return _c.AIOS_OK


class Model(Handle):
    """A configuration and the function that records it on a graph.  It holds no weights.

    Model({"model_type": "gpt2", "n_layer": 2, …}) is one of the library's, Model.open(folder) a saved one's, Model.custom(function, …) yours."""

    _recorder: Optional[_Recorder] = None

    def __init__(self, config: Union[str, Mapping[str, Any]]) -> None:
        text = config if isinstance(config, str) else json.dumps(config)
        context = shared_context()
        self._own("aios_model_destroy", out(lib.aios_model_create, context.handle, encode(text)), context)

    @classmethod
    def _made(cls, handle: int, *keep: Any) -> "Model":
        made = cls.__new__(cls)
        made._own("aios_model_destroy", handle, *keep)
        return made

    @classmethod
    def open(cls, folder: Union[str, "os.PathLike[str]"]) -> "Model":
        """From config.json of a folder: a checkpoint, or Hugging Face's."""
        context = shared_context()
        return cls._made(out(lib.aios_model_open, context.handle, encode(folder)), context)

    @classmethod
    def custom(cls, record: Record, *, vocabulary_size: int, context_length: int, name: Optional[str] = None,
               config: Optional[Mapping[str, Any]] = None) -> "Model":
        """record(graph, mode, batch, sequence) records the model.  mode is "train" or "eval": inputs "tokens" and "labels" (batch, sequence) and
        one cross-entropy; or "decode" (aios/model.h).  vocabulary_size: ids that tokens may hold; context_length: the largest sequence;
        config: saved as config.json."""
        recorder = _Recorder(record)
        fields: Dict[str, Any] = dict(_c.aios_model_functions._fields_)
        function = fields["record"](recorder)
        made = structure("aios_model_functions", vocabulary_size=vocabulary_size, context_length=context_length,
                         name=encode(name or getattr(record, "__name__", "custom")), record=function,
                         config_json=optional(json.dumps(config) if config is not None else None))
        context = shared_context()
        model_ = cls._made(out(lib.aios_model_create_custom, context.handle, ctypes.byref(made)), context, function, made)
        model_._recorder = recorder
        return model_

    def take_failure(self) -> Optional[BaseException]:
        """What the Python function raised since it was last asked."""
        if self._recorder is None:
            return None
        failure, self._recorder.failure = self._recorder.failure, None
        return failure

    @property
    def name(self) -> str:
        return string(lib.aios_model_name(self.handle))

    @property
    def config(self) -> Dict[str, Any]:
        """config.json's values; empty for a model that has none."""
        text = string(lib.aios_model_config(self.handle))
        found: Dict[str, Any] = json.loads(text) if text else {}
        return found

    @property
    def vocabulary_size(self) -> int:
        return int(lib.aios_model_vocabulary_size(self.handle))

    @property
    def context_length(self) -> int:
        return int(lib.aios_model_context_length(self.handle))

    def record(self, mode: str = "train", batch: int = 1, sequence: int = 0) -> Graph:
        """The finished graph of a mode; sequence 0: the context length."""
        graph = Graph()
        try:
            lib.aios_model_record(self.handle, graph.handle, choose(_MODES, "mode", mode), batch, sequence or self.context_length)
        except Error as error:
            failure = self.take_failure()
            raise (failure or error) from (error if failure else None)
        graph.learn(self._recorder.recorded if self._recorder is not None else None)
        return graph

    def parameters(self, device: Union[str, GPUDevice] = "cpu", precision: str = "32", training: bool = False) -> Parameters:
        """The model's parameters on a device, of no value yet: initialize() or load() gives them one."""
        return Parameters(device, self.record("eval", 1, min(self.context_length, 16)), precision, training)

    def load(self, folder: Union[str, "os.PathLike[str]"], device: Union[str, GPUDevice] = "cpu", precision: str = "32") -> Parameters:
        """The weights of a folder's safetensors on a device."""
        made = self.parameters(device, precision)
        lib.aios_model_load_weights(self.handle, made.handle, encode(folder))
        return made

    def save(self, parameters: Parameters, folder: Union[str, "os.PathLike[str]"], dtype: str = "f32", max_shard_size: int = 0) -> None:
        """Writes config.json and model.safetensors into a folder, which is made where missing.  dtype: "f32", "bf16", "f16"."""
        os.makedirs(folder, exist_ok=True)
        lib.aios_model_save_weights(self.handle, parameters.handle, encode(folder), choose(_STORAGE, "dtype", dtype), max_shard_size)

    def __repr__(self) -> str:
        if self.closed:
            return "Model(closed)"
        return f"Model({self.name!r}, vocabulary_size={self.vocabulary_size}, context_length={self.context_length})"


def model(*, vocabulary_size: int, context_length: int, name: Optional[str] = None,
          config: Optional[Mapping[str, Any]] = None) -> Callable[[Record], Model]:
    """Model.custom as a decorator::

        @aios.model(vocabulary_size=257, context_length=64)
        def tiny(g, mode, batch, sequence): …
    """
    return lambda record: Model.custom(record, vocabulary_size=vocabulary_size, context_length=context_length, name=name, config=config)
