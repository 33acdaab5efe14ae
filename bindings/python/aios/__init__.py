"""libaios in Python: train neural networks on every device of a machine at once, NVIDIA, AMD, Intel and the CPU.

    import aios

    for device in aios.devices():
        print(device.spec, device.name, device.memory_gb)

    trainer = aios.Trainer(dataset_file="notes.txt", n_layer=2, steps=500, devices=["gpu:0", "gpu:1"], save_dir="runs/notes")
    result = trainer.run()
    print(result.loss, aios.load("runs/notes").generate("It was"))

Everything is ctypes on the shared library; the GIL is free while it works.  What goes wrong is an aios.Error with the library's message.
Log lines go to the logger "aios"."""
from ._c import VERSION as __version__
from ._library import Handle, lib, string as _string
from .arrays import Array, GPUDevice, Stream, Telemetry, from_dlpack
from .checkpoints import Checkpoint, Evaluation, Generator, checkpoints, evaluate, load, merge
from .chunks import ChunkProgress, ChunkTracker, Claim, Holder, Share, TrackerInfo
from .data import Dataset, Tokenizer
from .errors import (AbiMismatchError, AlreadyExistsError, CorruptError, DeviceError, DeviceLostError, DeviceOutOfMemoryError, Error, InputOutputError,
                     InternalError, InvalidArgumentError, NotFiniteError, NotFoundError, OutOfMemoryError, OutOfRangeError, StoppedError,
                     TimedOutError, UnavailableError, UnsupportedError, WrongStateError)
from .events import Event
from .graph import Graph, Tensor
from .hardware import Backend, Device, Devices, Hardware, devices, load_selection, resolve, warning_message
from .memory import DeviceMemory, Estimate, estimate
from ._model import Model, model
from ._options import Option, options
from .parameters import LossSums, Optimizer, Parameters, Plan, PlanMemory, StepResult
from .progress import Progress
from .puzzles import Answer, HrmScores, HrmSolver, HrmTrainer, Puzzles, PuzzlesInfo, Segment, evaluate_hrm
from .trainer import Metrics, Result, Trainer


def version() -> str:
    """Of the library that is running; aios.__version__ is this package's."""
    return _string(lib.aios_version())


__all__ = ["AbiMismatchError", "AlreadyExistsError", "Answer", "Array", "Backend", "Checkpoint", "ChunkProgress", "ChunkTracker", "Claim",
           "CorruptError", "Dataset", "Device", "DeviceError", "DeviceLostError", "DeviceMemory", "DeviceOutOfMemoryError", "Devices",
           "Error", "Estimate", "Evaluation", "Event", "GPUDevice", "Generator", "Graph", "Handle", "Hardware", "Holder", "HrmScores",
           "HrmSolver", "HrmTrainer", "InputOutputError", "InternalError", "InvalidArgumentError", "LossSums", "Metrics", "Model",
           "NotFiniteError", "NotFoundError", "Optimizer", "Option", "OutOfMemoryError", "OutOfRangeError", "Parameters", "Plan",
           "PlanMemory", "Progress", "Puzzles", "PuzzlesInfo", "Result", "Segment", "Share", "StepResult", "StoppedError", "Stream",
           "Telemetry", "Tensor", "TimedOutError", "Tokenizer", "TrackerInfo", "Trainer", "UnavailableError", "UnsupportedError",
           "WrongStateError", "__version__", "checkpoints", "devices", "estimate", "evaluate", "evaluate_hrm", "from_dlpack", "load",
           "load_selection", "merge", "model", "options", "resolve", "version", "warning_message"]
