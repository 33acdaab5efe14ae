"""Saved models: listing, opening, evaluating, generating, merging."""
from __future__ import annotations

import ctypes
import json
import os
import queue
import re
import threading
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple, Union

from . import _c
from ._library import Context, Handle, encode, lib, out, patiently, shared_context, structure, until_stopped
from .arrays import GPUDevice
from .errors import NotFoundError
from .events import Event
from ._model import Model
from ._options import Options, _WithKeywords
from .parameters import Parameters

__all__ = ["Checkpoint", "Evaluation", "Generator", "checkpoints", "evaluate", "load", "merge"]

Path = Union[str, "os.PathLike[str]"]


@dataclass(frozen=True)
class Evaluation:
    """How well a model knows a text, or answers questions.  What does not apply is NaN."""

    tokens: int  #: predicted
    loss: float  #: nats per token
    perplexity: float
    accuracy: float  #: of the next token
    nats_per_byte: float
    samples: int
    exact_accuracy: float  #: part of the samples whose every token is predicted right
    questions: int  #: of task_file; 0 without
    choice_accuracy: float  #: part of them whose right choice has the greatest log-likelihood
    choice_accuracy_norm: float  #: the same by log-likelihood per character
    devices: int  #: that did it to the end
    devices_failed: int
    runs: Tuple[Event, ...] = ()  #: "eval_device": what each device did, and how fast
    stopped: bool = False  #: Ctrl-C ended it: all this is of what was done by then


def evaluate(**options: Any) -> Evaluation:
    """Measures a model on a text or on questions.  Keywords are the options of `aios eval`: model, dataset_file, task_file, devices, sequential,
    eval_batches …  The first Ctrl-C ends it after the micro-batch, with what was done by then; the second is a KeyboardInterrupt as ever."""
    runs: List[Event] = []
    made = structure("aios_evaluation")

    def heard(name: str, text: str) -> None:
        if name == "eval_device":
            runs.append(Event.parse(name, text))

    def work(stop: Any) -> None:
        with Context(heard) as context, Options(context, "eval", options) as given:
            lib.aios_evaluate_until(context.handle, given.handle, stop, ctypes.byref(made))

    stopped = until_stopped(work)
    return Evaluation(**{name: getattr(made, name) for name, *_ in made._fields_ if name not in ("struct_size", "reserved")}, runs=tuple(runs),
                      stopped=stopped)


class Generator(Handle, metaclass=_WithKeywords):
    """Continues texts.  Keywords are the options of `aios generate`: model, device, max_tokens, temperature, top_k, top_p …"""

    _scope = "generate"

    def __init__(self, **options: Any) -> None:
        context = shared_context()
        self._options = Options(context, "generate", options)
        self._prompt: Union[str, bytes] = options.get("prompt") or ""
        self._seed = int(options.get("sample_seed") or 0)
        self._lock = threading.Lock()
        self._own("aios_generator_destroy", out(lib.aios_generator_create, context.handle, self._options.handle), context)

    def _run(self, prompt: Optional[Union[str, bytes]], seed: Optional[int], text: Any) -> None:
        given = self._prompt if prompt is None else prompt
        if not isinstance(given, (str, bytes)):
            raise TypeError(f"prompt must be a text or its bytes, not {type(given).__name__}")
        data = given.encode("utf-8", "surrogateescape") if isinstance(given, str) else given
        drawn = self._seed if seed is None else seed
        with self._lock:  # one text at a time
            held = self._token  # where it is closed meanwhile
            lib.aios_generator_run(self.handle, data, len(data), drawn or int.from_bytes(os.urandom(6), "little"),
                                   _c.aios_text_fn(text), None)
            del held

    def run(self, prompt: Optional[Union[str, bytes]] = None, seed: Optional[int] = None) -> str:
        """The continuation, without the prompt.  None: the option's prompt; seed 0: a new one each time."""
        return "".join(self.stream(prompt, seed))

    def stream(self, prompt: Optional[Union[str, bytes]] = None, seed: Optional[int] = None) -> Iterator[str]:
        """The continuation piece by piece, as it is made.  Leaving the loop ends it."""
        pieces: "queue.SimpleQueue[Any]" = queue.SimpleQueue()
        stop = threading.Event()

        def text(_user: Any, data: int, size: int) -> int:
            pieces.put(ctypes.string_at(data, size).decode("utf-8", "replace"))
            return int(stop.is_set())

        def body() -> None:
            try:
                self._run(prompt, seed, text)
                pieces.put(None)
            except BaseException as error:
                pieces.put(error)

        thread = threading.Thread(target=body, name="aios-generator", daemon=True)
        thread.start()
        try:
            while True:
                try:
                    piece = pieces.get(timeout=0.2)
                except queue.Empty:
                    continue
                if piece is None:
                    return
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
        finally:
            stop.set()
            thread.join()


class Checkpoint:
    """A saved model: a folder with config.json, model.safetensors and tokenizer files, in Hugging Face's layout."""

    def __init__(self, path: Path) -> None:
        self.path = os.fspath(path)
        if not os.path.exists(os.path.join(self.path, "config.json")):
            raise NotFoundError(f"{self.path} is no checkpoint: it has no config.json")

    @property
    def step(self) -> int:
        """Of the training run; 0 for a model that is none of its checkpoints."""
        return int(self.state.get("step") or 0)

    @property
    def state(self) -> Dict[str, Any]:
        """trainer.json: counters and data position; empty for a model that is no checkpoint of a run."""
        try:
            with open(os.path.join(self.path, "trainer.json"), encoding="utf-8") as f:
                found: Dict[str, Any] = json.load(f)
                return found
        except FileNotFoundError:
            return {}

    @property
    def config(self) -> Dict[str, Any]:
        with open(os.path.join(self.path, "config.json"), encoding="utf-8") as f:
            found: Dict[str, Any] = json.load(f)
            return found

    @property
    def model(self) -> Model:
        return Model.open(self.path)

    def parameters(self, device: Union[str, GPUDevice] = "cpu", precision: str = "32") -> Parameters:
        """The weights, on a device."""
        return self.model.load(self.path, device, precision)

    def save(self, folder: Path, dtype: str = "f32", max_shard_size: int = 0) -> "Checkpoint":
        """Writes the model into another folder as "f32", "bf16" or "f16", in shards of at most so many bytes (0: one file)."""
        found = self.model
        found.save(found.load(self.path), folder, dtype, max_shard_size)
        for name in os.listdir(self.path):
            if re.fullmatch(r"(tokenizer.*|special_tokens_map|added_tokens|vocab|generation_config)\.json|merges\.txt", name):
                with open(os.path.join(self.path, name), "rb") as source, open(os.path.join(folder, name), "wb") as to:
                    to.write(source.read())
        return Checkpoint(folder)

    def generate(self, prompt: Union[str, bytes] = "", **options: Any) -> str:
        """Continues a text; keywords as of Generator."""
        with Generator(model=self.path, **options) as generator:
            return generator.run(prompt)

    def evaluate(self, dataset_file: Path, **options: Any) -> Evaluation:
        """Measures it on a text; keywords as of evaluate."""
        return evaluate(model=self.path, dataset_file=dataset_file, **options)

    def __fspath__(self) -> str:
        return self.path

    def __repr__(self) -> str:
        return f"Checkpoint({self.path!r})"


def checkpoints(run: Path) -> List[Checkpoint]:
    """The complete checkpoints of a run's folder, the oldest first."""
    folder = os.path.join(run, "checkpoints")
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [Checkpoint(os.path.join(folder, name)) for name in names
            if re.fullmatch(r"step-\d+", name) and os.path.exists(os.path.join(folder, name, "manifest.json"))]


def load(path: Path) -> Checkpoint:
    """A checkpoint, a model in Hugging Face's layout, or the newest checkpoint of a run's folder."""
    found = checkpoints(path)
    if not found and not os.path.exists(os.path.join(path, "config.json")):
        raise NotFoundError(f"{os.fspath(path)} has neither a model (config.json) nor a complete checkpoint (checkpoints/step-…)")
    return found[-1] if found else Checkpoint(path)


def merge(folders: Sequence[Path], output: Path, weights: Optional[Sequence[float]] = None) -> Checkpoint:
    """The weighted mean of several models' weights, as a model; weights None: by the tokens that each was trained on."""
    if weights is not None and len(weights) != len(folders):
        raise ValueError(f"{len(weights)} weights for {len(folders)} folders")
    names = (ctypes.c_char_p * len(folders))(*(encode(folder) for folder in folders))
    options = structure("aios_merge_options", count=len(folders), folders=names, output=encode(output))
    if weights is not None:
        options.weights = (ctypes.c_double * len(weights))(*weights)
    context = shared_context()
    patiently(lambda: lib.aios_merge_checkpoints(context.handle, ctypes.byref(options)), context)
    return Checkpoint(output)

