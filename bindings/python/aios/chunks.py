"""Who trains which part of a dataset, so that every sample counts exactly once whatever crashes (aios/chunk_tracker.h).

It needs nothing else of libaios: any program can share out the records of any dataset with it."""
from __future__ import annotations

import contextlib
import ctypes
import time
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional

from . import _c
from ._library import Handle, encode, lib, optional, shared_context, string, structure
from .errors import NotFoundError

__all__ = ["ChunkTracker", "Claim", "TrackerInfo", "ChunkProgress", "Share", "Holder"]


def _fields(made: Any) -> Dict[str, Any]:
    """The fields of a structure, texts as str and 0/1 as they are."""
    found = {}
    for name, *_ in made._fields_:
        value = getattr(made, name)
        if name not in ("struct_size", "reserved"):
            found[name] = string(value) if isinstance(value, bytes) or value is None else value
    return found


@dataclass(frozen=True)
class TrackerInfo:
    """Of the whole tracker; what is not known is 0."""

    needs_resume: bool
    block_samples: int
    chunk_samples: int
    total_samples: int
    total_blocks: int
    epochs: int  #: begun so far
    current_epoch: int  #: the first that is not complete
    sealed: int  #: the number of the last checkpoint that was sealed; 0: none
    committed: int
    forgotten: int
    claims: int
    steps: int
    brain_id: str
    dataset_name: str
    dataset_identity: str
    path: str


@dataclass(frozen=True)
class ChunkProgress:
    """Of an epoch or a block."""

    complete: bool
    samples: int
    trained: int
    committed: int
    claimed: int
    chunks: int
    chunks_trained: int
    chunks_committed: int
    blocks: int
    blocks_trained: int
    blocks_committed: int


@dataclass(frozen=True)
class Share:
    """What one device trained."""

    gpu_id: int
    device: str
    committed: int  #: samples
    pending: int
    steps: int


@dataclass(frozen=True)
class Holder:
    """A claim as others see it."""

    gpu_id: int
    device: str
    owner: str
    process: int
    token: int
    epoch: int
    block: int
    chunk: int
    first: int
    end: int
    trained: int
    lease_seconds: float
    claimed_at: float


class Claim:
    """The samples range(first, end) of one chunk, for this worker to train.

    complete() ends it; as a with statement it is completed at the end, and released where the body raises."""

    def __init__(self, tracker: "ChunkTracker", made: Any) -> None:
        self._tracker = tracker
        self.token: int = made.token
        self.epoch: int = made.epoch
        self.block: int = made.block
        self.chunk: int = made.chunk
        self.offset: int = made.offset  #: where in the chunk it begins: above 0 where the samples before are trained already
        self.first: int = made.first
        self.end: int = made.end
        self.steps = 0  #: as reported
        self.trained = 0
        self.optimizer_step = 0
        self.ended = False

    @property
    def samples(self) -> range:
        return range(self.first, self.end)

    def __len__(self) -> int:
        return self.end - self.first

    def heartbeat(self) -> None:
        """Renews the lease."""
        lib.aios_chunk_tracker_heartbeat(self._tracker.handle, self.token)

    def progress(self, samples: int, steps: int = 0, optimizer_step: int = 0) -> None:
        """Says how far it is: samples from its first on, and optimizer steps, both since it was claimed.  Renews the lease."""
        lib.aios_chunk_tracker_progress(self._tracker.handle, self.token, samples, steps, optimizer_step)
        self.trained, self.steps, self.optimizer_step = samples, steps, optimizer_step

    def complete(self, steps: Optional[int] = None, optimizer_step: Optional[int] = None) -> None:
        """Every sample of it is trained."""
        lib.aios_chunk_tracker_complete(self._tracker.handle, self.token, self.steps if steps is None else steps,
                                        self.optimizer_step if optimizer_step is None else optimizer_step)
        self.ended = True

    def release(self, samples: Optional[int] = None, steps: Optional[int] = None, optimizer_step: Optional[int] = None) -> None:
        """Gives back all but the first `samples` (as reported by progress, where it is not said)."""
        lib.aios_chunk_tracker_release(self._tracker.handle, self.token, self.trained if samples is None else samples,
                                       self.steps if steps is None else steps, self.optimizer_step if optimizer_step is None else optimizer_step)
        self.ended = True

    def __enter__(self) -> "Claim":
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if not self.ended:
            if kind is None:
                self.complete()
            else:
                self.release()

    def __repr__(self) -> str:
        return f"Claim(epoch={self.epoch}, block={self.block}, chunk={self.chunk}, samples={self.first}:{self.end})"


class ChunkTracker(Handle):
    """The tracker of a folder, which other processes may have open too::

        with aios.ChunkTracker("run", total_samples=1_000_000) as tracker:
            for claim in tracker.claims(device="cuda:0", last_epoch=0):
                with claim:
                    train(records[claim.first:claim.end])
                with tracker.checkpoint():
                    save()

    A sample counts as trained with the checkpoint that holds its weights: resume(n) after a crash frees the rest."""

    def __init__(self, folder: Any, *, total_samples: int = 0, block_samples: int = 0, chunk_samples: int = 0, brain_id: Optional[str] = None,
                 dataset_name: Optional[str] = None, dataset_identity: Optional[str] = None, lease_seconds: float = 60.0,
                 busy_seconds: float = 30.0, every_call_durable: bool = False, recover: bool = False, read_only: bool = False) -> None:
        options = structure("aios_chunk_tracker_options", folder=encode(folder), total_samples=total_samples, block_samples=block_samples,
                            chunk_samples=chunk_samples, brain_id=optional(brain_id), dataset_name=optional(dataset_name),
                            dataset_identity=optional(dataset_identity), lease_seconds=lease_seconds, busy_seconds=busy_seconds,
                            durability=int(every_call_durable), recover=int(recover), read_only=int(read_only))
        context, handle = shared_context(), ctypes.c_void_p()
        lib.aios_chunk_tracker_open(context.handle, ctypes.byref(options), ctypes.byref(handle))
        self._own("aios_chunk_tracker_close", handle.value or 0, context)

    def set_total(self, total_samples: int) -> None:
        """Where the number of samples became known late."""
        lib.aios_chunk_tracker_set_total(self.handle, total_samples)

    # ---- claims ------------------------------------------------------------------------------------------------------

    def _claim(self, options: Any) -> Any:
        made = structure("aios_chunk_claim")
        lib.aios_chunk_tracker_claim(self.handle, ctypes.byref(options), ctypes.byref(made))
        return made

    def claim(self, *, owner: str = "", device: str = "", gpu_id: int = -1, start_block: int = 0, start_chunk: int = 0,
              last_epoch: Optional[int] = None, wait: bool = True) -> Optional[Claim]:
        """The lowest free samples of the lowest epoch that has some; None when nothing is left up to last_epoch (None: no end).

        wait: where others hold all that is left, waits for it to come back or be done; False: None then too."""
        options = structure("aios_chunk_claim_options", owner=encode(owner), device=encode(device), gpu_id=gpu_id, start_block=start_block,
                            start_chunk=start_chunk, last_epoch=_c.AIOS_CHUNK_EVERY if last_epoch is None else last_epoch)
        made = self._claim(options)
        while made.outcome == _c.AIOS_CHUNK_WAIT and wait:
            time.sleep(min(max(made.wait_seconds, 0.01), 1.0))
            made = self._claim(options)
        return Claim(self, made) if made.outcome == _c.AIOS_CHUNK_CLAIMED else None

    def claims(self, **options: Any) -> Iterator[Claim]:
        """claim() until nothing is left."""
        while True:
            claim = self.claim(**options)
            if claim is None:
                return
            yield claim

    def abandon(self, owner: str) -> None:
        """The weights of a worker of this tracker are lost: what it trained since the last checkpoint is free again."""
        lib.aios_chunk_tracker_abandon(self.handle, encode(owner))

    # ---- checkpoints -------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def checkpoint(self) -> Iterator[int]:
        """seal(), the body, which writes the checkpoint durably, and commit(); without the latter where the body raises."""
        number = self.seal()
        yield number
        self.commit(number)

    def share(self) -> None:
        """The weights of all workers have just been merged."""
        lib.aios_chunk_tracker_share(self.handle)

    def seal(self) -> int:
        """Gives all that is trained to a new checkpoint, before that is written; its number."""
        number = ctypes.c_uint64()
        lib.aios_chunk_tracker_seal(self.handle, ctypes.byref(number))
        return number.value

    def commit(self, checkpoint: int) -> None:
        """The checkpoint is on the disk: its samples count."""
        lib.aios_chunk_tracker_commit(self.handle, checkpoint)

    def resume(self, checkpoint: int) -> None:
        """Training goes on from this checkpoint (0: from new weights): samples that it lacks are free again."""
        lib.aios_chunk_tracker_resume(self.handle, checkpoint)

    def forget(self, checkpoint: int) -> None:
        """No checkpoint before this one will be resumed from."""
        lib.aios_chunk_tracker_forget(self.handle, checkpoint)

    def export(self, path: Any = None) -> None:
        """Writes what is committed as JSON; None: FOLDER/chunk_tracker_state.json."""
        lib.aios_chunk_tracker_export(self.handle, optional(path))

    # ---- looking -----------------------------------------------------------------------------------------------------

    @property
    def info(self) -> TrackerInfo:
        made = structure("aios_chunk_tracker_info")
        lib.aios_chunk_tracker_get_info(self.handle, ctypes.byref(made))
        values = _fields(made)
        values["needs_resume"] = bool(values["needs_resume"])
        return TrackerInfo(**values)

    @staticmethod
    def _progress(made: Any) -> ChunkProgress:
        values = _fields(made)
        values["complete"] = bool(values["complete"])
        return ChunkProgress(**values)

    def epoch(self, epoch: int) -> ChunkProgress:
        made = structure("aios_chunk_progress")
        lib.aios_chunk_tracker_get_epoch(self.handle, epoch, ctypes.byref(made))
        return self._progress(made)

    def block(self, epoch: int, block: int) -> ChunkProgress:
        made = structure("aios_chunk_progress")
        lib.aios_chunk_tracker_get_block(self.handle, epoch, block, ctypes.byref(made))
        return self._progress(made)

    def shares(self, epoch: Optional[int] = None) -> List[Share]:
        """What each device trained, in an epoch or in all."""
        return [Share(**found) for found in self._listed("aios_chunk_share", lib.aios_chunk_tracker_get_share,
                                                         _c.AIOS_CHUNK_EVERY if epoch is None else epoch)]

    def holders(self) -> List[Holder]:
        """The claims that go on, by token."""
        return [Holder(**found) for found in self._listed("aios_chunk_holder", lib.aios_chunk_tracker_get_holder)]

    def _listed(self, name: str, get: Any, *arguments: int) -> Iterator[Dict[str, Any]]:
        index = 0
        while True:
            made = structure(name)
            try:
                get(self.handle, *arguments, index, ctypes.byref(made))
            except NotFoundError:
                return
            yield _fields(made)
            index += 1
