"""Runs: events, callbacks, stops, Ctrl-C, progress, models of one's own, saved models."""
import io
import math
import os
import signal
import subprocess
import sys
import threading
import time
import types

import pytest

import aios
from aios import trainer as trainer_module


def test_a_run_gives_its_events_and_a_result(tiny):
    trainer = aios.Trainer(**tiny, eval_interval=6)
    assert trainer.metrics.step == 0 and math.isnan(trainer.metrics.loss) and trainer.folder == str(tiny["save_dir"])
    seen, steps = [], []
    trainer.on(None, lambda event: seen.append(event.name))

    @trainer.on("step")
    def step(event):
        steps.append((event.step, event.loss, threading.current_thread()))

    result = trainer.run()
    assert [number for number, _, _ in steps] == list(range(1, 13)) and steps[-1][1] < steps[0][1]
    assert {thread for _, _, thread in steps} == {threading.main_thread()}
    assert seen[0] == "run_start" and seen[-1] == "training_complete" and seen.count("eval") >= 2
    assert (result.outcome, result.step, result.stopped, result.loss) == ("complete", 12, False, steps[-1][1])
    assert result.folder == trainer.folder and os.path.exists(os.path.join(result.checkpoint, "model.safetensors"))
    assert result.tokens == 12 * 4 * 16 and result.eval_loss > 0


def test_the_loop_is_the_run_and_leaving_it_saves(tiny):
    trainer = aios.Trainer(**{**tiny, "steps": 100000})
    for event in trainer:
        if event.name == "step" and event.step == 3:
            assert event["loss"] == event.loss and "loss" in event
            with pytest.raises(AttributeError, match='event "step" has no field "los"'):
                event.los
            break
    assert trainer.result.stopped and 3 <= trainer.result.step < 100000
    assert trainer.result.checkpoint.endswith(f"step-{trainer.result.step:08d}")
    before = trainer.result.step
    for event in trainer:  # it goes on
        if event.name == "step":
            assert event.step == before + 1
            break


def test_what_a_callback_raises_comes_out_and_the_state_is_saved(tiny):
    def fail(event):
        if event.step == 2:
            raise KeyError("mine")

    trainer = aios.Trainer(**{**tiny, "steps": 100000})
    trainer.on("step", fail)
    with pytest.raises(KeyError, match="mine"):
        trainer.run()
    assert trainer.result.stopped and os.path.isdir(trainer.result.checkpoint)


def test_stop_from_another_thread(tiny):
    trainer = aios.Trainer(**{**tiny, "steps": 1000000})
    threading.Timer(0.3, trainer.stop).start()
    assert trainer.run().stopped and trainer.result.step > 0


def test_errors_of_a_run_are_raised(tiny):
    @aios.model(vocabulary_size=257, context_length=64)
    def infinite(g, mode, batch, sequence):
        table = g.parameter("table", [257, 16], scale=0.1)
        h = g.embedding(table, g.input("tokens", [batch, sequence])) * 1e38 * 1e38
        g.cross_entropy(g.linear(h, table), g.input("labels", [batch, sequence]))

    options = {name: value for name, value in tiny.items() if not name.startswith("n_")}
    trainer = aios.Trainer(infinite, **options, max_nan_steps=1)
    with pytest.raises(aios.NotFiniteError):
        trainer.run()
    with pytest.raises(aios.AlreadyExistsError):
        aios.Trainer(**{**tiny, "save_dir": finished(tiny)})


def finished(tiny):
    folder = str(tiny["save_dir"]) + "-finished"
    aios.Trainer(**{**tiny, "save_dir": folder, "steps": 1}).run()
    return folder


def test_the_gil_is_free_while_it_trains(tiny):
    """Python code of another thread goes on at its own pace: it is counted how often it gets its turn during steps of many milliseconds."""
    trainer, turns, over = aios.Trainer(**{**tiny, "n_embd": 256, "n_layer": 2, "steps": 4, "batch_size": 16}), [0], threading.Event()

    def count():
        while not over.is_set():
            turns[0] += 1
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    began = time.monotonic()
    trainer.run()
    seconds = time.monotonic() - began
    over.set()
    thread.join()
    assert turns[0] > 20 * seconds, f"{turns[0]} turns in {seconds:.2f} s"


PROGRAM = """
import aios, sys
trainer = aios.Trainer(dataset_file=sys.argv[1], save_dir=sys.argv[2], cache_dir=sys.argv[2] + "-cache", n_layer=1, n_head=2, n_embd=16, max_seq_len=16,
                       steps=1000000, device="cpu")
trainer.on("step", lambda event: event.step == 5 and print("under way", flush=True))
result = trainer.run()
print(result.outcome, result.step, result.checkpoint, flush=True)
"""


@pytest.mark.parametrize("how", ["run", "loop"])
def test_ctrl_c_saves_a_checkpoint_and_returns(text, tmp_path, how):
    program = PROGRAM if how == "run" else PROGRAM.replace("trainer.run()", "[None for event in trainer] and trainer.result")
    child = subprocess.Popen([sys.executable, "-c", program, str(text), str(tmp_path / "run")], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             encoding="utf-8")
    assert child.stdout.readline() == "under way\n"
    child.send_signal(signal.SIGINT)
    out, said = child.communicate(timeout=60)
    assert child.returncode == 0, said
    outcome, step, checkpoint = out.split()
    assert outcome == "stopped" and int(step) >= 5 and os.path.exists(os.path.join(checkpoint, "manifest.json"))
    resumed = aios.Trainer(dataset_file=text, save_dir=tmp_path / "run", cache_dir=tmp_path / "cache", resume=True, steps=int(step) + 1, device="cpu")
    assert resumed.metrics.step == int(step) and resumed.run().step == int(step) + 1


@pytest.mark.parametrize("times", [1, 2, 3])
def test_ctrl_c_is_never_raised_in_a_callback_but_the_third(tiny, times):
    """At once after the others, from within a callback: the worst place."""
    trainer, seen = aios.Trainer(**{**tiny, "steps": 1000000}), []

    @trainer.on("step")
    def step(event):
        if not seen:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
        seen.append(event.step)

    if times < 3:
        assert trainer.run().stopped and seen
    else:
        with pytest.raises(KeyboardInterrupt):
            trainer.run()
    assert os.path.isdir(trainer.result.checkpoint) and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_the_programs_own_stays(tiny):
    trainer, heard = aios.Trainer(**{**tiny, "steps": 1000000}), []
    before = signal.signal(signal.SIGINT, lambda *_: (heard.append(1), trainer.stop()))
    try:
        trainer.on("step", lambda event: heard or signal.raise_signal(signal.SIGINT))
        assert trainer.run().stopped and heard == [1]
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_process_that_ends_in_the_middle_of_a_run_ends(text, tmp_path):
    program = PROGRAM.replace("result = trainer.run()", "next(events for events in [iter(trainer)] if next(events)); sys.exit(7)")
    done = subprocess.run([sys.executable, "-c", program, str(text), str(tmp_path / "run")], encoding="utf-8", capture_output=True, timeout=60,
                          check=False)
    assert done.returncode == 7, done.stderr
    assert len(aios.checkpoints(tmp_path / "run")) == 1


def test_what_is_no_model_says_so(tiny):
    with aios.Trainer(**tiny) as trainer:
        trainer.run()
    for folder, says in (("/nonexistent", "/nonexistent/config.json"), (str(tiny["save_dir"]), "folder of a run.*checkpoints/step-")):
        with pytest.raises(aios.NotFoundError, match=says):
            aios.Trainer(folder, dataset_file=tiny["dataset_file"], steps=1)
        with pytest.raises(aios.NotFoundError, match=says):
            aios.Generator(model=folder)


def test_a_run_goes_on_where_it_is_told_to(tiny):
    """A device that is named for the rest of a run wins over the devices that the run began on."""
    with aios.Trainer(**{**tiny, "device": None, "devices": ["cpu:0"], "steps": 4}) as trainer:
        trainer.run()
    with pytest.raises(aios.Error, match="cuda:77"):
        aios.Trainer(dataset_file=tiny["dataset_file"], save_dir=tiny["save_dir"], resume=True, steps=6, device="cuda:77")
    with aios.Trainer(dataset_file=tiny["dataset_file"], save_dir=tiny["save_dir"], resume=True, steps=6, device="cpu") as trainer:
        assert trainer.run().step == 6


def test_opening_can_be_interrupted(tiny, monkeypatch):
    """What is opened in the meantime, from a text that was tokenized before, is given up."""
    aios.Trainer(**tiny).close()
    destroyed = threading.Event()
    monkeypatch.setattr(trainer_module._Run, "next", lambda run: (_ for _ in ()).throw(KeyboardInterrupt))
    destroy = trainer_module.lib.aios_trainer_destroy
    monkeypatch.setitem(trainer_module.lib.__dict__, "aios_trainer_destroy", lambda handle: (destroy(handle), destroyed.set()))
    with pytest.raises(KeyboardInterrupt):
        aios.Trainer(**tiny)
    assert destroyed.wait(30)


def test_ctrl_c_ends_the_tokenizing_too(tiny, tmp_path):
    long = tmp_path / "long.txt"
    long.touch()
    os.truncate(long, 1 << 30)  # seconds of work
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        aios.Trainer(**{**tiny, "dataset_file": long, "cache_dir": tmp_path / "long"})
    for thread in threading.enumerate():
        if thread.name == "aios-abandoned":
            thread.join(30)
    assert os.listdir(tmp_path / "long") == []  # neither half of a file nor all of it


def test_closing_ends_a_run_with_a_checkpoint(tiny):
    with aios.Trainer(**{**tiny, "steps": 1000000}) as trainer:
        events = iter(trainer)
        while next(events).name != "step":
            pass
    assert trainer.closed and len(aios.checkpoints(tiny["save_dir"])) == 1
    with pytest.raises(aios.WrongStateError):
        trainer.run()


# ---- progress --------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def test_progress_in_a_terminal_is_one_line(tiny):
    terminal = Terminal()
    aios.Trainer(**tiny, callbacks=[aios.Progress(terminal, interval=0)]).run()
    shown = terminal.getvalue()
    last = shown.rstrip("\n").split("\r")[-1]
    assert "step 12/12" in last and "100 %" in last and "loss " in last and "tokens/s" in last and "━" in last
    assert "parameters on cpu:0\n" in shown and "evaluation at step 12: loss " in shown and shown.endswith("\n")
    assert all(len(line) < 200 for line in shown.split("\r"))


def test_progress_in_a_pipe_is_plain_lines(tiny):
    stream = io.StringIO()
    aios.Trainer(**tiny, callbacks=[aios.Progress(stream, interval=0)]).run()
    assert "\r" not in stream.getvalue() and "evaluation at step 12" in stream.getvalue()


def test_progress_in_a_notebook_updates_one_display(tiny, monkeypatch):
    shown, updates = [], []
    handle = types.SimpleNamespace(update=lambda made: updates.append(made))
    module, display = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    module.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    display.HTML, display.display = str, lambda made, display_id: shown.append(made) or handle
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    progress = aios.Progress(interval=0)
    aios.Trainer(**tiny, callbacks=[progress]).run()
    assert len(shown) == 1 and "step 12/12" in updates[-1] and "<progress value='1.0000'" in updates[-1]


@pytest.mark.parametrize("seconds, said", [(0, "0:00"), (65, "1:05"), (7380, "2:03:00"), (None, ""), (math.inf, "")])
def test_durations(seconds, said):
    assert aios.progress.duration(seconds) == said


# ---- models ----------------------------------------------------------------------------------------------------------


def tiny_model(g, mode, batch, sequence):
    table = g.parameter("table", [257, 16], scale=0.1)
    tokens, labels = g.input("tokens", [batch, sequence]), g.input("labels", [batch, sequence])
    h = g.embedding(table, tokens)
    h = h + g.swiglu(g.linear(h, g.parameter("up", [32, 16])))
    g.cross_entropy(g.linear(h, table), labels)


def test_a_model_of_ones_own_trains(tiny):
    model = aios.Model.custom(tiny_model, vocabulary_size=257, context_length=64, config={"mine": 1})
    options = {name: value for name, value in tiny.items() if not name.startswith("n_")}
    trainer = aios.Trainer(model, **{**options, "steps": 60, "lr": 3e-2})
    result = trainer.run()
    assert result.loss < 3.5
    assert set(trainer.parameters) == {"table", "up"} and trainer.parameters.total == 257 * 16 + 32 * 16
    assert aios.load(result.folder).config == {"mine": 1}


def test_what_a_model_raises_comes_out_at_its_line(tiny):
    options = {name: value for name, value in tiny.items() if not name.startswith("n_")}

    @aios.model(vocabulary_size=257, context_length=64)
    def broken(g, mode, batch, sequence):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        aios.Trainer(broken, **options)

    @aios.model(vocabulary_size=257, context_length=64)
    def mistaken(g, mode, batch, sequence):
        g.linear(g.embedding(g.parameter("t", [257, 16]), g.input("tokens", [batch, sequence])), g.parameter("w", [4, 15]))

    with pytest.raises(aios.InvalidArgumentError, match="15") as caught:
        aios.Trainer(mistaken, **options)
    assert any(entry.name == "mistaken" for entry in caught.traceback)


def test_saved_models_are_listed_opened_measured_continued_and_merged(tiny, text, tmp_path):
    trainer = aios.Trainer(**{**tiny, "checkpoint_interval": 6})
    trainer.run()
    found = aios.checkpoints(trainer.folder)
    assert [checkpoint.step for checkpoint in found] == [6, 12] and aios.load(trainer.folder).path == found[-1].path
    newest = aios.load(trainer.folder)
    assert newest.config["n_layer"] == 1 and newest.model.name == "gpt2"
    measured = newest.evaluate(text, max_seq_len=16, cache_dir=tmp_path / "cache", device="cpu")
    assert measured.perplexity == pytest.approx(math.exp(measured.loss)) and measured.tokens > 0
    once = newest.generate("the ", max_tokens=8, sample_seed=5, device="cpu")
    with aios.Generator(model=newest, max_tokens=8, device="cpu") as generator:
        assert generator.run("the ", seed=5) == once == "".join(generator.stream("the ", seed=5))
        assert next(generator.stream("the ", seed=5)) and generator.run("the ", seed=5) == once  # a stream that was left does no harm
    generator = aios.Generator(model=newest, max_tokens=30, device="cpu", prompt=b"the ", sample_seed=5)
    assert generator.run()[:4] == once[:4]  # bytes as they are
    stream = generator.stream("the ", seed=5)
    assert next(stream)
    generator.close()  # while the thread of the stream is in C
    assert isinstance("".join(stream), str) and generator.closed
    copy = newest.save(tmp_path / "copy", dtype="f32")
    assert copy.generate("the ", max_tokens=8, sample_seed=5, device="cpu") == once and copy.step == 0
    merged = aios.merge([found[0], found[1]], tmp_path / "merged", weights=[1, 3])
    values = [checkpoint.parameters().read("wte.weight") for checkpoint in (*found, merged)]
    assert abs(values[2] - (0.25 * values[0] + 0.75 * values[1])).max() < 1e-6
    with pytest.raises(aios.NotFoundError, match="neither a model"):
        aios.load(tmp_path)


def test_ctrl_c_ends_an_evaluation_with_what_was_done(tiny, tmp_path):
    aios.Trainer(**tiny).run()
    (tmp_path / "long.txt").write_text("the cat sat on a mat and saw that it was good for all of them " * 20000)
    options = dict(dataset_file=tmp_path / "long.txt", max_seq_len=16, batch_size=1, cache_dir=tmp_path / "cache", device="cpu")
    whole = aios.load(tiny["save_dir"]).evaluate(**options, eval_batches=3)
    assert (whole.stopped, whole.tokens) == (False, 48)
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    measured = aios.load(tiny["save_dir"]).evaluate(**options, eval_batches=0)  # a million tokens, one by one: seconds
    assert measured.stopped and measured.tokens < 1200000 and measured.tokens % 16 == 0
