"""The examples, as a reader runs them."""
import glob
import os
import subprocess
import sys

import pytest

import aios

EXAMPLES = os.path.join(os.environ.get("SOURCE", os.path.join(os.path.dirname(__file__), "..", "..")), "examples", "python")


def run(name, *arguments):
    return subprocess.run([sys.executable, os.path.join(EXAMPLES, name), *map(str, arguments)], encoding="utf-8", errors="replace", capture_output=True,
                          timeout=120, check=False)


def test_train_trains_goes_on_and_writes(text, tmp_path):
    for steps in (8, 12):
        done = run("train.py", text, tmp_path / "run", steps)
        assert done.returncode == 0, done.stderr
        assert f"complete at step {steps}:" in done.stdout and "held-out text: " in done.stdout and "\nThe " in done.stdout
    assert [checkpoint.step for checkpoint in aios.checkpoints(tmp_path / "run")] == [8, 12]
    done = run("train.py", tmp_path / "nothing.txt", tmp_path / "other", 5)
    assert done.returncode == 1 and done.stderr.startswith("NOT_FOUND: ") and "nothing.txt" in done.stderr
    assert "train.py TEXT-FILE RUN-FOLDER STEPS" in run("train.py").stderr


def test_custom_model_learns_to_sort():
    done = run("custom_model.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "step 500" in done.stdout and "accuracy on new numbers: " in done.stdout


@pytest.mark.parametrize("path", sorted(glob.glob(os.path.join(EXAMPLES, "*.py"))))
def test_each_is_under_a_hundred_lines(path):
    with open(path, encoding="utf-8") as f:
        assert len(f.readlines()) < 100
