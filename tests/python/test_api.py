"""Errors, devices, selections, options, what importing needs."""
import inspect
import json
import logging
import os
import subprocess
import sys

import pytest

import aios
from aios import _c, errors
from aios._library import Context
from aios._options import Options


def test_every_status_has_an_exception_of_its_own():
    names = {name for name, code, _ in _c.STATUSES if code}
    assert set(errors.BY_STATUS) == names
    assert len({errors.BY_STATUS[name] for name in names}) == len(names)
    assert {kind.__name__ for kind in errors.BY_STATUS.values()} | {"Error"} == set(errors.__all__) <= set(aios.__all__)


def test_an_error_has_the_librarys_sentence_and_is_what_python_would_raise():
    with pytest.raises(aios.NotFoundError, match='no option "batch_sise": the nearest is "batch-size"') as caught:
        aios.Trainer(batch_sise=4)
    assert (caught.value.status, caught.value.code, str(caught.value)) == ("NOT_FOUND", 3, caught.value.message)
    assert isinstance(caught.value, LookupError)
    with pytest.raises(ValueError, match="batch-size is 0: it must be from 1 to 65536"):
        aios.Trainer(batch_size=0)
    with pytest.raises(aios.Error) as caught:
        aios.Trainer(dataset_file="/nonexistent/text.txt")
    assert "/nonexistent/text.txt" in str(caught.value)


def test_a_string_with_a_zero_byte_is_refused_instead_of_cut():
    with pytest.raises(ValueError, match="zero byte"):
        aios.resolve("cpu\0gpu:7")


def test_devices_end_with_the_cpu_and_backends_say_why_not():
    found = aios.devices()
    assert found[-1].spec.startswith("cpu:") and found[-1].word == "cpu" and not found[-1].is_gpu
    assert found[-1].memory_total > 0 and found[-1].memory_gb == round(found[-1].memory_total / 1e9, 1)
    assert "32" in found[-1].precisions
    built_in = [backend for backend in found.backends if backend.name == "cpu"][0]
    assert built_in.usable and built_in.device_count >= 1 and built_in.reason == ""
    assert all(backend.usable or backend.reason for backend in found.backends)
    assert found.gpus == [device for device in found if device.id >= 0]


def test_resolve_follows_the_table():
    only = aios.resolve(["cpu"], batch_size=32, num_workers=4)
    assert (only.accelerator, only.devices, only.strategy, only.precision, only.specs) == ("cpu", "auto", "auto", "32", ["cpu:0"])
    assert (only.effective_batch_size, only.loader_workers, only.notes, only.warnings) == (32, 4, [], [])
    assert only.as_dict()["accelerator"] == "cpu" and "accelerator='cpu'" in repr(only)
    configured = aios.resolve({"hardware": {"selected_devices": ["cpu"], "precision": "bf16-mixed"}})
    assert configured.precision == "bf16-mixed"
    for nothing in ([], "", {"selected_devices": []}):
        with pytest.raises(aios.InvalidArgumentError, match="^No device selected$"):
            aios.resolve(nothing)
    with pytest.raises(aios.NotFoundError, match="there is no device gpu:77"):
        aios.resolve(["gpu:77"])
    fallen = aios.resolve(["gpu:77"], fallback=True)
    assert fallen.specs and fallen.requested == ["gpu:77"] and "selected_device_missing" in fallen.warnings
    assert aios.warning_message("selected_device_missing") in fallen.warning_messages
    with pytest.raises(LookupError, match="mixed_device_selection"):
        aios.warning_message("no_such_warning")


def test_a_selection_is_kept(tmp_path):
    path = tmp_path / "devices.json"
    aios.resolve(["cpu"], precision="bf16-mixed").save(path)
    kept = aios.load_selection(path)
    assert (kept.requested, kept.precision, kept.changes) == (["cpu"], "bf16-mixed", [])
    path.write_text("{")
    with pytest.raises(aios.CorruptError):
        aios.load_selection(path)


def test_keywords_come_from_the_table():
    table = {option.name: option for option in aios.options("train")}
    assert table["batch_size"] == [option for option in aios.options() if option.name == "batch_size"][0]
    assert (table["batch_size"].type, table["batch_size"].default, table["batch_size"].minimum) == (int, 8, 1)
    assert table["precision"].choices == ("32", "16-mixed", "bf16-mixed") and table["shuffle"].default is True
    assert table["dataset_file"].default is None
    keywords = inspect.signature(aios.Trainer).parameters
    assert set(table) <= set(keywords) and keywords["lr"].default == table["lr"].default
    assert set(inspect.signature(aios.Generator).parameters) == {option.name for option in aios.options("generate")}
    with pytest.raises(ValueError, match="train, eval, generate"):
        aios.options("training")


@pytest.mark.parametrize("value, kept", [(True, True), ("off", False), (3, 3), (2.5, 2.5), ("3", 3), (["cpu:0", "cpu"], "cpu:0,cpu"),
                                         ({"selected_devices": ["cpu"]}, '{"selected_devices": ["cpu"]}')])
def test_values_of_every_python_type_become_options(value, kept):
    name = {bool: "shuffle", int: "batch-size", float: "lr", str: "devices"}[type(kept)]
    with Context() as context, Options(context, "train", {name: value, "seed": None}) as made:
        assert made[name] == kept and type(made[name]) is type(kept)
        assert made.as_dict() == {name.replace("-", "_"): kept}


@pytest.mark.parametrize("call, says", [
    (lambda: aios.Trainer(steps=2**64 + 100), "steps.*18446744073709551716"),
    (lambda: aios.Puzzles.sudoku(count=-1), "count is -1: it must be from 0"),
    (lambda: aios.Puzzles.mazes(count=1, size=2**32 + 5), "size is 4294967301"),
    (lambda: aios.Tokenizer().decode([2**32 + 97]), "ids .*32 bits"),
    (lambda: aios.estimate(n_layer=1, memory=-1), "memory is -1"),
    (lambda: aios.Graph().input("x", [2**32 + 1]), "shape .*32 bits"),
    (lambda: aios.GPUDevice("cpu").empty((2**40, 2**30)), "size is"),
    (lambda: aios.GPUDevice("cpu").empty((2, -3)), r"shape is \(2, -3\)"),
    (lambda: aios.resolve("cpu", batch_size=2**70), "batch_size is")])
def test_a_number_that_does_not_fit_is_refused_and_never_cut(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_a_value_of_the_wrong_type_is_named():
    for call in (lambda: aios.Puzzles.sudoku(count="10"), lambda: aios.Tokenizer().encode(5), lambda: aios.Tokenizer().decode("text"),
                 lambda: aios.Dataset(b"no such file", sequence_length=16.5)):
        with pytest.raises(TypeError, match="count must be a whole number, not '10'|not int|ids must be|sequence_length must be .*16.5"):
            call()


def test_an_empty_list_is_no_selection():
    with pytest.raises(ValueError, match="option devices: the list is empty"):
        aios.Trainer(dataset_file="x", devices=[])


def test_arrays_become_lists_of_words():
    numpy = pytest.importorskip("numpy")
    with Context() as context:
        made = Options(context, "train", {"devices": numpy.array([0, 1]), "batch_size": numpy.array(4), "lr": numpy.float32(0.5), "shuffle": numpy.bool_(False)})
        assert made.as_dict() == {"devices": "0,1", "batch_size": 4, "lr": 0.5, "shuffle": False}


def test_a_value_that_is_no_option_names_the_option():
    with pytest.raises(TypeError, match="option lr: .* not object"):
        aios.Trainer(lr=object())


def test_a_closed_handle_says_so():
    device = aios.GPUDevice("cpu")
    device.close()
    device.close()
    with pytest.raises(aios.WrongStateError, match="this GPUDevice is closed"):
        device.synchronize()
    assert "closed" in repr(device)


def test_warnings_go_to_the_logger(caplog):
    with caplog.at_level(logging.WARNING, logger="aios"):
        aios.resolve(["gpu:77"], fallback=True)
    assert any("gpu:77" in record.message or "selected" in record.message for record in caplog.records)


def run(code, **environment):
    return subprocess.run([sys.executable, "-c", code], env={**os.environ, **environment}, encoding="utf-8", capture_output=True, timeout=60,
                          check=False)


def test_importing_opens_nothing_and_needs_neither_numpy_nor_the_library():
    done = run("import sys, aios; print([m for m in ('numpy', 'IPython', 'torch', 'tkinter') if m in sys.modules])", AIOS_LIBRARY="/nonexistent.so")
    assert done.stdout == "[]\n", done.stderr
    done = run("import aios; aios.devices()", AIOS_LIBRARY="/nonexistent.so")
    assert "ImportError" in done.stderr and "/nonexistent.so" in done.stderr and "AIOS_LIBRARY" in done.stderr


def test_without_numpy_reads_are_memoryviews(text, tmp_path):
    done = run(f"""
import sys
sys.modules["numpy"] = None
import aios, json
g = aios.Graph()
x = g.input("x", [2, 3], "f32")
g.output("y", g.scale(x, 2.0))
p = aios.Parameters("cpu", g.finish(), training=False)
plan = aios.Plan(g, p)
plan.run(x=[[1, 2, 3], [4, 5, 6]])
print(json.dumps(plan.read("y").tolist()))
""")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[2, 4, 6], [8, 10, 12]]


def test_the_command_is_forwarded_to():
    done = subprocess.run([sys.executable, "-m", "aios", "--version"], encoding="utf-8", capture_output=True, timeout=60, check=False)
    assert done.returncode == 0 and aios.version() in done.stdout, done.stderr
