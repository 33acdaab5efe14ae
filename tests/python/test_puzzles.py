"""Puzzles and the model that solves them."""
import inspect
import os
import signal
import threading

import pytest

import aios


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("sudoku")
    train = aios.Puzzles.sudoku(64, size=4, seed=1)
    train.save(made, "train")
    aios.Puzzles.sudoku(8, size=4, seed=2, other=train).save(made, "test")
    return made


def test_sets_are_made_saved_and_opened(folder):
    train = aios.Puzzles(folder, "train")
    info = train.info
    assert (len(train), info.length, info.kind, info.examples) == (64, 16, "sudoku", 64)
    inputs, labels, identifier = train[3]
    assert len(inputs) == len(labels) == 16 and sorted(labels.tolist()) == [2] * 4 + [3] * 4 + [4] * 4 + [5] * 4 and identifier == 0
    assert all(given in (1, label) for given, label in zip(inputs.tolist(), labels.tolist()))
    with pytest.raises(IndexError, match="example 64: there are 64"):
        train[64]
    assert aios.Puzzles.mazes(4, size=9, seed=1).info.kind == "maze"
    with pytest.raises(aios.OutOfRangeError):
        aios.Puzzles.sudoku(1, size=5)
    with pytest.raises(aios.NotFoundError):
        aios.Puzzles(folder, "nothing")


def test_ctrl_c_ends_a_test_of_puzzles_with_what_was_done(tmp_path):
    train = aios.Puzzles.sudoku(8, size=4, seed=1)
    train.save(tmp_path, "train")
    aios.Puzzles.sudoku(500, size=4, seed=2).save(tmp_path, "test")
    sizes = dict(hidden_size=64, num_heads=2, halt_max_steps=16, global_batch_size=1)
    result = aios.HrmTrainer(data_path=tmp_path, save_dir=tmp_path / "run", steps=1, eval_interval=0, eval_examples=1, device="cpu", **sizes).run()
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    scores = aios.evaluate_hrm(model=result.checkpoint, data_path=tmp_path, global_batch_size=1, device="cpu")
    assert scores.stopped and 0 < scores.examples < 500 and 0 <= scores.accuracy <= 1
    assert not aios.evaluate_hrm(model=result.checkpoint, data_path=tmp_path, global_batch_size=1, eval_examples=2, device="cpu").stopped


def test_the_model_learns_is_measured_and_asked(folder, tmp_path):
    sizes = dict(hidden_size=32, num_heads=2, h_layers=1, l_layers=1, h_cycles=1, l_cycles=1, halt_max_steps=2, global_batch_size=16)
    trainer, losses = aios.HrmTrainer(data_path=folder, save_dir=tmp_path / "run", steps=30, lr=3e-3, lr_warmup_steps=0, log_interval=1, device="cpu", **sizes), []
    trainer.on("step", lambda event: losses.append(event.lm_loss))
    result = trainer.run()
    assert result.step == 30 and result.checkpoint and losses[-1] < losses[0]
    scores = aios.evaluate_hrm(model=result.checkpoint, data_path=folder, device="cpu")
    assert scores.examples == 8 and 0 <= scores.exact_accuracy <= scores.accuracy <= 1
    inputs, labels, _ = aios.Puzzles(folder, "test")[0]
    seen = []
    with aios.HrmSolver(model=result.checkpoint, device="cpu") as solver:
        answer = solver.solve(inputs, on_segment=lambda segment: seen.append(segment))
        assert len(answer.answers) == 16 and answer.steps == len(seen) <= 2 and seen[-1].answers == answer.answers and 0 < answer.halt < 1
        assert solver.solve(inputs, on_segment=lambda segment: True).steps == 1
        with pytest.raises(ZeroDivisionError):
            solver.solve(inputs, on_segment=lambda segment: 1 / 0)


def test_keywords_are_those_of_the_command():
    assert set(inspect.signature(aios.HrmTrainer).parameters) == {option.name for option in aios.options("hrm")} | {"callbacks", "progress"}
    with pytest.raises(aios.NotFoundError, match='"hidden_sise": the nearest is "hidden-size"'):
        aios.HrmTrainer(hidden_sise=4)
