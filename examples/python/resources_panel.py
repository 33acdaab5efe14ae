#!/usr/bin/env python3
"""A window: pick devices, see what a run would make of them, train, watch.

    resources_panel.py [--selection FILE] [TEXT-FILE] [OPTION=VALUE …]

Options are those of `aios train`: n-layer=4 lr=3e-3.  On a machine without a GPU:

    aios-sim --devices cuda:2,hip:1,xpu:1 -- python3 resources_panel.py notes.txt"""
import argparse
import logging
import sys

try:
    import tkinter as tk
except ImportError:
    sys.exit("resources_panel: this Python has no tkinter; on Debian the package python3-tk has it")

import aios
from aios.panel import Panel, selection_path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", nargs="?", default="", help="text to learn from")
    parser.add_argument("--selection", default=selection_path(), help="file that keeps the selected devices")
    parser.add_argument("options", nargs="*", metavar="OPTION=VALUE")
    arguments = parser.parse_args()
    options = dict(option.split("=", 1) for option in arguments.options)
    logging.basicConfig(format="%(message)s")  # the warnings of the panel and of the library

    try:
        root = tk.Tk()
    except tk.TclError as error:
        sys.exit(f"resources_panel: {error}")
    root.title(f"AI-OS resources, libaios {aios.version()}")
    panel = Panel(root, arguments.selection, dataset_file=arguments.text, **{name.replace("-", "_"): value for name, value in options.items()})
    panel.pack(fill="both", expand=True)
    root.minsize(960, 480)

    def leave() -> None:
        panel.close()  # a run that goes on saves a checkpoint first
        root.destroy()

    root.protocol("WM_DELETE_WINDOW", leave)
    root.mainloop()


if __name__ == "__main__":
    main()
