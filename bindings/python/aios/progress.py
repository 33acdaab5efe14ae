"""A line that shows how far a run is: in a terminal, or in a notebook's cell."""
from __future__ import annotations

import html
import math
import shutil
import sys
import time
from typing import Any, List, Optional, TextIO

from .events import Event

__all__ = ["Progress"]


def duration(seconds: Optional[float]) -> str:
    """"1:05", "2:03:00"; "" for what is not known."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return ""
    whole = int(seconds + 0.5)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def quantity(number: float) -> str:
    """"950", "12.3k", "4.5M"."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f}{letter}"
    return f"{number:.0f}"


def _in_notebook() -> bool:
    """Whether this runs in a kernel that shows HTML.  IPython is looked at only where it is loaded: it is no requirement."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    return shell is not None and hasattr(shell, "kernel")


class Progress:
    """Shows events.  stream: where to, in a terminal; None: the standard error."""

    def __init__(self, stream: Optional[TextIO] = None, interval: float = 0.1) -> None:
        self.stream = stream if stream is not None else sys.stderr
        self.interval = interval
        self.notebook = _in_notebook() and stream is None
        self.terminal = not self.notebook and hasattr(self.stream, "isatty") and self.stream.isatty()
        self.steps = 0
        self._fields: List[str] = []
        self._share = 0.0
        self._label = ""
        self._drawn = -math.inf
        self._display: Any = None
        self._open = False

    @classmethod
    def wanted(cls) -> bool:
        """Whether somebody watches: a terminal or a notebook."""
        return _in_notebook() or (hasattr(sys.stderr, "isatty") and sys.stderr.isatty())

    def __call__(self, event: Event) -> None:
        if event.name == "data" and event.get("total"):
            self._label, self._share = event.phase, min(event.done / event.total, 1.0)
            self._fields = [f"{quantity(event.done)}B of {quantity(event.total)}B"]
            self._draw()
        elif event.name == "run_start":
            self.steps = event.get("steps") or 0
            self._say(f"{event.get('model', 'model')}: {quantity(event.get('parameters') or 0)} parameters on {event.get('device', '?')}")
        elif event.name == "step":
            self._step(event)
        elif event.name == "eval":
            accuracy = event.get("exact_accuracy", event.get("accuracy"))
            known = f", accuracy {100 * accuracy:.1f} %" if isinstance(accuracy, float) else ""
            self._say(f"evaluation at step {event.step}: loss {event.loss:.4f}{known}")
        elif event.name in ("warning", "device_dropped"):
            self._say(f"warning: {event.get('message', '')}")
        elif event.name == "checkpoint_save":
            self._say(f"checkpoint {event.get('path', '')}")
        elif event.name == "training_complete":
            self._draw(now=True)
            self._end()

    def _step(self, event: Event) -> None:
        step, loss = event.step, event.get("loss")
        self._label = f"step {step}/{self.steps}" if self.steps else f"step {step}"
        self._share = min(step / self.steps, 1.0) if self.steps else 0.0
        left = duration(event.get("eta"))
        self._fields = [f"loss {loss:.4f}" if isinstance(loss, float) else "loss -", f"lr {event.get('lr') or 0:.3g}",
                        f"{quantity(event.get('tokens_per_second') or 0)} tokens/s", *([f"{left} left"] if left else [])]
        self._draw()

    # ---- drawing -----------------------------------------------------------------------------------------------------

    def text(self, width: int) -> str:
        """The line as it is, cut to a width."""
        after = "  ".join(self._fields)
        room = max(8, min(40, width - len(self._label) - len(after) - 12))
        full = int(self._share * room + 0.5)
        encoding = getattr(self.stream, "encoding", None) or "ascii"
        done, open_ = ("━", "─") if encoding.lower().replace("-", "") == "utf8" else ("#", ".")
        return f"{self._label}  {done * full}{open_ * (room - full)} {100 * self._share:3.0f} %  {after}"[:width]

    def _draw(self, now: bool = False) -> None:
        moment = time.monotonic()
        if not now and moment - self._drawn < self.interval:
            return
        self._drawn = moment
        if self.notebook:
            self._show()
        elif self.terminal:
            self.stream.write("\r" + self.text(shutil.get_terminal_size().columns - 1) + "\x1b[K")
            self.stream.flush()
            self._open = True

    def _show(self) -> None:
        from IPython.display import HTML, display  # type: ignore

        bar = (f"<div>{html.escape(self._label)} <progress value='{self._share:.4f}' max='1' style='width:20em;vertical-align:middle'></progress> "
               f"{100 * self._share:.0f} % &ensp;{html.escape('  '.join(self._fields))}</div>")
        if self._display is None:
            self._display = display(HTML(bar), display_id=True)
        else:
            self._display.update(HTML(bar))

    def _say(self, line: str) -> None:
        """A line that stays, above the one that moves."""
        if self.terminal:
            self.stream.write("\r\x1b[K" + line + "\n")
            self._draw(now=bool(self._label))
        elif not self.notebook:
            self.stream.write(line + "\n")
        else:
            print(line)

    def _end(self) -> None:
        if self._open:
            self.stream.write("\n")
            self.stream.flush()
            self._open = False

    def close(self) -> None:
        """Leaves the line as it is; what comes next begins a new one."""
        self._end()
