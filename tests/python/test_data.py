"""Tokenizers, data sets, estimates."""
import os
import signal
import threading
import time

import pytest

import aios


def test_bytes_are_tokens():
    tokenizer = aios.Tokenizer()
    assert (tokenizer.name, tokenizer.vocabulary_size, tokenizer.end_of_text) == ("bytes", 257, 256)
    assert tokenizer.encode("aé") == [97, 0xC3, 0xA9] and tokenizer.decode([97, 0xC3, 0xA9]) == "aé"
    assert tokenizer.decode([0xC3]) == "\N{REPLACEMENT CHARACTER}" and tokenizer.decode_bytes([0xC3]) == b"\xc3" and tokenizer.encode("") == []
    assert tokenizer.find("a") == 97 and tokenizer.find("no such token") is None
    with pytest.raises(aios.OutOfRangeError):
        tokenizer.decode([300])
    with pytest.raises(aios.NotFoundError):
        aios.Tokenizer("/nonexistent")


def test_a_tokenizer_is_saved_and_opened(tmp_path):
    tokenizer = aios.Tokenizer("bytes")
    tokenizer.save(tmp_path)
    assert aios.Tokenizer(tmp_path).identity == tokenizer.identity


def test_a_corpus_is_samples(text, tmp_path):
    with aios.Dataset(text, sequence_length=16, shuffle=False, cache_dir=tmp_path / "cache") as data:
        words = text.read_bytes()
        inputs, labels = data.read(0)
        assert bytes(inputs.tolist()) == words[:16] and bytes(labels.tolist()) == words[1:17]
        assert data.documents == 1 and len(words) <= data.tokens <= len(words) + 1 and len(data) == (data.tokens + 14) // 16
        many, _ = data.read_range(0, 3, 4)
        assert [row for row in many.tolist()] == [data.read(i)[0].tolist() for i in range(3, 7)]
        data.prefetch(0, 0, 10)
        with pytest.raises(aios.OutOfRangeError):
            data.read_range(0, len(data), 1)
    one, other = (aios.Dataset(text, "bytes", 16, seed=seed, cache_dir=tmp_path / "cache") for seed in (1, 2))
    assert one.order_identity != other.order_identity
    held = aios.Dataset(text, "bytes", 16, split="eval", eval_fraction=0.1, cache_dir=tmp_path / "cache")
    assert 0 < len(held) < len(one)


def test_what_progress_raises_stops_the_tokenizing(text, tmp_path):
    def stop(done, total):
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        aios.Dataset(text, cache_dir=tmp_path / "cache", progress=stop)
    seen = []
    aios.Dataset(text, cache_dir=tmp_path / "cache", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] == text.stat().st_size


def test_ctrl_c_ends_the_tokenizing(tmp_path):
    """Python raises it in the main thread; in a callback of C, which that thread would run, it is lost."""
    path = tmp_path / "long.txt"
    path.write_bytes(b"a line of words\n" * 4_000_000)
    seen = []
    begun = time.monotonic()
    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        aios.Dataset(path, cache_dir=tmp_path / "cache", progress=lambda *now: seen.append(now))
        time.sleep(0.5)  # where it came too late
    assert seen and time.monotonic() - begun < 5


def test_the_first_sample_has_number_0(text, tmp_path):
    with aios.Dataset(text, sequence_length=16, cache_dir=tmp_path / "cache") as data:
        for call in (lambda: data.read(-1), lambda: data.read_range(0, -1, 1), lambda: data.read_range(0, 0, -1)):
            with pytest.raises(ValueError, match="is -1|negative"):
                call()


def test_memory_is_estimated_for_devices_that_are_not_here():
    sizes = dict(n_layer=2, n_head=2, n_embd=64, max_seq_len=32)
    found = aios.estimate(**sizes, devices=["cuda:0", "cuda:1"], zero_stage="zero3", memory=1 << 30)
    assert [device.spec for device in found.devices] == ["cuda:0", "cuda:1"] and all(device.assumed for device in found.devices)
    for device in found.devices:
        assert device.total == device.parameters + device.gradients + device.optimizer + device.activations + device.workspace + device.exchange + device.evaluation
    assert found.fits and found.largest_batch >= 8 and found.sequence == 32 and found.parameters > 0
    assert not aios.estimate(**sizes, devices=["cuda:0"], memory=1 << 10).fits
    with pytest.raises(aios.NotFoundError, match="n-layer"):
        aios.estimate(n_layers=3)
