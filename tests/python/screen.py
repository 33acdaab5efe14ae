"""A display that nobody sees (Xvfb), and pictures of it."""
import contextlib
import os
import shutil
import struct
import subprocess
import tempfile
import zlib


class Screen:
    def __init__(self, folder, name):
        self.file, self.name = os.path.join(folder, "Xvfb_screen0"), name

    def pixels(self, width, height):
        """Rows of RGB bytes of the upper left part.  Xvfb keeps its screen in a file of the format xwd, four bytes for a pixel."""
        with open(self.file, "rb") as f:
            data = f.read()
        header = struct.unpack(">25I", data[:100])
        first, line = header[0] + header[19] * 12, header[12]
        for y in range(height):
            row = data[first + y * line: first + y * line + 4 * width]
            rgb = bytearray(3 * width)
            rgb[0::3], rgb[1::3], rgb[2::3] = row[2::4], row[1::4], row[0::4]
            yield bytes(rgb)

    def save(self, path, width, height):
        """As PNG."""
        def chunk(kind, body):
            return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

        raw = b"".join(b"\0" + row for row in self.pixels(width, height))
        with open(path, "wb") as f:
            f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
                    chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b""))


@contextlib.contextmanager
def display(width, height):
    """Makes one and names it in DISPLAY; None where there is no Xvfb."""
    if shutil.which("Xvfb") is None:
        yield None
        return
    folder = tempfile.mkdtemp()
    read, write = os.pipe()
    server = subprocess.Popen(["Xvfb", "-displayfd", str(write), "-screen", "0", f"{width}x{height}x24", "-fbdir", folder, "-nolisten", "tcp", "-noreset"],
                              pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read) as answer:  # the number and, in a write of its own, the end of the line
        number = answer.readline().strip()
    before = os.environ.get("DISPLAY")
    os.environ["DISPLAY"] = f":{number}"
    try:
        yield Screen(folder, f":{number}")
    finally:
        if before is None:
            del os.environ["DISPLAY"]
        else:
            os.environ["DISPLAY"] = before
        server.terminate()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)
