"""A window to pick devices and watch a run on them: tkinter on this package (examples/python/resources_panel.py shows it).

Selection is what is chosen and what the library says to it, without a window; Resources, LossPlot and Training are widgets, which a program
may put into windows of its own."""
from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import tkinter as tk
from dataclasses import dataclass
from tkinter import filedialog, ttk
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from .arrays import GPUDevice, Telemetry
from .errors import Error
from .events import Event
from .hardware import Device, Devices, Hardware, devices, load_selection, resolve
from .progress import duration, quantity
from .trainer import Trainer

__all__ = ["LossPlot", "Panel", "Resources", "Selection", "Training", "selection_path"]
logger = logging.getLogger("aios.panel")
PRECISIONS = ("32", "16-mixed", "bf16-mixed")
LIST_MOST = 8  # devices that a tooltip or status line names
INK, FAINT, LINE, PAPER, ACCENT, WARNING, WARNING_PAPER, ERROR = "#1d2733", "#68737f", "#d8dee5", "#ffffff", "#1f6feb", "#7a4b00", "#fff4d6", "#b42318"


def selection_path() -> str:
    """Where the selection is kept from one start to the next."""
    return os.path.join(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"), "aios", "devices.json")


# ---- the selection, without a window ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """What the library says to a selection."""

    hardware: Optional[Hardware]  #: None where it can't run
    error: str
    effective_batch: str  #: "Effective batch size: 64 (32 × 2 GPUs)", or ""
    notes: Tuple[str, ...]
    warnings: Tuple[str, ...]  #: sentences

    @property
    def can_run(self) -> bool:
        return self.hardware is not None


class Selection:
    """Which devices are checked, the precision and the batch size; kept in a file."""

    def __init__(self, path: Optional[str] = None, os_name: Optional[str] = None) -> None:
        self.path = path
        self.os_name = os_name
        self.precision, self.batch_size = PRECISIONS[0], 8
        self.checked: List[str] = []  #: words, in the order of the list
        self.missing: List[str] = []  #: selected before, and not there now
        self.changes: List[str] = []  #: since it was kept
        self.devices: Devices = devices()
        self._restore()

    def _restore(self) -> None:
        words = [device.word for device in self.devices]
        kept = None
        if self.path and os.path.exists(self.path):
            try:
                kept = load_selection(self.path, os=self.os_name)
            except Error as error:
                self.changes = [f"The selection that was kept can't be read: {error}"]
        if kept is None:  # the first GPU, else the CPU
            self.checked = words[:1]
            return
        for change in kept.changes:
            logger.warning("%s", change)
        used = {device.word for device in self.devices if device.spec in kept.specs and "empty_selection_defaulted" not in kept.warnings}
        self.checked = [device.word for device in self.devices if device.word in used or device.word in kept.requested and not device.is_gpu]
        self.missing = [word for word in kept.requested if any(change.startswith(word + " ") and " gone" in change for change in kept.changes)]
        self.changes = list(kept.changes) + [message for token, message in zip(kept.warnings, kept.warning_messages)
                                             if token == "operating_system_changed"]
        self.precision = kept.precision

    def refresh(self) -> None:
        """Looks for devices again; what is checked stays checked where it is still there."""
        self.devices = devices()
        there = [device.word for device in self.devices]
        self.missing = [word for word in self.missing + self.checked if word not in there]
        self.checked = [word for word in there if word in self.checked]

    def check(self, word: str, on: bool) -> None:
        if word in self.missing and not on:
            self.missing.remove(word)
        chosen = set(self.checked) | {word} if on else set(self.checked) - {word}
        self.checked = [device.word for device in self.devices if device.word in chosen]
        self.changes = []

    def verdict(self) -> Verdict:
        """Asks the library, whose sentences are shown as they are."""
        try:
            found = resolve(self.checked, batch_size=self.batch_size, precision=self.precision, os=self.os_name)
        except Error as error:
            return Verdict(None, str(error), "", (), tuple(self.changes))
        effective = next((note for note in found.notes if note.startswith("Effective batch size")), "")
        return Verdict(found, "", effective, tuple(note for note in found.notes if note != effective),
                       tuple(self.changes) + tuple(found.warning_messages))

    def keep(self, verdict: Verdict) -> None:
        """Writes the selection, those that are missing too, for the next start.  An empty one is not kept."""
        if not self.path or verdict.hardware is None:
            return
        try:
            os.makedirs(os.path.dirname(os.path.abspath(self.path)), exist_ok=True)
            all_ = resolve(self.checked + self.missing, precision=self.precision, os=self.os_name, fallback=True) if self.missing else verdict.hardware
            all_.save(self.path)
        except (Error, OSError) as error:
            logger.warning("the selection could not be kept: %s", error)


# ---- widgets ---------------------------------------------------------------------------------------------------------


_TICK = ((3, 7), (4, 8), (5, 9), (6, 10), (7, 9), (8, 8), (9, 7), (10, 6), (11, 5), (12, 4))  # of 16 x 16


_images: List[tk.PhotoImage] = []  # Tk keeps no reference


def _box(root: tk.Misc, border: str, fill: str, tick: str = "") -> tk.PhotoImage:
    """A checkbox, with a tick where that has a colour."""
    image = tk.PhotoImage(master=root, width=20, height=16)
    areas = [(border, 1, 1, 15, 15), (fill, 2, 2, 14, 14)] + [(tick, x, y - 1, x + 1, y + 1) for x, y in _TICK if tick]
    for colour, *area in areas:
        image.tk.call(image, "put", colour, "-to", *area)
    return image


def style(root: tk.Misc) -> None:
    """The look of all widgets here."""
    made = ttk.Style(root)
    made.theme_use("clam")
    images = _box(root, "#9aa5b1", PAPER), _box(root, ACCENT, ACCENT, PAPER)
    _images.extend(images)
    with contextlib.suppress(tk.TclError):  # a second window
        made.element_create("aios.check", "image", images[0], ("selected", images[1]))
    made.layout("TCheckbutton", [("Checkbutton.padding", {"sticky": "nswe", "children": [
        ("aios.check", {"side": "left", "sticky": ""}), ("Checkbutton.label", {"side": "left", "sticky": "nswe"})]})])
    made.configure(".", background=PAPER, foreground=INK, bordercolor=LINE, lightcolor=LINE, darkcolor=LINE, troughcolor="#eef1f4")
    made.configure("Faint.TLabel", foreground=FAINT)
    made.configure("Head.TLabel", font=("TkDefaultFont", 12, "bold"))
    made.configure("Column.TLabel", foreground=FAINT, font=("TkDefaultFont", 8))
    made.configure("Warning.TLabel", foreground=WARNING, background=WARNING_PAPER, padding=8)
    made.configure("Error.TLabel", foreground=ERROR)
    made.configure("TCheckbutton", background=PAPER)
    made.map("TCheckbutton", background=[("active", PAPER)], foreground=[("disabled", FAINT)])
    made.configure("TButton", padding=(14, 5), background="#eef1f4")
    made.configure("Small.TButton", padding=(10, 2))
    made.configure("Run.TButton", padding=(18, 5), background=ACCENT, foreground="#ffffff", bordercolor=ACCENT)
    made.map("Run.TButton", background=[("disabled", "#c5cdd6"), ("active", "#1a5fd0")], foreground=[("disabled", "#ffffff")],
             bordercolor=[("disabled", "#c5cdd6")])
    made.configure("Use.Horizontal.TProgressbar", background="#2da44e", thickness=10)
    made.configure("Run.Horizontal.TProgressbar", background=ACCENT, thickness=8)
    made.map("TCombobox", fieldbackground=[("readonly", PAPER)])


class Resources(ttk.Frame):
    """The devices with checkboxes, the precision, and what the library says to the selection.

    changed: called with the verdict whenever it is another one."""

    def __init__(self, parent: tk.Misc, selection: Selection, changed: Callable[[Verdict], Any] = lambda verdict: None) -> None:
        super().__init__(parent, padding=16)
        self.selection, self._changed = selection, changed
        self.verdict = selection.verdict()
        self.checks: Dict[str, tk.BooleanVar] = {}
        self.boxes: Dict[str, ttk.Checkbutton] = {}
        self._meters: Dict[str, Tuple[ttk.Progressbar, ttk.Label]] = {}
        self.precision = tk.StringVar(self, selection.precision)
        self.batch_size = tk.StringVar(self, str(selection.batch_size))
        self.columnconfigure(0, weight=1)
        head = ttk.Frame(self)
        head.grid(sticky="ew")
        head.columnconfigure(0, weight=1)
        ttk.Label(head, text="Resources", style="Head.TLabel").grid(sticky="w")
        ttk.Button(head, text="Refresh", style="Small.TButton", command=self.refresh).grid(row=0, column=1)
        self._list = ttk.Frame(self)
        self._list.grid(sticky="ew", pady=(8, 0))
        self._list.columnconfigure(0, weight=1)
        tk.Frame(self, height=1, background=LINE).grid(sticky="ew", pady=12)
        self._settings()
        self.effective = ttk.Label(self)
        self.notes = ttk.Label(self, style="Faint.TLabel")
        self.warning = ttk.Label(self, style="Warning.TLabel")
        self.error = ttk.Label(self, style="Error.TLabel")
        self._fill()
        self.update_verdict(keep=False)

    def _settings(self) -> None:
        row = ttk.Frame(self)
        row.grid(sticky="ew")
        ttk.Label(row, text="Precision").grid(padx=(0, 8))
        box = ttk.Combobox(row, textvariable=self.precision, values=PRECISIONS, state="readonly", width=11)
        box.grid(row=0, column=1, padx=(0, 20))
        ttk.Label(row, text="Batch size").grid(row=0, column=2, padx=(0, 8))
        ttk.Spinbox(row, textvariable=self.batch_size, from_=1, to=65536, width=7).grid(row=0, column=3)
        for variable in (self.precision, self.batch_size):
            variable.trace_add("write", lambda *_: self._settings_changed())

    def _settings_changed(self) -> None:
        self.selection.precision = self.precision.get()
        with contextlib.suppress(ValueError):  # half typed
            self.selection.batch_size = max(1, int(self.batch_size.get()))
        self.update_verdict()

    def _fill(self) -> None:
        """One row for each device, and for each that is gone and still selected."""
        for child in self._list.winfo_children():
            child.destroy()
        for column, text in enumerate(("Device", "Memory", "In use")):
            ttk.Label(self._list, text=text, style="Column.TLabel").grid(row=0, column=column, sticky="w", padx=(0 if column == 0 else 14, 0))
        self.checks, self.boxes, self._meters = {}, {}, {}
        for i, device in enumerate(self.selection.devices):
            self._row(2 * i + 1, device.word, f"{device.name}  ({device.spec if device.is_gpu else 'CPU'})", f"{device.memory_gb:.1f} GB",
                      device.word in self.selection.checked)
        for i, word in enumerate(self.selection.missing, len(self.selection.devices)):
            self._row(2 * i + 1, word, f"{word}  (not there now)", "", True)
        self._list.update_idletasks()
        for label in (self.effective, self.notes, self.warning, self.error):  # as wide as the list
            label.configure(wraplength=self._list.winfo_reqwidth() - 16)

    def _row(self, row: int, word: str, name: str, memory: str, on: bool) -> None:
        variable = self.checks[word] = tk.BooleanVar(self, on)
        box = self.boxes[word] = ttk.Checkbutton(self._list, text=name, variable=variable, command=lambda: self.toggle(word))
        box.grid(row=row, sticky="w", pady=3)
        ttk.Label(self._list, text=memory).grid(row=row, column=1, sticky="e", padx=(14, 0))
        bar = ttk.Progressbar(self._list, style="Use.Horizontal.TProgressbar", length=90, maximum=100)
        bar.grid(row=row, column=2, padx=(14, 0))
        value = ttk.Label(self._list, text="–", style="Faint.TLabel", width=11)
        value.grid(row=row, column=3, sticky="w", padx=(8, 0))
        self._meters[word] = (bar, value)

    def toggle(self, word: str) -> None:
        """Takes over what a checkbox says."""
        gone = word in self.selection.missing
        self.selection.check(word, self.checks[word].get())
        if gone:
            self._fill()
        self.update_verdict()

    def refresh(self) -> None:
        self.selection.refresh()
        self._fill()
        self.update_verdict()

    def update_verdict(self, keep: bool = True) -> None:
        """Shows what the library says now, and keeps the selection."""
        self.verdict = self.selection.verdict()
        shown = ((self.effective, self.verdict.effective_batch), (self.notes, "\n".join(self.verdict.notes)),
                 (self.warning, "\n".join(self.verdict.warnings)), (self.error, self.verdict.error))
        for place, (label, text) in enumerate(shown):
            label.configure(text=text)
            if text:
                label.grid(row=10 + place, sticky="ew", pady=(10, 0))
            else:
                label.grid_remove()
        if keep:
            self.selection.keep(self.verdict)
        self._changed(self.verdict)

    def show_use(self, word: str, now: Optional[Telemetry]) -> None:
        """How busy a device is; None: not looked at."""
        bar, value = self._meters.get(word, (None, None))
        if bar is None or value is None:
            return
        use = now.utilisation if now is not None else None
        bar.configure(value=use or 0)
        parts = [f"{use:.0f} %"] if use is not None else []
        if now is not None and now.temperature is not None:
            parts.append(f"{now.temperature:.0f} °C")
        value.configure(text="  ".join(parts) or "–")


class LossPlot(tk.Canvas):
    """Loss against steps: a line for training, dots for evaluations."""

    LEFT, RIGHT, TOP, BOTTOM = 52, 18, 30, 42

    def __init__(self, parent: tk.Misc, **options: Any) -> None:
        super().__init__(parent, background=PAPER, highlightthickness=1, highlightbackground=LINE, **options)
        self.points: List[Tuple[int, float]] = []
        self.evaluations: List[Tuple[int, float]] = []
        self.bind("<Configure>", lambda _: self.draw())

    def clear(self) -> None:
        self.points, self.evaluations = [], []
        self.draw()

    def add(self, event: Event) -> None:
        """Takes "step" and "eval" events."""
        loss = event.get("loss")
        if isinstance(loss, (int, float)) and loss == loss and event.name in ("step", "eval"):
            (self.points if event.name == "step" else self.evaluations).append((int(event.step), float(loss)))

    @staticmethod
    def ticks(low: float, high: float, count: int) -> List[float]:
        """Round numbers in [low, high], about `count`."""
        span = max(high - low, 1e-9) / max(count, 1)
        size = 10.0 ** len(str(int(span))) / 10 if span >= 1 else 1.0
        while size > span:
            size /= 10
        size *= next(factor for factor in (1, 2, 5, 10) if factor * size >= span * 0.99)
        first = int(low / size) + (low > int(low / size) * size)
        return [i * size for i in range(first, int(high / size + 1e-9) + 1)]

    def draw(self) -> None:
        self.delete("all")
        width, height = self.winfo_width(), self.winfo_height()
        right, bottom = width - self.RIGHT, height - self.BOTTOM
        if right - self.LEFT < 50 or bottom - self.TOP < 50:
            return
        self.create_text(self.LEFT, 13, text="Loss (nats per token)", anchor="w", fill=INK)
        everything = self.points + self.evaluations
        if not everything:
            self.create_text((self.LEFT + right) / 2, (self.TOP + bottom) / 2, text="The loss of a run is drawn here.", fill=FAINT)
            return
        last = max(max(step for step, _ in everything), 2)
        low, high = min(loss for _, loss in everything), max(loss for _, loss in everything)
        low, high = low - 0.05 * (high - low or 1), high + 0.05 * (high - low or 1)

        def at(step: float, loss: float) -> Tuple[float, float]:
            return self.LEFT + (step - 1) / (last - 1) * (right - self.LEFT), bottom - (loss - low) / (high - low) * (bottom - self.TOP)

        for loss in self.ticks(low, high, 5):
            y = at(1, loss)[1]
            self.create_line(self.LEFT, y, right, y, fill=LINE)
            self.create_text(self.LEFT - 8, y, text=f"{loss:.3g}", anchor="e", fill=FAINT)
        for step in self.ticks(1, last, 6):
            if step == int(step):
                self.create_text(at(step, low)[0], bottom + 12, text=f"{step:.0f}", fill=FAINT)
        self.create_text(right, height - 8, text="step", anchor="e", fill=FAINT)
        thinned = self.points[:: max(1, len(self.points) // 1000)]
        if len(thinned) > 1:
            self.create_line([coordinate for point in thinned for coordinate in at(*point)], fill=ACCENT, width=2, joinstyle="round")
        for step, loss in self.evaluations:
            x, y = at(step, loss)
            self.create_oval(x - 4, y - 4, x + 4, y + 4, fill="#d9480f", outline=PAPER)
        self._legend(right)

    def _legend(self, right: int) -> None:
        self.create_line(right - 176, 13, right - 158, 13, fill=ACCENT, width=2)
        self.create_text(right - 152, 13, text="training", anchor="w", fill=INK)
        self.create_oval(right - 86, 9, right - 78, 17, fill="#d9480f", outline=PAPER)
        self.create_text(right - 72, 13, text="evaluation", anchor="w", fill=INK)


class _Monitor:
    """Reads the telemetry of devices on a thread of its own: a driver may take its time, or hang."""

    def __init__(self, chosen: Sequence[Device], interval: float = 0.5) -> None:
        self.readings: "queue.SimpleQueue[Dict[str, Telemetry]]" = queue.SimpleQueue()
        self._stop = threading.Event()
        self._chosen, self._interval = list(chosen), interval
        threading.Thread(target=self._watch, name="aios-monitor", daemon=True).start()

    def _watch(self) -> None:
        opened: Dict[str, GPUDevice] = {}
        for device in self._chosen:
            with contextlib.suppress(Error):
                opened[device.word] = GPUDevice(device.spec)
        busy = _processor_times()
        while not self._stop.wait(self._interval):
            made: Dict[str, Telemetry] = {}
            now = _processor_times()
            for word, handle in opened.items():
                with contextlib.suppress(Error):
                    made[word] = handle.telemetry() if handle.backend != "cpu" else _processor_use(busy, now)
            busy = now
            self.readings.put(made)
        for handle in opened.values():
            handle.close()

    def close(self) -> None:
        self._stop.set()


def _processor_times() -> Optional[Tuple[int, int]]:
    """(busy, all) ticks of the processors, where the system tells them."""
    try:
        with open("/proc/stat", encoding="ascii") as f:
            ticks = [int(word) for word in f.readline().split()[1:]]
    except (OSError, ValueError):
        return None
    return sum(ticks) - sum(ticks[3:5]), sum(ticks)


def _processor_use(before: Optional[Tuple[int, int]], now: Optional[Tuple[int, int]]) -> Telemetry:
    spent = now[1] - before[1] if now and before else 0
    return Telemetry(100.0 * (now[0] - before[0]) / spent if now and before and spent > 0 else None, None, None, None)


class Training(ttk.Frame):
    """A run on the selected devices: what to train, Run and Stop, progress and loss.

    options: further keywords of Trainer, for instance the sizes of the model."""

    def __init__(self, parent: tk.Misc, resources: Resources, **options: Any) -> None:
        super().__init__(parent, padding=16)
        self.resources, self.options = resources, options
        if options.get("save_dir"):
            options.setdefault("resume", True)  # Run after Stop goes on
        self.trainer: Optional[Trainer] = None
        self.outcome = ""  #: of the last run: "complete", "stopped", "error"
        self._events: "queue.SimpleQueue[Any]" = queue.SimpleQueue()
        self._thread: Optional[threading.Thread] = None
        self._monitor: Optional[_Monitor] = None
        self.file = tk.StringVar(self, str(options.pop("dataset_file", "") or ""))
        self.steps = tk.StringVar(self, str(options.pop("steps", 200)))
        self.columnconfigure(1, weight=1)
        self.rowconfigure(4, weight=1)
        ttk.Label(self, text="Training", style="Head.TLabel").grid(columnspan=3, sticky="w", pady=(0, 10))
        ttk.Label(self, text="Text").grid(row=1, sticky="w", padx=(0, 10))
        ttk.Entry(self, textvariable=self.file).grid(row=1, column=1, sticky="ew")
        ttk.Button(self, text="Browse…", command=self._browse).grid(row=1, column=2, padx=(8, 0))
        ttk.Label(self, text="Steps").grid(row=2, sticky="w", pady=8)
        bar = ttk.Frame(self)
        bar.grid(row=2, column=1, columnspan=2, sticky="ew")
        bar.columnconfigure(1, weight=1)
        ttk.Spinbox(bar, textvariable=self.steps, from_=1, to=10**9, width=9).grid(sticky="w")
        self.run_button = ttk.Button(bar, text="Run", style="Run.TButton", command=self.run)
        self.run_button.grid(row=0, column=2)
        self.stop_button = ttk.Button(bar, text="Stop", command=self.stop, state="disabled")
        self.stop_button.grid(row=0, column=3, padx=(8, 0))
        self.progress = ttk.Progressbar(self, style="Run.Horizontal.TProgressbar", maximum=1.0)
        self.progress.grid(row=3, columnspan=3, sticky="ew", pady=(4, 10))
        self.plot = LossPlot(self, width=440, height=300)
        self.plot.grid(row=4, columnspan=3, sticky="nsew")
        self.status = ttk.Label(self, style="Faint.TLabel", wraplength=460)
        self.status.grid(row=5, columnspan=3, sticky="ew", pady=(10, 0))
        resources._changed = self.verdict_changed
        self.verdict_changed(resources.verdict)
        self._poll()

    @property
    def running(self) -> bool:
        return self._thread is not None

    def _browse(self) -> None:
        found = filedialog.askopenfilename(parent=self, title="Text to learn from")
        if found:
            self.file.set(found)

    def verdict_changed(self, verdict: Verdict) -> None:
        self.run_button.configure(state="normal" if verdict.can_run and not self.running else "disabled")
        if not self.running:
            hardware = verdict.hardware
            shown = [] if hardware is None else hardware.specs[:LIST_MOST] + ["…"] * (len(hardware.specs) > LIST_MOST)
            self.status.configure(text=f"Ready: {', '.join(shown)}" if shown else verdict.error)

    # ---- a run -------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Starts a run on what is selected."""
        if self.running or not self.resources.verdict.can_run:
            return
        selection = self.resources.selection
        options = {**self.options, "dataset_file": self.file.get(), "steps": self.steps.get(), "devices": selection.checked,
                   "precision": selection.precision, "batch_size": selection.batch_size}
        self.plot.clear()
        self.progress.configure(value=0)
        self.status.configure(text="Opening …")
        hardware = self.resources.verdict.hardware
        self._monitor = _Monitor([device for device in selection.devices if hardware is not None and device.spec in hardware.specs])
        self._thread = threading.Thread(target=self._train, args=(options,), name="aios-panel", daemon=True)
        self._thread.start()
        self.stop_button.configure(state="normal")
        self.run_button.configure(state="disabled")

    def _train(self, options: Dict[str, Any]) -> None:
        """On the run's thread, which touches no widget."""
        try:
            with Trainer(**options) as trainer:
                self.trainer = trainer
                for event in trainer:
                    self._events.put(event)
                self._events.put(trainer.result)
        except Exception as error:  # shown in the window
            self._events.put(error)
        finally:
            self.trainer = None
            self._events.put(None)

    def stop(self) -> None:
        """After the step that is running; a second time, at once."""
        trainer = self.trainer
        if trainer is not None and not trainer.closed:
            trainer.stop(immediate="disabled" in self.stop_button.state())
            self.status.configure(text="Stopping: a checkpoint is saved …")

    def _poll(self) -> None:
        """Takes what the threads have to say, ten times a second."""
        drawn = False
        while True:
            try:
                found = self._events.get_nowait()
            except queue.Empty:
                break
            drawn |= self._take(found)
        if drawn:
            self.plot.draw()
        if self._monitor is not None:
            with contextlib.suppress(queue.Empty):
                for word, now in self._monitor.readings.get_nowait().items():
                    self.resources.show_use(word, now)
        self._after = self.after(100, self._poll)

    def _take(self, found: Any) -> bool:
        """Shows one thing; whether the plot is another one."""
        if found is None:
            self._ended()
        elif isinstance(found, Event):
            self.plot.add(found)
            if found.name == "step":
                self._show_step(found)
            elif found.name in ("warning", "device_dropped"):
                logger.warning("%s", found.get("message"))
            return found.name in ("step", "eval")
        elif isinstance(found, BaseException):
            self.outcome = "error"
            self.status.configure(text=str(found), style="Error.TLabel")
        else:
            self.outcome = found.outcome
            what = "Stopped" if found.stopped else "Done"
            self.status.configure(text=f"{what} at step {found.step}, loss {found.loss:.4f}.  Saved in {found.checkpoint or found.folder}",
                                  style="Faint.TLabel")
        return False

    def _show_step(self, event: Event) -> None:
        steps = max(int(self.steps.get() or 1), 1) if self.steps.get().isdigit() else 1
        self.progress.configure(value=min(event.step / steps, 1.0))
        left = duration(event.get("eta"))
        self.status.configure(text=f"Step {event.step} of {steps}    loss {event.get('loss') or float('nan'):.4f}    "
                                   f"{quantity(event.get('tokens_per_second') or 0)} tokens/s    {left + ' left' if left else ''}", style="Faint.TLabel")

    def _ended(self) -> None:
        if self._thread is not None:
            self._thread.join()
        self._thread = None
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None
        for device in self.resources.selection.devices:
            self.resources.show_use(device.word, None)
        self.stop_button.configure(state="disabled")
        self.run_button.configure(state="normal" if self.resources.verdict.can_run else "disabled")

    def close(self) -> None:
        """Ends a run with a checkpoint, and the widget."""
        self.after_cancel(self._after)
        if self.trainer is not None:
            self.trainer.stop(immediate=True)
        if self._thread is not None:
            self._thread.join()
        if self._monitor is not None:
            self._monitor.close()


class Panel(ttk.Frame):
    """Both halves side by side, for a window of their own.  path: where the selection is kept; options: keywords of Trainer."""

    def __init__(self, root: tk.Misc, path: Optional[str] = None, os_name: Optional[str] = None, **options: Any) -> None:
        super().__init__(root)
        style(root)
        self.resources = Resources(self, Selection(path, os_name))
        self.training = Training(self, self.resources, **options)
        self.columnconfigure(1, weight=1)
        self.rowconfigure(0, weight=1)
        self.resources.grid(row=0, column=0, sticky="n")
        tk.Frame(self, width=1, background=LINE).grid(row=0, column=0, sticky="nse")
        self.training.grid(row=0, column=1, sticky="nsew")

    def close(self) -> None:
        self.training.close()
        self.destroy()
