"""Weights on a device, plans that run a graph there, and the optimizer (aios/plan.h)."""
from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from typing import Any, Dict, Iterator, Mapping, Sequence, Tuple, Union

from . import _c
from ._library import Handle, encode, lib, out, string, structure
from .arrays import Array, GPUDevice, new_host, typed
from .errors import NotFoundError
from .graph import Graph, choose

__all__ = ["LossSums", "Optimizer", "Parameters", "Plan", "PlanMemory", "StepResult"]

PRECISIONS = {"32": _c.AIOS_PRECISION_32, "16-mixed": _c.AIOS_PRECISION_16_MIXED, "bf16-mixed": _c.AIOS_PRECISION_BF16_MIXED}
_KINDS = {"value": _c.AIOS_VALUE, "gradient": _c.AIOS_GRADIENT, "moment1": _c.AIOS_MOMENT1, "moment2": _c.AIOS_MOMENT2}
_RULES = {"adamw": _c.AIOS_ADAMW, "adam-atan2": _c.AIOS_ADAM_ATAN2, "sign-sgd": _c.AIOS_SIGN_SGD}


class Parameters(Handle, Mapping[str, Array]):
    """The weights of a graph on a device, by name, and what belongs to them: gradients, moments, states.

    ``parameters["wte.weight"]`` is an array of the very memory (float32): numpy and, by DLPack, other libraries see training change it."""

    def __init__(self, device: Union[str, GPUDevice], graph: Graph, precision: str = "32", training: bool = True) -> None:
        self.device = GPUDevice(device) if isinstance(device, str) else device
        options = structure("aios_parameters_options", precision=choose(PRECISIONS, "precision", precision), training=int(training))
        self._own("aios_parameters_destroy",
                  out(lib.aios_parameters_create, self.device.handle, graph.handle, ctypes.byref(options)), self.device)
        self._read_shapes()

    @classmethod
    def borrow(cls, handle: int, owner: Handle) -> "Parameters":
        """Those of somebody who lives longer."""
        made = cls.__new__(cls)
        assert owner._token is not None
        made._adopt_token(owner._token, handle, owner)
        made.device = GPUDevice.retained(lib.aios_parameters_device(handle))
        made._read_shapes()
        return made

    device: GPUDevice

    def _read_shapes(self) -> None:
        self._shapes: Dict[str, Tuple[int, ...]] = {}
        for index in range(lib.aios_parameters_count(self.handle)):
            info = structure("aios_parameter_info")
            lib.aios_parameters_info(self.handle, index, ctypes.byref(info))
            self._shapes[string(info.name)] = tuple(info.shape[axis] for axis in range(info.rank))

    def __getitem__(self, name: str) -> Array:
        return self.array(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    @property
    def total(self) -> int:
        """Trained numbers."""
        return int(lib.aios_parameters_total(self.handle))

    def shape(self, name: str) -> Tuple[int, ...]:
        if name not in self._shapes:
            raise NotFoundError(f"no parameter is called '{name}'")
        return self._shapes[name]

    def array(self, name: str, kind: str = "value") -> Array:
        """The memory of a tensor: kind is "value", "gradient", "moment1" or "moment2".  No copy.  What is written there takes part in the next
        run with precision 32; with others use write()."""
        data, count = ctypes.POINTER(ctypes.c_float)(), ctypes.c_uint64()
        lib.aios_parameters_data(self.handle, encode(name), choose(_KINDS, "kind", kind), ctypes.byref(data), ctypes.byref(count))
        return Array(self.device, ctypes.cast(data, ctypes.c_void_p).value or 0, "f32", self.shape(name), self._token)

    def read(self, name: str, kind: str = "value") -> Any:
        """A copy of a tensor: a numpy array, or a memoryview where there is no numpy."""
        shape = self.shape(name)
        made, address = new_host("f32", shape)
        lib.aios_parameters_read(self.handle, encode(name), choose(_KINDS, "kind", kind),
                                 ctypes.cast(address, ctypes.POINTER(ctypes.c_float)), math.prod(shape))
        return made

    def write(self, name: str, values: Any, kind: str = "value") -> None:
        """Sets a tensor from an array, tensor, buffer or list of float32."""
        found = typed(values, "f32", f"parameter {name}", self._shapes.get(name))
        lib.aios_parameters_write(self.handle, encode(name), choose(_KINDS, "kind", kind),
                                  ctypes.cast(found.pointer, ctypes.POINTER(ctypes.c_float)), math.prod(found.shape))

    def initialize(self, seed: int = 1337) -> "Parameters":
        """Draws every parameter as its graph said: the same for a seed on every device."""
        lib.aios_parameters_initialize(self.handle, seed)
        return self

    def reset_states(self) -> None:
        """Sets every state to zero."""
        lib.aios_parameters_reset_states(self.handle)

    def __repr__(self) -> str:
        return "Parameters(closed)" if self.closed else f"Parameters({len(self)} tensors, {self.total} numbers, device={self.device.spec!r})"


@dataclass(frozen=True)
class LossSums:
    """Over the runs since they were last reset."""

    sum: float  #: weighted, not divided
    rows: float  #: labels that count
    hits: float  #: of those, predicted right

    @property
    def loss(self) -> float:
        """Per label."""
        return self.sum / self.rows if self.rows else math.nan

    @property
    def accuracy(self) -> float:
        return self.hits / self.rows if self.rows else math.nan


@dataclass(frozen=True)
class PlanMemory:
    """Of a plan, in bytes."""

    instructions: int  #: how many
    activations: int  #: of the arena that the plan's tensors share
    unshared: int  #: what they would take without reuse
    workspace: int  #: part of the arena


class Plan(Handle):
    """Buffers and launches of a graph.  training: a run adds gradients; gradient_checkpointing: blocks are computed again instead of kept;
    capture: the device records a run and replays it, where it can."""

    def __init__(self, graph: Graph, parameters: Parameters, training: bool = False, gradient_checkpointing: bool = False,
                 capture: bool = True) -> None:
        options = structure("aios_plan_options", training=int(training), gradient_checkpointing=int(gradient_checkpointing), capture=int(capture))
        self._own("aios_plan_destroy", out(lib.aios_plan_create, graph.handle, parameters.handle, ctypes.byref(options)), parameters)
        self._inputs = {name: (tensor.dtype, tensor.shape) for name, tensor in graph.inputs.items()}
        self._outputs = {name: (tensor.dtype, tensor.shape) for name, tensor in graph.outputs.items()}
        self._is_known = graph.is_known

    def write(self, name: str, data: Any) -> None:
        """Sets an input for the next run: an array, tensor, buffer or list of the input's type.  The library reads it where it is."""
        if name not in self._inputs and self._is_known:
            raise NotFoundError(f"no input is called '{name}': {', '.join(self._inputs) or 'there is none'}")
        dtype, shape = self._inputs.get(name, ("i32", None))  # tokens, labels, positions: all that is not known are ids
        found = typed(data, dtype, f"input {name}", shape)
        lib.aios_plan_write(self.handle, encode(name), found.pointer, found.nbytes)

    def run(self, **inputs: Any) -> None:
        """Writes inputs and runs: forward, and backward in a training plan.  Gradients and losses are added to what is there."""
        for name, data in inputs.items():
            self.write(name, data)
        lib.aios_plan_run(self.handle)

    def read(self, name: str) -> Any:
        """An output of the last run: a numpy array, or a memoryview where there is no numpy.  Waits for it."""
        if name not in self._outputs and not self._is_known:
            raise NotFoundError(f"output '{name}': a model of the library's own tells its losses() alone here")
        if name not in self._outputs:
            raise NotFoundError(f"no output is called '{name}': {', '.join(self._outputs) or 'there is none'}")
        dtype, shape = self._outputs[name]
        made, address = new_host(dtype, shape)
        lib.aios_plan_read(self.handle, encode(name), address, math.prod(shape) * 4)
        return made

    def losses(self, reset: bool = True) -> LossSums:
        """Waits for the runs."""
        sums = structure("aios_loss_sums")
        lib.aios_plan_losses(self.handle, ctypes.byref(sums), int(reset))
        return LossSums(sums.loss, sums.rows, sums.hits)


    @property
    def memory(self) -> PlanMemory:
        now = structure("aios_plan_memory")
        lib.aios_plan_get_memory(self.handle, ctypes.byref(now))
        return PlanMemory(now.instructions, now.activations, now.unshared, now.workspace)


@dataclass(frozen=True)
class StepResult:
    """Of the last step."""

    finite: bool  #: whether it was applied
    norm: float  #: of the gradient before clipping
    loss_scale: float
    skipped: int
    skipped_in_a_row: int


class Optimizer(Handle):
    """The update rule: "adamw", "adam-atan2" or "sign-sgd".  Keywords are the fields of aios_optimizer_options: beta1, beta2, eps, weight_decay,
    max_norm, loss_scale, growth_interval, rows_lr_factor, rows_weight_decay."""

    def __init__(self, parameters: Parameters, kind: str = "adamw", **options: float) -> None:
        known = [name for name, _ in _c.aios_optimizer_options._fields_ if name not in ("struct_size", "kind", "reserved")]
        for name in options:
            if name not in known:
                raise TypeError(f"an optimizer has no {name}: {', '.join(known)}")
        made = structure("aios_optimizer_options", kind=choose(_RULES, "kind", kind), **options)
        self._own("aios_optimizer_destroy", out(lib.aios_optimizer_create, parameters.handle, ctypes.byref(made)), parameters)

    def begin(self, lr: float, weight: float) -> None:
        """Starts a step: gradients become zero; weight: what the summed loss of the step's runs is divided by (their labels)."""
        lib.aios_optimizer_begin(self.handle, lr, weight)

    def step(self) -> None:
        """Norm, clipping, finite check, update.  A gradient that is not finite changes nothing but the loss scale."""
        lib.aios_optimizer_step(self.handle)

    def result(self) -> StepResult:
        """Waits for the last step."""
        now = structure("aios_step_result")
        lib.aios_optimizer_result(self.handle, ctypes.byref(now))
        return StepResult(bool(now.finite), now.norm, now.loss_scale, int(now.skipped), int(now.skipped_in_a_row))

    @property
    def state(self) -> Tuple[float, ...]:
        """The scaler's and bias corrections' numbers.  With values and moments of the parameters they are all that a loop of one's own has to save
        to go on bit by bit; setting them restores."""
        count = lib.aios_optimizer_state_count()
        numbers = (ctypes.c_float * count)()
        lib.aios_optimizer_read_state(self.handle, numbers, count)
        return tuple(numbers)

    @state.setter
    def state(self, numbers: Sequence[float]) -> None:
        lib.aios_optimizer_write_state(self.handle, (ctypes.c_float * len(numbers))(*numbers), len(numbers))
