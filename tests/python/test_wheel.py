"""The wheel, made without a network, installed into a virtual environment and used there."""
import glob
import importlib.util
import json
import os
import re
import subprocess
import sys
import zipfile

import pytest

SOURCE, BUILD = os.environ["SOURCE"], os.environ["BUILD"]
ALONE = {key: value for key, value in os.environ.items() if key not in ("AIOS_LIBRARY", "AIOS_COMMAND", "AIOS_BACKEND_PATH", "PYTHONPATH", "LD_LIBRARY_PATH")}


def run(*command, **more):
    done = subprocess.run(command, encoding="utf-8", capture_output=True, timeout=120, check=False, env={**ALONE, **more}, cwd="/")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    for module in ("pip", "setuptools", "wheel", "venv"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"this Python has no {module}")
    folder = tmp_path_factory.mktemp("wheel")
    return run(sys.executable, f"{SOURCE}/bindings/python/wheel", "--build", BUILD, "--output", str(folder), "--cmake", os.environ.get("CMAKE", "cmake")).strip()


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", "--without-pip", str(folder))
    python = str(folder / "bin" / "python3")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps", "--disable-pip-version-check", wheel)
    return python


def test_it_is_tagged_for_the_system_and_carries_the_libraries(wheel):
    assert re.search(r"/libaios-[\d.]+-py3-none-(many)?linux_[0-9a-z_]+\.whl$", wheel)
    names = zipfile.ZipFile(wheel).namelist()
    assert "aios/_native/lib/libaios.so.0" in names and "aios/_native/bin/aios" in names and "aios/py.typed" in names
    plugins = {os.path.basename(path) for path in glob.glob(f"{BUILD}/lib/aios/libaios-*.so")}
    assert plugins == {os.path.basename(name) for name in names if name.startswith("aios/_native/lib/aios/libaios-")}
    assert any("/needed/libjansson.so" in name for name in names)
    assert not [name for name in names if "__pycache__" in name or "/needed/libc.so" in name]


def test_it_works_in_an_environment_of_its_own(python, text, tmp_path):
    program = f"""
import aios, json, sys
trainer = aios.Trainer(dataset_file={str(text)!r}, n_layer=1, n_head=2, n_embd=16, max_seq_len=16, steps=5, device="cpu",
                       save_dir={str(tmp_path / "run")!r}, cache_dir={str(tmp_path / "cache")!r})
result = trainer.run()
print(json.dumps([aios.__file__, aios.lib.dll._name, result.step, [backend.path for backend in aios.devices().backends]]))
"""
    where, library, step, backends = json.loads(run(python, "-c", program))
    assert where.startswith(os.path.dirname(os.path.dirname(python))) and library.startswith(os.path.dirname(where)) and step == 5
    assert all(path == "built in" or path.startswith(os.path.dirname(where)) for path in backends)


def test_its_command_works(python):
    for command in ([os.path.join(os.path.dirname(python), "aios")], [python, "-m", "aios"]):
        assert json.loads(run(*command, "resolve", "--json", "cpu"))["accelerator"] == "cpu"
        failed = subprocess.run([*command, "resolve", "gpu:77"], env=ALONE, encoding="utf-8", capture_output=True, timeout=60, check=False)
        assert failed.returncode == 2 and "gpu:77" in failed.stderr


def test_it_goes_as_it_came(python, wheel):
    run(sys.executable, "-m", "pip", "--python", python, "uninstall", "--quiet", "--yes", "--disable-pip-version-check", "libaios")
    assert not glob.glob(os.path.dirname(os.path.dirname(python)) + "/lib/python*/site-packages/*aios*")
