"""What the tests of the Python package share."""
import os
import random

import pytest

import aios


@pytest.fixture
def text(tmp_path):
    """A file of 20 kB of words."""
    words = random.Random(7).choices("the cat sat on a mat and saw that it was good for all of them".split(), k=5000)
    path = tmp_path / "text.txt"
    path.write_text(" ".join(words))
    return path


@pytest.fixture
def tiny(text, tmp_path):
    """Options of a run that takes a second."""
    return dict(dataset_file=text, n_layer=1, n_head=2, n_embd=16, max_seq_len=16, batch_size=4, steps=12, lr=3e-3, save_dir=tmp_path / "run",
                cache_dir=tmp_path / "cache", device="cpu")


@pytest.fixture(scope="session", autouse=True)
def the_library_under_test():
    """The one of this build, not one that is installed."""
    assert os.environ.get("AIOS_LIBRARY") or os.path.exists(os.path.join(os.path.dirname(aios.__file__), "_native")), "set AIOS_LIBRARY"
