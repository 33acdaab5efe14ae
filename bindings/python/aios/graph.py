"""Recording a model: nothing is computed here, shapes are checked and kept (aios/graph.h)."""
from __future__ import annotations

import contextlib
import ctypes
from typing import Any, Dict, Iterator, Optional, Sequence, Tuple

from . import _c
from ._library import Context, Handle, encode, int32s, lib, out, shared_context, structure

__all__ = ["Graph", "Tensor"]

_TYPES = {"i32": _c.AIOS_I32, "f32": _c.AIOS_F32}
_INITS = {"zero": _c.AIOS_INIT_ZERO, "one": _c.AIOS_INIT_ONE, "normal": _c.AIOS_INIT_NORMAL,
          "truncated_normal": _c.AIOS_INIT_TRUNCATED_NORMAL, "constant": _c.AIOS_INIT_CONSTANT}
_GROUPS = {"decay": _c.AIOS_GROUP_DECAY, "no_decay": _c.AIOS_GROUP_NO_DECAY, "frozen": _c.AIOS_GROUP_FROZEN}
_LAYOUTS = {"out_in": _c.AIOS_WEIGHT_OUT_IN, "in_out": _c.AIOS_WEIGHT_IN_OUT}
_ACTIVATIONS = {None: _c.AIOS_ACTIVATION_NONE, "gelu": _c.AIOS_ACTIVATION_GELU}
_KINDS = {"softmax": _c.AIOS_SOFTMAX, "stablemax": _c.AIOS_STABLEMAX}


def choose(table: Dict[Any, int], what: str, value: Any) -> int:
    if value not in table:
        raise ValueError(f"{what} is {value!r}: {', '.join(repr(name) for name in table)} are allowed")
    return table[value]


class Tensor:
    """A value of a graph: a shape, and later numbers."""

    __slots__ = ("graph", "id", "dtype")

    def __init__(self, graph: "Graph", number: int, dtype: str) -> None:
        self.graph = graph
        self.id = number
        self.dtype = dtype  #: "i32", or "f32" for activations (of the precision's storage type)

    @property
    def shape(self) -> Tuple[int, ...]:
        handle = self.graph.handle
        return tuple(lib.aios_graph_dimension(handle, self.id, axis) for axis in range(lib.aios_graph_rank(handle, self.id)))

    def __add__(self, other: "Tensor") -> "Tensor":
        return self.graph.add(self, other) if isinstance(other, Tensor) else NotImplemented

    def __mul__(self, factor: float) -> "Tensor":
        return self.graph.scale(self, factor) if isinstance(factor, (int, float)) else NotImplemented

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return f"Tensor({self.shape}, {self.dtype!r})" if not self.graph.closed else f"Tensor({self.dtype!r}, of a closed graph)"


class Graph(Handle):
    """A list of operations.  The first mistake (shapes that don't fit) is raised by the call that makes it.

    Operations take and give tensors of any rank up to four; a tensor's last dimension is its row."""

    def __init__(self, context: Optional[Context] = None) -> None:
        context = context or shared_context()
        self._own("aios_graph_destroy", out(lib.aios_graph_create, context.handle), context)
        self.outputs: Dict[str, Tensor] = {}
        self.inputs: Dict[str, Tensor] = {}
        self.is_known = True  #: whether these are all: the library's own models record theirs in C

    @classmethod
    def _borrow(cls, handle: int) -> "Graph":
        """The graph that the library gives a model's function to record on."""
        made = cls.__new__(cls)
        made._adopt_token(None, handle)
        made.outputs, made.inputs, made.is_known = {}, {}, True
        return made

    def learn(self, recorded: Optional["Graph"]) -> None:
        """What a model has recorded here, seen by the graph that was lent to its function; None: by nobody."""
        self.is_known = recorded is not None
        if recorded is not None:
            self.inputs = {name: Tensor(self, tensor.id, tensor.dtype) for name, tensor in recorded.inputs.items()}
            self.outputs = {name: Tensor(self, tensor.id, tensor.dtype) for name, tensor in recorded.outputs.items()}

    def _made(self, number: int, dtype: str = "f32") -> Tensor:
        if number == 0:
            lib.aios_graph_finish(self.handle)  # raises the mistake
        return Tensor(self, number, dtype)

    def _id(self, x: Any) -> int:
        """The number of a tensor, which means another one in another graph."""
        if not isinstance(x, Tensor):
            raise TypeError(f"a tensor of this graph is needed, not {type(x).__name__}")
        if x.graph is not self:
            raise ValueError(f"{x!r} was made on another graph: a graph takes its own tensors alone")
        return x.id

    def _optional(self, x: Optional[Tensor]) -> int:
        return 0 if x is None else self._id(x)

    def finish(self) -> "Graph":
        """Ends recording; raises the first mistake."""
        lib.aios_graph_finish(self.handle)
        return self

    # ---- leaves ------------------------------------------------------------------------------------------------------

    def input(self, name: str, shape: Sequence[int], dtype: str = "i32") -> Tensor:
        """What the caller writes before each run: "i32" or "f32"."""
        made = self._made(lib.aios_graph_input(self.handle, encode(name), choose(_TYPES, "dtype", dtype), _shape(shape), len(shape)), dtype)
        self.inputs[name] = made
        return made

    def parameter(self, name: str, shape: Sequence[int], init: str = "normal", scale: float = 0.02, group: str = "decay") -> Tensor:
        """A trained tensor.  init: zero, one, normal, truncated_normal (scale: the deviation), constant (the value); group: decay,
        no_decay, frozen.  The same name and shape again are the same weights."""
        return self._made(lib.aios_graph_parameter(self.handle, encode(name), _shape(shape), len(shape), choose(_INITS, "init", init), scale,
                                                   choose(_GROUPS, "group", group)))

    def rows(self, name: str, rows: int, n: int, ids: Tensor) -> Tensor:
        """(…, n): the rows ids (…) of a table (rows, n) that is too big for a gradient of its own size."""
        return self._made(lib.aios_graph_rows(self.handle, encode(name), rows, n, self._id(ids)))

    def state(self, name: str, shape: Sequence[int], dtype: str = "f32") -> Tensor:
        """A tensor that stays on the device from run to run, zero at first, never differentiated."""
        return self._made(lib.aios_graph_state(self.handle, encode(name), choose(_TYPES, "dtype", dtype), _shape(shape), len(shape)), dtype)

    def assign(self, state: Tensor, value: Tensor) -> None:
        """After the run, state = value."""
        lib.aios_graph_assign(self.handle, self._id(state), self._id(value))

    # ---- operations --------------------------------------------------------------------------------------------------

    def embedding(self, table: Tensor, ids: Tensor) -> Tensor:
        """(…, n) = table (V, n) at ids (…) i32."""
        return self._made(lib.aios_graph_embedding(self.handle, self._id(table), self._id(ids)))

    def linear(self, x: Tensor, weight: Tensor, bias: Optional[Tensor] = None, layout: str = "out_in",
               activation: Optional[str] = None) -> Tensor:
        """(…, out) = activation(x (…, in) W + bias); layout: "out_in" as torch.nn.Linear, "in_out" as GPT-2's; activation: None, "gelu"."""
        return self._made(lib.aios_graph_linear(self.handle, self._id(x), self._id(weight), self._optional(bias), choose(_LAYOUTS, "layout", layout),
                                                choose(_ACTIVATIONS, "activation", activation)))

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        """a + b; b's shape is a's or its last dimensions."""
        return self._made(lib.aios_graph_add(self.handle, self._id(a), self._id(b)))

    def scale(self, x: Tensor, factor: float) -> Tensor:
        return self._made(lib.aios_graph_scale(self.handle, self._id(x), factor))

    def layernorm(self, x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
        return self._made(lib.aios_graph_layernorm(self.handle, self._id(x), self._id(weight), self._id(bias), eps))

    def rmsnorm(self, x: Tensor, weight: Optional[Tensor] = None, eps: float = 1e-5) -> Tensor:
        """x / sqrt(mean(x^2) + eps) * weight."""
        return self._made(lib.aios_graph_rmsnorm(self.handle, self._id(x), self._optional(weight), eps))

    def gelu(self, x: Tensor) -> Tensor:
        """In the tanh form."""
        return self._made(lib.aios_graph_gelu(self.handle, self._id(x)))

    def expert_gates(self, logits: Tensor, chosen: int) -> Tensor:
        """(…, n) of logits (…, n): the softmax over the `chosen` largest of them, 0 elsewhere: a mixture of n experts."""
        return self._made(lib.aios_graph_expert_gates(self.handle, self._id(logits), chosen))

    def expert_scale(self, x: Tensor, gates: Tensor) -> Tensor:
        """x (…, n * width), of which each expert's part is multiplied by its gate; gates (…, n)."""
        return self._made(lib.aios_graph_expert_scale(self.handle, self._id(x), self._id(gates)))

    def expert_rows(self, x: Tensor, gates: Tensor) -> Tensor:
        """(R * chosen, w) of x (R rows, w): every row once for each of its experts, sorted by expert; gates of expert_gates."""
        return self._made(lib.aios_graph_expert_rows(self.handle, x.id, gates.id))

    def expert_linear(self, x: Tensor, gates: Tensor, weight: Tensor, parts: int = 1) -> Tensor:
        """(R * chosen, parts * width): each row of expert_rows times the weights of its own expert alone; weight
        (parts * n * width, w), or with one part (width, n * w)."""
        return self._made(lib.aios_graph_expert_linear(self.handle, x.id, gates.id, weight.id, parts))

    def expert_sum(self, x: Tensor, gates: Tensor) -> Tensor:
        """(…, w): the sum of each row's own rows of x (R * chosen, w), each times its gate."""
        return self._made(lib.aios_graph_expert_sum(self.handle, x.id, gates.id))

    def swiglu(self, x: Tensor) -> Tensor:
        """(…, n) = silu(gate) * up of x (…, 2n) = [gate | up]."""
        return self._made(lib.aios_graph_swiglu(self.handle, self._id(x)))

    def attention(self, qkv: Tensor, heads: int, kv_heads: int = 0, causal: bool = False, scale: float = 0.0, rope_theta: float = 0.0,
                  cache: Optional[Tensor] = None, start: Optional[Tensor] = None) -> Tensor:
        """(B, T, heads * d) of qkv (B, T, (heads + 2 * kv_heads) * d) = [queries | keys | values].  kv_heads 0: heads; scale 0:
        1/sqrt(d); rope_theta 0: no rotary positions; cache, start: a state that keys and values are appended to, at a position."""
        options = structure("aios_attention_options", heads=heads, kv_heads=kv_heads, causal=int(causal), scale=scale, rope_theta=rope_theta,
                            cache=self._optional(cache), start=self._optional(start))
        return self._made(lib.aios_graph_attention(self.handle, self._id(qkv), ctypes.byref(options)))

    def slice(self, x: Tensor, axis: int, start: int, length: int) -> Tensor:
        """`length` entries of an axis from `start`."""
        return self._made(lib.aios_graph_slice(self.handle, self._id(x), axis, start, length), x.dtype)

    def concat(self, a: Tensor, b: Tensor, axis: int) -> Tensor:
        return self._made(lib.aios_graph_concat(self.handle, self._id(a), self._id(b), axis), a.dtype)

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """The same memory under another shape."""
        return self._made(lib.aios_graph_reshape(self.handle, self._id(x), _shape(shape), len(shape)), x.dtype)

    def select(self, mask: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """Entry i of the first dimension is a's where mask[i] is not 0, else b's."""
        return self._made(lib.aios_graph_select(self.handle, self._id(mask), self._id(a), self._id(b)), a.dtype)

    def detach(self, x: Tensor) -> Tensor:
        """x as a constant: no gradient flows through."""
        return self._made(lib.aios_graph_detach(self.handle, self._id(x)), x.dtype)

    @contextlib.contextmanager
    def no_gradient(self) -> Iterator[None]:
        """Within it nothing is differentiated, so nothing is kept."""
        lib.aios_graph_begin_no_gradient(self.handle)
        try:
            yield
        finally:
            lib.aios_graph_end_no_gradient(self.handle)

    @contextlib.contextmanager
    def auxiliary(self) -> Iterator[None]:
        """Losses within it flow back like the others, but Plan.losses does not tell them: a regulariser, an auxiliary head."""
        lib.aios_graph_begin_auxiliary(self.handle)
        try:
            yield
        finally:
            lib.aios_graph_end_auxiliary(self.handle)

    # ---- losses, outputs ---------------------------------------------------------------------------------------------

    def cross_entropy(self, logits: Tensor, labels: Tensor, kind: str = "softmax", weight: float = 1.0) -> Tensor:
        """Adds weight * sum of -log p(label) to the loss; negative labels are ignored.  Gives the losses of the rows (…)."""
        return self._made(lib.aios_graph_cross_entropy(self.handle, self._id(logits), self._id(labels), choose(_KINDS, "kind", kind), weight))

    def sequence_cross_entropy(self, logits: Tensor, labels: Tensor, kind: str = "softmax", weight: float = 1.0) -> Tensor:
        """Adds weight * sum over sequences of the mean loss of their labels.  Gives the means (B)."""
        return self._made(lib.aios_graph_sequence_cross_entropy(self.handle, self._id(logits), self._id(labels), choose(_KINDS, "kind", kind), weight))

    def sequence_correct(self, means: Tensor) -> Tensor:
        """(B): 1 where every label that counts is predicted right, of what sequence_cross_entropy gave."""
        return self._made(lib.aios_graph_sequence_correct(self.handle, self._id(means)))

    def bce_with_logits(self, x: Tensor, targets: Tensor, weight: float = 1.0) -> Tensor:
        """Adds weight * sum of binary cross-entropy of logits x against targets in [0, 1]."""
        return self._made(lib.aios_graph_bce_with_logits(self.handle, self._id(x), self._id(targets), weight))

    def expert_balance(self, gates: Tensor, labels: Tensor, weight: float) -> Tensor:
        """Adds weight * sum of the load-balance loss of each sequence; gates of expert_gates, labels (B, L).  Gives (B, n)."""
        return self._made(lib.aios_graph_expert_balance(self.handle, self._id(gates), self._id(labels), weight))

    def count_steps(self, steps: Tensor, running: Tensor) -> Tensor:
        """(B) i32 = (running ? steps : 0) + 1: adaptive computation time."""
        return self._made(lib.aios_graph_count_steps(self.handle, self._id(steps), self._id(running)), "i32")

    def halt(self, steps: Tensor, q: Tensor, max_steps: int, min_steps: Optional[Tensor] = None) -> Tensor:
        """Which sequences go on after this step: (B) i32."""
        return self._made(lib.aios_graph_halt(self.handle, self._id(steps), self._id(q), self._optional(min_steps), max_steps), "i32")

    def halt_target(self, steps: Tensor, next_q: Tensor, max_steps: int) -> Tensor:
        """What "go on" ought to have said: (B)."""
        return self._made(lib.aios_graph_halt_target(self.handle, self._id(steps), self._id(next_q), max_steps))

    def output(self, name: str, x: Tensor) -> None:
        """Keeps a tensor so that Plan.read finds it."""
        lib.aios_graph_output(self.handle, encode(name), self._id(x))
        self.outputs[name] = x

    def mark(self) -> None:
        """Between the blocks of a model: with gradient checkpointing, a block is computed again instead of kept."""
        lib.aios_graph_mark(self.handle)

    @property
    def parameter_count(self) -> int:
        return int(lib.aios_graph_parameter_count(self.handle))


def _shape(shape: Sequence[int]) -> Any:
    return int32s(shape, "shape")
