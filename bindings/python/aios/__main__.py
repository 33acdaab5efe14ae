"""python -m aios: the `aios` command of the wheel, else the one on PATH."""
import os
import shutil
import sys
from typing import NoReturn

from ._library import NATIVE


def main() -> NoReturn:
    bundled = os.path.join(NATIVE, "bin", "aios")
    command = bundled if os.path.exists(bundled) else os.environ.get("AIOS_COMMAND") or shutil.which("aios")
    if command is None:
        sys.exit("aios: the command is not installed: this package has none of its own, and there is none on PATH")
    environment = dict(os.environ)
    if command == bundled:  # with the libraries beside it, whatever the machine has
        folders = [os.path.join(NATIVE, "lib"), environment.get("LD_LIBRARY_PATH"), os.path.join(NATIVE, "lib", "needed")]
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, folders))
    os.execve(command, [command, *sys.argv[1:]], environment)


if __name__ == "__main__":
    main()
