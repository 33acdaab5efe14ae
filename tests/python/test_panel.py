"""The panel on simulated devices (aios-sim --devices cuda:2,hip:1,xpu:1) and a display that nobody sees."""
import logging
import os
import runpy
import sys
import time

import pytest

import aios
import screen

tkinter = pytest.importorskip("tkinter")
panel_module = pytest.importorskip("aios.panel")
WIDTH, HEIGHT = 1100, 600
HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("BUILD", "/tmp")


@pytest.fixture(scope="module")
def shown():
    with screen.display(WIDTH, HEIGHT) as made:
        if made is None:
            pytest.skip("there is no Xvfb")
        yield made


@pytest.fixture
def panel(shown, tmp_path, text):
    made = []

    def make(os_name=None, **options):
        root = tkinter.Tk()
        root.geometry(f"{WIDTH}x{HEIGHT}+0+0")
        sizes = dict(n_layer=1, n_head=2, n_embd=16, max_seq_len=16, lr=3e-3, cache_dir=tmp_path / "cache", save_dir=tmp_path / "run", dataset_file=text, steps=12)
        panel = panel_module.Panel(root, str(tmp_path / "config" / "devices.json"), os_name, **{**sizes, **options})
        panel.pack(fill="both", expand=True)
        root.update()
        made.append((panel, root))
        return panel

    yield make
    for panel, root in made:
        panel.close()
        root.destroy()


def choose(panel, **words):
    """choose(panel, gpu0=True, cpu=False): as clicks do."""
    for name, on in words.items():
        word = name if name == "cpu" else f"{name[:3]}:{name[3:]}"
        panel.resources.checks[word].set(on)
        panel.resources.toggle(word)
    panel.update()


def labels(panel):
    resources = panel.resources
    shown = {name: getattr(resources, name) for name in ("effective", "notes", "warning", "error")}
    return {name: label.cget("text") for name, label in shown.items() if label.winfo_ismapped()}


def can_run(panel):
    return "disabled" not in panel.training.run_button.state()


def wait(panel, until, seconds=60):
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, panel.training.status.cget("text")
        panel.update()
        time.sleep(0.01)
    panel.update()


def test_all_devices_are_listed_with_name_and_memory_and_the_first_gpu_is_checked(panel):
    made = panel()
    texts = [str(box.cget("text")) for box in made.resources.boxes.values()]
    assert list(made.resources.boxes) == ["gpu:0", "gpu:1", "gpu:2", "gpu:3", "cpu"]
    assert [text.split("(")[1] for text in texts] == ["cuda:0)", "cuda:1)", "xpu:0)", "hip:0)", "CPU)"]
    assert all(device.name in text for device, text in zip(aios.devices(), texts))
    shown = {child.cget("text") for child in made.resources._list.winfo_children() if isinstance(child, tkinter.ttk.Label)}
    assert {"2.1 GB", f"{aios.devices()[-1].memory_gb:.1f} GB"} <= shown
    assert made.resources.selection.checked == ["gpu:0"] and can_run(made) and labels(made) == {}


def test_several_gpus_of_a_vendor_show_the_effective_batch_and_the_ddp_note(panel):
    made = panel()
    made.resources.batch_size.set("32")
    choose(made, gpu1=True)
    assert labels(made)["effective"] == "Effective batch size: 64 (32 × 2 GPUs)"
    assert "Multi-GPU (DDP) will be used automatically." in labels(made)["notes"].split("\n")
    choose(made, gpu1=False)
    assert "effective" not in labels(made)


def test_a_cpu_beside_gpus_is_ignored_with_a_note(panel):
    made = panel()
    choose(made, cpu=True)
    assert "CPU ignored" in labels(made)["notes"] and labels(made)["warning"] == aios.warning_message("mixed_device_selection")
    assert made.resources.verdict.hardware.specs == ["cuda:0"] and can_run(made)


def test_mixed_vendors_train_independently(panel):
    made = panel()
    choose(made, gpu2=True, gpu3=True)
    assert "parallel_independent" in labels(made)["notes"]


def test_nothing_selected_disables_run(panel):
    made = panel()
    choose(made, gpu0=False)
    assert not can_run(made) and labels(made) == {"error": "No device selected"}
    made.training.run()
    assert not made.training.running
    choose(made, cpu=True)
    assert can_run(made) and made.resources.verdict.hardware.accelerator == "cpu"


def test_the_precision_is_one_of_three(panel):
    made = panel()
    made.resources.precision.set("bf16-mixed")
    assert made.resources.verdict.hardware.precision == "bf16-mixed"
    assert panel_module.PRECISIONS == next(option.choices for option in aios.options() if option.name == "precision")


def test_the_selection_is_kept_and_what_is_gone_is_said(panel, tmp_path, caplog):
    first = panel()
    choose(first, gpu0=False, gpu2=True, gpu3=True)
    first.resources.precision.set("bf16-mixed")
    second = panel()
    assert (second.resources.selection.checked, second.resources.precision.get()) == (["gpu:2", "gpu:3"], "bf16-mixed")
    kept = tmp_path / "config" / "devices.json"
    changed = kept.read_text().replace(next(device.uuid for device in aios.devices() if device.word == "gpu:3"), "another").replace('gpu:3', 'gpu:9')
    changed = changed.replace("AMD", "XYZ").replace(next(device.pci_address for device in aios.devices() if device.word == "gpu:3"), "ffff:ff:1f.7")
    kept.write_text(changed)
    with caplog.at_level(logging.WARNING):
        third = panel()
    assert third.resources.selection.checked == ["gpu:2"] and third.resources.selection.missing == ["gpu:9"]
    assert "gpu:9" in labels(third)["warning"] and "gpu:9" in caplog.text
    assert "not there now" in str(third.resources.boxes["gpu:9"].cget("text"))
    choose(third, gpu9=False)
    assert "gpu:9" not in third.resources.boxes
    kept.write_text("{")
    fourth = panel()
    assert fourth.resources.selection.checked == ["gpu:0"] and "can't be read" in labels(fourth)["warning"]


def test_a_selection_of_another_operating_system_is_said(panel):
    choose(panel(os_name="windows"), gpu1=True)
    made = panel(os_name="linux")
    assert aios.warning_message("operating_system_changed") in labels(made)["warning"]


def test_windows_says_that_inference_uses_one_gpu(panel):
    made = panel(os_name="windows")
    choose(made, gpu1=True)
    assert aios.warning_message("windows_single_gpu_fallback") in labels(made)["warning"]


def test_a_run_shows_progress_use_and_loss_and_leaves_a_picture(panel, shown, monkeypatch):
    made = panel(steps=60, eval_interval=15, n_embd=32)
    choose(made, gpu1=True, cpu=True)
    monkeypatch.chdir(os.path.join(HERE, "..", ".."))
    made.training.file.set("README.md")
    made.training.run()
    assert not can_run(made) and made.training.running
    wait(made, lambda: len(made.training.plot.points) >= 45 and any(bar.cget("value") for bar, _ in made.resources._meters.values()))
    made.update()
    name = os.path.join(BUILD, "resources_panel.png")
    shown.save(name, WIDTH, HEIGHT)
    rows = b"".join(shown.pixels(WIDTH, HEIGHT))
    assert rows.count(bytes.fromhex("1f6feb")) > 500 and rows.count(bytes.fromhex("2da44e")) > 100  # the line of the plot, the bars of use
    used = made.resources._meters["gpu:0"][1].cget("text")
    assert "%" in used and "°C" in used
    assert made.training.status.cget("text").startswith("Step ")
    wait(made, lambda: not made.training.running)
    assert made.training.outcome == "complete" and made.training.status.cget("text").startswith("Done at step 60")
    assert made.training.plot.points[-1][1] < made.training.plot.points[0][1] and len(made.training.plot.evaluations) == 4
    assert can_run(made) and made.resources._meters["gpu:0"][1].cget("text") == "–"


def test_stop_saves_a_checkpoint(panel, tmp_path):
    made = panel(steps=100000)
    made.training.run()
    wait(made, lambda: len(made.training.plot.points) > 2)
    made.training.stop()
    wait(made, lambda: not made.training.running)
    assert made.training.outcome == "stopped" and len(aios.checkpoints(tmp_path / "run")) == 1
    made.training.steps.set(str(aios.load(tmp_path / "run").step + 1))
    made.training.run()  # goes on
    wait(made, lambda: not made.training.running)
    assert made.training.outcome == "complete" and len(made.training.plot.points) == 1


def test_what_fails_is_shown(panel):
    made = panel()
    made.training.file.set("/nonexistent/text.txt")
    made.training.run()
    wait(made, lambda: not made.training.running)
    assert made.training.outcome == "error" and "/nonexistent/text.txt" in made.training.status.cget("text") and can_run(made)


def test_the_example_opens_the_panel_and_leaves_it(shown, text, tmp_path, monkeypatch, capsys):
    seen = []

    def mainloop(root, n=0):
        root.update()
        seen.append((root.title(), root.winfo_children()[0]))
        root.tk.call(root.protocol("WM_DELETE_WINDOW"))  # the user closes the window

    monkeypatch.setattr(tkinter.Tk, "mainloop", mainloop)
    monkeypatch.setattr(sys, "argv", ["resources_panel.py", str(text), "n-layer=1", f"save-dir={tmp_path / 'run'}", "--selection", str(tmp_path / "devices.json")])
    runpy.run_path(os.path.join(HERE, "..", "..", "examples", "python", "resources_panel.py"), run_name="__main__")
    [(title, panel)] = seen
    assert "libaios " + aios.version() in title and panel.training.options["n_layer"] == "1"
    assert panel.training.options["save_dir"] == str(tmp_path / "run")


@pytest.mark.parametrize("low, high, expected", [(0, 10, [0, 2, 4, 6, 8, 10]), (1, 45, [10, 20, 30, 40]), (3.38, 5.6, [3.5, 4, 4.5, 5, 5.5])])
def test_ticks_are_round(low, high, expected):
    assert panel_module.LossPlot.ticks(low, high, 5) == pytest.approx(expected)
