"""Puzzles, and the Hierarchical Reasoning Model that learns and solves them (aios/puzzles.h, aios/hrm.h)."""
from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from . import _c
from ._library import Handle, encode, lib, optional, out, patiently, shared_context, structure, until_stopped
from .arrays import new_host, typed
from ._options import Options, _WithKeywords
from .trainer import Trainer

__all__ = ["Answer", "HrmScores", "HrmSolver", "HrmTrainer", "Puzzles", "PuzzlesInfo", "Segment", "evaluate_hrm"]

_KINDS = {_c.AIOS_PUZZLE_SUDOKU: "sudoku", _c.AIOS_PUZZLE_MAZE: "maze", _c.AIOS_PUZZLE_ARC: "arc"}
_INT32 = ctypes.POINTER(ctypes.c_int32)


@dataclass(frozen=True)
class PuzzlesInfo:
    """Of a set."""

    vocabulary_size: int
    length: int  #: tokens of an input and of its labels
    pad_id: int
    ignore_label_id: int
    blank_identifier_id: int
    identifier_count: int
    kind: str  #: "sudoku", "maze", "arc"; "other" where a folder does not tell
    examples: int
    puzzles: int
    groups: int


class Puzzles(Handle):
    """A set of puzzles: Puzzles.sudoku(…), .mazes(…), .sudoku_csv(…), .arc(…) make one, Puzzles(folder, "train") opens one."""

    def __init__(self, folder: Any, split: str = "train") -> None:
        context = shared_context()
        self._own("aios_puzzles_destroy", out(lib.aios_puzzles_open, context.handle, encode(folder), encode(split)), context)

    @classmethod
    def _made(cls, handle: int) -> "Puzzles":
        made = cls.__new__(cls)
        made._own("aios_puzzles_destroy", handle, shared_context())
        return made

    @classmethod
    def _make(cls, function: Callable[..., Any], *arguments: Any, used: Optional["Puzzles"] = None) -> "Puzzles":
        """What may take long."""
        context = shared_context()
        return cls._made(patiently(lambda: out(function, context.handle, *arguments), context, *([used] if used else [])))

    @classmethod
    def sudoku(cls, count: int = 1000, *, size: int = 9, clues: int = 0, min_backtracks: int = 0, augmentations: int = 0, seed: int = 0,
               other: Optional["Puzzles"] = None) -> "Puzzles":
        """Different puzzles of one solution each, of size 4, 6 or 9.  other: a set of which none may occur."""
        options = structure("aios_sudoku_options", size=size, clues=clues, min_backtracks=min_backtracks, augmentations=augmentations, count=count,
                            seed=seed)
        return cls._make(lib.aios_puzzles_make_sudoku, ctypes.byref(options), other.handle if other else None, used=other)

    @classmethod
    def mazes(cls, count: int = 1000, *, size: int = 30, min_length: int = 0, openings: int = 0, dihedral: bool = False, seed: int = 0,
              other: Optional["Puzzles"] = None) -> "Puzzles":
        """Mazes with one shortest path each."""
        options = structure("aios_maze_options", size=size, min_length=min_length, openings=openings, dihedral=int(dihedral), count=count, seed=seed)
        return cls._make(lib.aios_puzzles_make_mazes, ctypes.byref(options), other.handle if other else None, used=other)

    @classmethod
    def sudoku_csv(cls, path: Any, *, most: int = 0, min_rating: float = 0.0, augmentations: int = 0, seed: int = 0) -> "Puzzles":
        """Lines of source,question,answer,rating: the first `most` (0: all) of at least min_rating."""
        return cls._make(lib.aios_puzzles_read_sudoku_csv, encode(path), most, min_rating, augmentations, seed)

    @classmethod
    def arc(cls, training: Any = None, evaluation: Any = None, *, augmentations: int = 0, seed: int = 0) -> Tuple["Puzzles", Optional["Puzzles"]]:
        """(train set, test set) of folders of ARC-AGI tasks; no test set without evaluation tasks."""
        train, test, context = ctypes.c_void_p(), ctypes.c_void_p(), shared_context()
        folders = optional(training), optional(evaluation)
        patiently(lambda: lib.aios_puzzles_read_arc(context.handle, *folders, augmentations, seed, ctypes.byref(train), ctypes.byref(test)), context)
        return cls._made(train.value or 0), cls._made(test.value) if test.value else None

    def save(self, folder: Any, split: str = "train") -> None:
        """Writes FOLDER/SPLIT in the layout of the public HRM reference."""
        lib.aios_puzzles_save(self.handle, encode(folder), encode(split))

    @property
    def info(self) -> PuzzlesInfo:
        made = structure("aios_puzzles_info")
        lib.aios_puzzles_get_info(self.handle, ctypes.byref(made))
        values: Dict[str, Any] = {name: getattr(made, name) for name, *_ in made._fields_ if name != "struct_size"}
        values["kind"] = _KINDS.get(made.kind, "other")
        return PuzzlesInfo(**values)

    def __len__(self) -> int:
        """Examples."""
        return self.info.examples

    def __getitem__(self, index: int) -> Tuple[Any, Any, int]:
        """(inputs, labels, identifier) of an example; labels that don't count are -100."""
        info, identifier = self.info, ctypes.c_int32()
        if not 0 <= index < info.examples:
            raise IndexError(f"example {index}: there are {info.examples}")
        (inputs, to), (labels, beside) = new_host("i32", (info.length,)), new_host("i32", (info.length,))
        lib.aios_puzzles_example(self.handle, index, ctypes.cast(to, _INT32), ctypes.cast(beside, _INT32), ctypes.byref(identifier))
        return inputs, labels, identifier.value


class HrmTrainer(Trainer):
    """Trains the Hierarchical Reasoning Model on puzzles.  Keywords are the options of `aios hrm train`: data_path (a folder with train/ and
    test/), steps, hidden_size, devices …; all else is as with Trainer."""

    _scope = "hrm"
    _before = Trainer._before[1:]  # a model is a folder here


@dataclass(frozen=True)
class HrmScores:
    """How many puzzles a model solves."""

    examples: int
    exact_accuracy: float  #: puzzles of which every label that counts is right
    accuracy: float  #: labels that are right
    halt_accuracy: float  #: puzzles of which "halt" is wanted just where the answer is right
    loss: float
    stopped: bool = False  #: Ctrl-C ended it: all this is of what was done by then


def evaluate_hrm(**options: Any) -> HrmScores:
    """Measures a model on data_path/test.  Keywords are the options of `aios hrm eval`: model, data_path, device …  The first Ctrl-C ends it after
    the batch of puzzles, with what was done by then; the second is a KeyboardInterrupt as ever."""
    context, made = shared_context(), structure("aios_hrm_scores")

    def work(stop: Any) -> None:
        with Options(context, "hrm", options) as given:
            lib.aios_hrm_evaluate_until(context.handle, given.handle, stop, ctypes.byref(made))

    stopped = until_stopped(work)
    return HrmScores(made.examples, made.exact_accuracy, made.accuracy, made.halt_accuracy, made.loss, stopped)


class Segment(NamedTuple):
    """Where a solver stands after a segment."""

    step: int  #: from 1
    halt: float  #: probability
    go_on: float
    answers: List[int]


class Answer(NamedTuple):
    """What a solver says in the end."""

    answers: List[int]
    steps: int
    halt: float  #: the probability at the end


class HrmSolver(Handle, metaclass=_WithKeywords):
    """Asks a trained model.  Keywords: model, device, precision …"""

    _scope = "hrm"

    def __init__(self, **options: Any) -> None:
        context = shared_context()
        with Options(context, "hrm", options) as given:
            self._own("aios_hrm_solver_destroy", out(lib.aios_hrm_solver_create, context.handle, given.handle), context)

    def solve(self, inputs: Any, identifier: int = 0, on_segment: Optional[Callable[[Segment], Any]] = None) -> Answer:
        """The answers to inputs (one token each).  on_segment sees each segment; what is true of what it returns ends it."""
        given = typed(inputs, "i32", "inputs")
        length = given.nbytes // 4
        answers, steps, halt = (ctypes.c_int32 * length)(), ctypes.c_int32(), ctypes.c_double()
        failure: List[BaseException] = []

        def heard(_user: Any, segment: Any) -> int:
            try:
                now = segment.contents
                return int(bool(on_segment(Segment(now.step, now.halt, now.go_on, now.answers[:length])))) if on_segment else 0
            except BaseException as error:  # comes out of solve
                failure.append(error)
                return 1

        lib.aios_hrm_solver_run(self.handle, ctypes.cast(given.pointer, _INT32), length, identifier, _c.aios_hrm_segment_fn(heard), None, answers,
                                ctypes.byref(steps), ctypes.byref(halt))
        if failure:
            raise failure[0]
        return Answer(answers[:], steps.value, halt.value)
