"""Training runs."""
from __future__ import annotations

import ctypes
import inspect
import math
import queue
import signal
import threading
import weakref
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Tuple, TypeVar, Union, overload

from . import _c
from ._library import Context, Handle, Token, lib, out, string, structure, tokens
from .errors import Error, StoppedError, WrongStateError
from .events import Event
from ._model import Model
from ._options import Options, _WithKeywords
from .parameters import Parameters
from .progress import Progress

__all__ = ["Metrics", "Result", "Trainer"]
Callback = Callable[[Event], Any]
Function = TypeVar("Function", bound=Callback)
_POLL = 0.2  # seconds: on systems where a wait can't be interrupted, Ctrl-C is seen after so long


@dataclass(frozen=True)
class Metrics:
    """How a run is now."""

    running: bool
    step: int
    steps: int
    tokens: int
    loss: float  #: nats per token, of the last step; NaN before the first
    eval_loss: float
    lr: float
    grad_norm: float
    tokens_per_second: float
    elapsed: float


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    outcome: str  #: "complete", or "stopped" where a stop was obeyed
    step: int
    loss: float
    eval_loss: float
    tokens: int
    folder: str  #: of the run
    checkpoint: Optional[str]  #: the last one that was saved

    @property
    def stopped(self) -> bool:
        return self.outcome == "stopped"


class _Run:
    """What the thread that trains and the one that waits have in common.  It knows nothing of the Trainer, which may go away."""

    def __init__(self) -> None:
        self.events: "queue.SimpleQueue[Optional[Event]]" = queue.SimpleQueue()
        self.thread: Optional[threading.Thread] = None
        self.error: Optional[BaseException] = None
        self.stopped = False

    def start(self, work: Callable[[], Any]) -> None:
        def body() -> None:
            try:
                work()
            except StoppedError:
                self.stopped = True
            except BaseException as error:  # goes on in the thread that waits
                self.error = error
            finally:
                self.events.put(None)

        self.error, self.stopped = None, False
        self.thread = threading.Thread(target=body, name="aios-trainer", daemon=True)
        self.thread.start()

    def next(self) -> Optional[Event]:
        """The next event; None when the work is over.  Ctrl-C comes through."""
        while True:
            try:
                return self.events.get(timeout=_POLL)
            except queue.Empty:
                continue

    def join(self) -> None:
        if self.thread is not None:
            self.thread.join()
            self.thread = None


class _Interrupts:
    """What Ctrl-C does during a run.  Python would raise KeyboardInterrupt wherever the main thread is, in a callback as well.  A handler that
    the program has set stays."""

    def __init__(self, trainer: "Trainer") -> None:
        self._trainer = weakref.ref(trainer)
        self._count = 0
        self._ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._ours:
            signal.signal(signal.SIGINT, self._interrupted)

    def _interrupted(self, number: int, frame: Any) -> None:
        if self._count >= 2:
            signal.default_int_handler(number, frame)
        self.stop()

    def stop(self) -> None:
        self._count += 1
        trainer = self._trainer()
        if trainer is not None and not trainer.closed:
            trainer.stop(immediate=self._count > 1)

    def close(self) -> None:
        """On the thread that made it; a generator that is thrown away on another leaves the handler, which then does what Python's does."""
        self._count = 2
        if self._ours and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(run: _Run, handle: int) -> None:
    """A run that goes on saves a checkpoint first."""
    if run.thread is not None:
        lib.aios_trainer_stop(handle, _c.AIOS_STOP_IMMEDIATE)
        run.join()


def _destroy(run: _Run, handle: int, _keep: Tuple[Any, ...]) -> None:
    """Also at the end of the process."""
    _end(run, handle)
    lib.aios_trainer_destroy(handle)


class Trainer(Handle, metaclass=_WithKeywords):
    """A training run.  Keywords are the options of `aios train` (docs/options.md, :func:`aios.options`), '_' for '-'::

        trainer = aios.Trainer(dataset_file="notes.txt", n_layer=2, steps=500, devices=["cuda:0", "hip:0"], save_dir="runs/notes")
        trainer.on("eval", lambda event: print(event.loss))
        result = trainer.run()                     # Ctrl-C saves a checkpoint and returns

    or, with the events as they come::

        for event in trainer:
            if event.name == "step" and event.loss < 2:
                break                              # leaving the loop saves a checkpoint

    model: a folder, or a Model (of your own, too).  A list of values is joined by commas; None leaves an option as it is.  What is wrong
    with an option, the data or a device is raised here, before anything is trained.

    callbacks: functions that get every event.  progress: True shows a line of progress, False none, None where somebody can see it (a
    terminal, a notebook).  Training goes on in a thread of its own with the GIL free; callbacks run on the thread that called run().
    """

    _scope = "train"
    _before: Tuple[inspect.Parameter, ...] = (
        inspect.Parameter("model", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=Union[None, str, Model]),
        inspect.Parameter("callbacks", inspect.Parameter.KEYWORD_ONLY, default=(), annotation=Iterable[Callback]),
        inspect.Parameter("progress", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Optional[bool]))

    def __init__(self, model: Union[None, str, Any] = None, *, callbacks: Iterable[Callback] = (), progress: Optional[bool] = False,
                 **options: Any) -> None:
        self._callbacks: List[Tuple[Optional[str], Callback]] = [(None, callback) for callback in callbacks]
        self._progress = Progress() if progress or (progress is None and Progress.wanted()) else None
        self._run = run = _Run()
        self._model = model if isinstance(model, Model) else None
        self._result: Dict[str, Any] = {}
        self._iterating = False
        events = run.events
        self._context = Context(lambda name, text: events.put(Event.parse(name, text)))
        self.options = Options(self._context, self._scope, options)  #: as they were given
        if model is not None and self._model is None:
            self.options["model"] = model
        made: List[int] = []
        stop = ctypes.c_int32(0)
        run.start(lambda: made.append(out(lib.aios_trainer_create_until, self._context.handle, self.options.handle,
                                          self._model.handle if self._model else None, ctypes.byref(stop))))
        self._wait_for_creation(made, stop)

    def _wait_for_creation(self, made: List[int], stop: ctypes.c_int32) -> None:
        """Opening may tokenize or fetch a corpus first, so it shows its progress and can be interrupted, which ends that too."""
        run, later = self._run, []
        try:
            event = run.next()
            while event is not None:
                if event.name == "data":
                    self._dispatch(event)
                else:
                    later.append(event)
                event = run.next()
        except BaseException:
            stop.value = 1
            _abandon(run, made, self._context, self.options)
            raise
        run.join()
        self._raise(run.error)
        for event in later:  # warnings and the like belong to the run
            run.events.put(event)
        self._adopt_token(Token(_destroy, run, made[0], tokens((self._context, self._model))), made[0], self._context)

    def close(self) -> None:
        """Ends a run that goes on, with a checkpoint, and gives everything back."""
        if not self.closed:
            _end(self._run, self.handle)
        super().close()

    def _raise(self, error: Optional[BaseException]) -> None:
        if error is None:
            return
        failure = self._model.take_failure() if self._model is not None else None
        if failure is not None:
            raise failure from error  # the Python function that records the model is what failed
        raise error

    # ---- events ------------------------------------------------------------------------------------------------------

    @overload
    def on(self, name: Optional[str]) -> Callable[[Function], Function]:
        ...

    @overload
    def on(self, name: Optional[str], callback: Function) -> Function:
        ...

    def on(self, name: Optional[str], callback: Optional[Callback] = None) -> Any:
        """Calls a function with each event of a name (None: of any).  Also a decorator: ``@trainer.on("step")``.

        What it raises stops the run gracefully, and comes out of run()."""
        if callback is None:
            return lambda function: self.on(name, function)
        self._callbacks.append((name, callback))
        return callback

    def _note(self, event: Event) -> None:
        if event.name == "checkpoint_save":
            self._result["checkpoint"] = event.get("path")
        elif event.name == "training_complete":
            self._result["complete"] = event

    def _dispatch(self, event: Event) -> None:
        self._note(event)
        if self._progress is not None:
            self._progress(event)
        for name, callback in self._callbacks:
            if name is None or name == event.name:
                callback(event)

    def __iter__(self) -> Iterator[Event]:
        """Starts the run, or goes on with a stopped one, and gives its events.  Leaving the loop early stops the run gracefully; so does
        Ctrl-C, and the loop ends by itself after the checkpoint.  An error of the run is raised."""
        handle, run = self.handle, self._run
        if self._iterating:
            raise WrongStateError("this run is under way: a Trainer has one loop at a time")
        self._iterating = True
        run.start(lambda: lib.aios_trainer_run(handle))
        interrupts = _Interrupts(self)
        try:
            while True:
                try:
                    event = run.next()
                except KeyboardInterrupt:  # by a handler of the program's own
                    interrupts.stop()
                    continue
                if event is None:
                    break
                self._dispatch(event)
                yield event
        except BaseException:  # of a callback or of the loop's body; GeneratorExit
            if not self.closed:
                self.stop()
                self._drain()
            raise
        finally:
            interrupts.close()
            run.join()
            self._iterating = False
            if self._progress is not None:
                self._progress.close()
        self._raise(run.error)

    def _drain(self) -> None:
        """Waits for the end of a run that was asked to stop."""
        while True:
            try:
                event = self._run.next()
                if event is None:
                    return
                self._note(event)
            except KeyboardInterrupt:
                self.stop(immediate=True)

    def run(self) -> Result:
        """Trains until all steps are done or a stop is obeyed.  Ctrl-C stops after the step that is running, a second one after the
        micro-batch; both save a checkpoint, and a later run() goes on.  A third one is a KeyboardInterrupt as ever.  Errors of the run are raised."""
        for _ in self:
            pass
        return self.result

    def stop(self, immediate: bool = False) -> None:
        """From any thread: ends after the step that is running, or (immediate) after the micro-batch.  A checkpoint is saved either way."""
        lib.aios_trainer_stop(self.handle, _c.AIOS_STOP_IMMEDIATE if immediate else _c.AIOS_STOP_GRACEFUL)

    # ---- looking -----------------------------------------------------------------------------------------------------

    @property
    def result(self) -> Result:
        """How the last run() ended."""
        now = self.metrics
        complete = self._result.get("complete") or {}
        return Result(outcome="stopped" if self._run.stopped else str(complete.get("outcome") or "complete"), step=now.step, loss=now.loss,
                      eval_loss=now.eval_loss, tokens=now.tokens, folder=self.folder, checkpoint=self._result.get("checkpoint"))

    @property
    def metrics(self) -> Metrics:
        """From any thread, also while it runs."""
        now = structure("aios_trainer_metrics")
        lib.aios_trainer_get_metrics(self.handle, ctypes.byref(now))
        return Metrics(bool(now.running), now.step, now.steps, now.tokens, now.loss, now.eval_loss, now.lr, now.grad_norm,
                       now.tokens_per_second, now.elapsed)

    @property
    def folder(self) -> str:
        """Of the run: metrics, checkpoints."""
        return string(lib.aios_trainer_folder(self.handle))

    @property
    def parameters(self) -> Parameters:
        """Weights, gradients and moments as they are now.  Not while it runs."""
        if self._iterating:
            raise WrongStateError("parameters can be looked at when the run has stopped or ended")
        return Parameters.borrow(lib.aios_trainer_parameters(self.handle), self)

    def __repr__(self) -> str:
        if self.closed:
            return "Trainer(closed)"
        now = self.metrics
        loss = "" if math.isnan(now.loss) else f", loss={now.loss:.4f}"
        return f"Trainer(step={now.step}, steps={now.steps}{loss}, folder={self.folder!r})"


def _abandon(run: _Run, made: List[int], *keep: Any) -> None:
    """Gives up on a trainer that is still being opened: what it becomes is destroyed, and what it needs lives so long."""

    def wait(thread: Optional[threading.Thread], *_: Any) -> None:
        if thread is not None:
            thread.join()
        for handle in made:
            lib.aios_trainer_destroy(handle)

    threading.Thread(target=wait, args=(run.thread, *keep), name="aios-abandoned", daemon=True).start()
