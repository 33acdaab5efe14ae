"""The chunk tracker alone."""
import json

import pytest

import aios


def test_every_sample_of_an_epoch_is_given_out_once(tmp_path):
    seen = []
    with aios.ChunkTracker(tmp_path, total_samples=1000, block_samples=300, chunk_samples=70, brain_id="b", dataset_name="d") as tracker:
        for claim in tracker.claims(device="cpu:0", gpu_id=-1, last_epoch=0):
            with claim:
                seen += claim.samples
                assert len(claim) <= 70 and claim.epoch == 0
        with tracker.checkpoint() as number:
            assert number == 1
        assert sorted(seen) == list(range(1000))
        progress = tracker.epoch(0)
        assert progress.complete and progress.committed == progress.samples == 1000 and tracker.block(0, 3).samples == 100
        assert [(share.device, share.committed) for share in tracker.shares()] == [("cpu:0", 1000)]
        info = tracker.info
        assert (info.brain_id, info.total_blocks, info.committed, info.needs_resume, info.claims) == ("b", 4, 1, False, 0)
        tracker.export(tmp_path / "state.json")
    state = json.loads((tmp_path / "state.json").read_text())
    assert (state["brain_id"], state["current_epoch"], state["total_blocks_in_dataset"]) == ("b", 1, 4)


def test_what_no_checkpoint_holds_comes_back(tmp_path):
    with aios.ChunkTracker(tmp_path, total_samples=100, chunk_samples=10) as tracker:
        tracker.claim().complete()
        with tracker.checkpoint():
            pass
        claim = tracker.claim()
        claim.progress(4, steps=2)
        with pytest.raises(RuntimeError):
            with claim:
                raise RuntimeError("worker died")
        assert tracker.claim().first == 14  # the four that were reported stay
        [holder] = tracker.holders()
        assert (holder.first, holder.end) == (14, 20)
    with aios.ChunkTracker(tmp_path) as tracker:
        tracker.resume(1)
        assert tracker.claim().first == 10 and tracker.epoch(0).committed == 10


def test_a_checkpoint_that_fails_commits_nothing(tmp_path):
    with aios.ChunkTracker(tmp_path, total_samples=100, chunk_samples=10) as tracker:
        tracker.claim().complete(steps=3)
        with pytest.raises(OSError):
            with tracker.checkpoint():
                raise OSError("disk full")
        assert tracker.info.committed == 0 and tracker.epoch(0).committed == 0
        with tracker.checkpoint():
            pass
        assert tracker.epoch(0).committed == 10 and tracker.info.steps == 3


def test_errors_name_what_is_wrong(tmp_path):
    with pytest.raises(aios.NotFoundError):
        aios.ChunkTracker(tmp_path / "nothing", read_only=True)
    with aios.ChunkTracker(tmp_path, total_samples=10, chunk_samples=10) as tracker:
        claim = tracker.claim()
        assert tracker.claim(wait=False, last_epoch=0) is None
        with pytest.raises(aios.OutOfRangeError):
            claim.progress(11)
        claim.complete()
        with pytest.raises(aios.WrongStateError):
            claim.complete()
        assert tracker.claim(last_epoch=0) is None
