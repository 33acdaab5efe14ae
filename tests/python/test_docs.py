"""The code of the guide, run from its top to its end, on two simulated GPUs."""
import os
import re

import pytest

SOURCE = os.environ.get("SOURCE", os.path.join(os.path.dirname(__file__), "..", ".."))


@pytest.mark.parametrize("page", ["docs/python.md", "README.md", "bindings/python/README.md"])
def test_the_code_of_a_page_runs(page, text, tmp_path, monkeypatch, capsys):
    for module in ("numpy", "torch"):
        pytest.importorskip(module)
    with open(os.path.join(SOURCE, page), encoding="utf-8") as f:
        blocks = re.findall(r"^```python\n(.*?)^```", f.read(), re.S | re.M)
    assert blocks
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    os.rename(text, "notes.txt")
    names = {}
    for number, block in enumerate(blocks, 1):
        # The READMEs' runs of hundreds of steps are as good with a few here.
        exec(compile(re.sub(r"steps=\d00,", "steps=4, max_seq_len=32,", block), f"{page}, block {number}", "exec"), names)
    said = capsys.readouterr().out
    if page == "docs/python.md":
        for expected in ("gpu [0, 1] ddp", "Effective batch size: 64 (32 × 2 GPUs)", "complete 20 ", '"batch_sise": the nearest is "batch-size"', "1000\n"):
            assert expected in said, (expected, said)
        assert re.search(r"^True [1-9]\d+$", said, re.M), said  # training was ahead of the loop that was left at step 10
