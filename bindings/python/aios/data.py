"""Text as token ids, and a corpus as training samples (aios/tokenizer.h, aios/dataset.h)."""
from __future__ import annotations

import ctypes
from typing import Any, Callable, List, Optional, Sequence, Tuple, Union

from . import _c
from ._library import Handle, encode, int32s, lib, optional, out, patiently, shared_context, string, structure
from .arrays import new_host
from .graph import choose

__all__ = ["Dataset", "Tokenizer"]

_SPLITS = {"all": _c.AIOS_SPLIT_ALL, "train": _c.AIOS_SPLIT_TRAIN, "eval": _c.AIOS_SPLIT_EVAL}
_INT32 = ctypes.POINTER(ctypes.c_int32)


class Tokenizer(Handle):
    """Text to token ids and back: "bytes" (256 of them and an end of text), or a folder with tokenizer.json or with vocab.json and
    merges.txt.  It never changes, and any number of threads may use it."""

    def __init__(self, spec: Any = "bytes") -> None:
        context = shared_context()
        self._own("aios_tokenizer_close", out(lib.aios_tokenizer_open, context.handle, encode(spec)), context)
        self.name: str = string(lib.aios_tokenizer_name(self.handle))  #: "bytes" or "bpe"
        self.vocabulary_size: int = lib.aios_tokenizer_vocabulary_size(self.handle)
        end = lib.aios_tokenizer_end_of_text(self.handle)
        self.end_of_text: Optional[int] = end if end >= 0 else None  #: the id that stands between documents
        self.identity: str = string(lib.aios_tokenizer_identity(self.handle))  #: the same for two that give the same ids

    def encode(self, text: Union[str, bytes], special: bool = False) -> List[int]:
        """The ids of a text.  special: a special token that stands in it ("<|endoftext|>") becomes its one id."""
        if not isinstance(text, (str, bytes, bytearray)):
            raise TypeError(f"a text or its bytes are needed, not {type(text).__name__}")
        data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else bytes(text)
        capacity = 2 * len(data) + 1
        ids, count = (ctypes.c_int32 * capacity)(), ctypes.c_size_t()
        call = lib.aios_tokenizer_encode_special if special else lib.aios_tokenizer_encode
        call(self.handle, data, len(data), ids, capacity, ctypes.byref(count))
        return ids[: count.value]

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The bytes of ids; one id may be a part of a character."""
        given, length = int32s(ids, "ids"), ctypes.c_size_t()
        lib.aios_tokenizer_decode(self.handle, given, len(given), None, 0, ctypes.byref(length))
        text = ctypes.create_string_buffer(max(length.value, 1))
        lib.aios_tokenizer_decode(self.handle, given, len(given), text, length.value, ctypes.byref(length))
        return text.raw[: length.value]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; what is no UTF-8 becomes U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def find(self, token: str) -> Optional[int]:
        """The id of a token of that text ("<|endoftext|>", " the")."""
        data = token.encode()
        found = lib.aios_tokenizer_find(self.handle, data, len(data))
        return found if found >= 0 else None

    def save(self, folder: Any) -> None:
        """Writes the files that it was opened from into a folder that is there."""
        lib.aios_tokenizer_save(self.handle, encode(folder))


class Dataset(Handle):
    """A corpus as samples of equal length: a file (.txt, .jsonl, .csv, .gz, an archive), a folder of them, or hf://ORG/NAME.

    It is tokenized once, into a cache file that is mapped into memory.  Sample number `order` is a pure function of the corpus and these
    arguments, whatever thread reads it; its labels are its inputs moved by one, -100 where there is none."""

    def __init__(self, path: Any, tokenizer: Any = "bytes", sequence_length: int = 128, *, split: str = "all",
                 eval_fraction: float = 0.0, shuffle: bool = True, seed: int = 0, cache_dir: Any = None, skip_bad_lines: bool = False,
                 progress: Optional[Callable[[int, int], Any]] = None) -> None:
        self.tokenizer = tokenizer if isinstance(tokenizer, Tokenizer) else Tokenizer(tokenizer)
        failure: List[BaseException] = []

        def report(_user: Any, done: int, total: int) -> int:
            try:
                if progress is not None:
                    progress(done, total)
            except BaseException as error:  # comes out of the constructor
                failure.append(error)
            return int(bool(failure))

        options = structure("aios_dataset_options", path=encode(path), tokenizer=self.tokenizer.handle, sequence_length=sequence_length,
                            split=choose(_SPLITS, "split", split), eval_fraction=eval_fraction, shuffle=int(shuffle), seed=seed,
                            cache_folder=optional(cache_dir), skip_bad_lines=int(skip_bad_lines))
        options.progress = type(options.progress)(report)
        context = shared_context()
        try:
            handle = patiently(lambda: out(lib.aios_dataset_open, context.handle, ctypes.byref(options)), context, self.tokenizer)
        except KeyboardInterrupt as error:
            failure.append(error)  # ends the tokenizing, which goes on behind this
            raise
        except Exception as error:
            if failure:
                raise failure[0] from error
            raise
        self._own("aios_dataset_close", handle, context, self.tokenizer)
        self.sequence_length = sequence_length

    def __len__(self) -> int:
        """Samples of one epoch."""
        return int(lib.aios_dataset_count(self.handle))

    @property
    def tokens(self) -> int:
        """Of the whole corpus."""
        return int(lib.aios_dataset_tokens(self.handle))

    @property
    def documents(self) -> int:
        return int(lib.aios_dataset_document_count(self.handle))

    @property
    def order_identity(self) -> str:
        """The same for the same samples in the same order: ChunkTracker's dataset_identity."""
        return string(lib.aios_dataset_order_identity(self.handle))

    def read(self, order: int) -> Tuple[Any, Any]:
        """(inputs, labels) of a sample of an endless run through the data: epoch order // len, position order % len."""
        (inputs, to), (labels, beside) = new_host("i32", (self.sequence_length,)), new_host("i32", (self.sequence_length,))
        lib.aios_dataset_read(self.handle, order, ctypes.cast(to, _INT32), ctypes.cast(beside, _INT32))
        return inputs, labels

    def read_range(self, epoch: int, first: int, count: int) -> Tuple[Any, Any]:
        """(inputs, labels), each (count, sequence_length), of samples of an epoch: what a Claim names."""
        shape = (count, self.sequence_length)
        (inputs, to), (labels, beside) = new_host("i32", shape), new_host("i32", shape)
        lib.aios_dataset_read_range(self.handle, epoch, first, count, ctypes.cast(to, _INT32), ctypes.cast(beside, _INT32))
        return inputs, labels

    def prefetch(self, epoch: int, first: int, count: int) -> None:
        """Has samples brought into memory, in the background."""
        lib.aios_dataset_prefetch(self.handle, epoch, first, count)
