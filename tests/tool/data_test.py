#!/usr/bin/env python3
"""Data that the command makes ready and models of it: puzzles, texts, archives, the Hugging Face Hub, a run's chunks."""
import hashlib
import http.server
import io
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import tarfile
import threading
import time
import unittest
import zipfile

from common import AIOS, SMALL, ToolTest


class Puzzles(ToolTest):
    def test_data_makes_sets_and_says_what_they_hold(self):
        made = json.loads(self.done("data", "sudoku", "--puzzle-size", "4", "--train-count", "50", "--test-count", "20", "--augmentations",
                                    "2", "--output-dir", "s", "--json"))
        self.assertEqual((made["train"]["groups"], made["test"]["examples"], made["train"]["length"]), (50, 20, 16))
        for name in ("inputs", "labels", "puzzle_identifiers", "puzzle_indices", "group_indices"):
            for split in ("train", "test"):
                with open(os.path.join(self.folder, "s", split, f"all__{name}.npy"), "rb") as file:
                    self.assertEqual(file.read(6), b"\x93NUMPY")
        maze = self.done("data", "maze", "--puzzle-size", "9", "--train-count", "5", "--test-count", "0", "--output-dir", "m")
        self.assertIn("5 examples of 81 tokens", maze)

    SMALL = ["--hidden-size", "16", "--num-heads", "2", "--h-layers", "1", "--l-layers", "1", "--halt-max-steps", "3", "--expansion", "0.1",
             "--global-batch-size", "8", "--lr", "1e-3", "--lr-warmup-steps", "5", "--device", "cpu"]

    def test_hrm_trains_measures_and_solves(self):
        self.done("data", "sudoku", "--puzzle-size", "4", "--train-count", "40", "--test-count", "12", "--output-dir", "s")
        events = [json.loads(line) for line in self.done("hrm", "train", "--data-path", "s", "--steps", "12", "--log-interval", "4",
                                                         "--eval-interval", "6", "--save-dir", "run", "--json", *self.SMALL).splitlines()]
        self.assertEqual([e["step"] for e in events if e["event"] == "step"], [4, 8, 12])
        self.assertEqual([e["step"] for e in events if e["event"] == "eval"], [6, 12])
        self.assertEqual(events[0]["event"], "run_start")
        self.assertEqual(events[-1]["outcome"], "complete")
        last = [e for e in events if e["event"] == "eval"][-1]
        model = os.path.join("run", "checkpoints", "step-00000012")
        scores = json.loads(self.done("hrm", "eval", "--model", model, "--data-path", "s", "--global-batch-size", "5", "--json"))
        self.assertEqual(scores["examples"], 12)
        for name in ("exact_accuracy", "accuracy", "loss"):
            self.assertAlmostEqual(scores[name], last[name], 5)
        answer = json.loads(self.done("hrm", "solve", "--model", model, "1... ..2. .3.. ...4", "--json"))
        self.assertEqual((len(answer["grid"]), len(answer["answer"])), (16, 16))
        self.assertEqual(answer["grid"], "1.....2..3.....4")
        self.assertTrue(1 <= answer["steps"] <= 3)
        watched = self.done("hrm", "solve", "--model", model, "1.....2..3.....4", "--watch")
        self.assertEqual(watched.count("segment "), answer["steps"] + watched.count("\n1 segment "))
        with open(os.path.join(self.folder, model, "model.safetensors"), "rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        for name in ("embed_tokens.embedding_weight", "lm_head.weight", "q_head.bias", "puzzle_emb.weights", "H_init", "L_init",
                     "H_level.layers.0.self_attn.qkv_proj.weight", "L_level.layers.0.mlp.gate_up_proj.weight"):
            self.assertIn("model.inner." + name, header)
        with open(os.path.join(self.folder, model, "model.safetensors"), "rb") as file: # as the reference names them where it was compiled
            data = file.read()
        renamed = json.dumps({k if k == "__metadata__" else "_orig_mod." + k: v for k, v in header.items()}).encode()
        renamed += b" " * (-len(renamed) % 8)
        os.makedirs(os.path.join(self.folder, "reference"))
        shutil.copy(os.path.join(self.folder, model, "config.json"), os.path.join(self.folder, "reference"))
        with open(os.path.join(self.folder, "reference", "model.safetensors"), "wb") as file:
            file.write(struct.pack("<Q", len(renamed)) + renamed + data[8 + struct.unpack("<Q", data[:8])[0]:])
        self.assertEqual(json.loads(self.done("hrm", "eval", "--model", "reference", "--data-path", "s", "--global-batch-size", "5", "--json")), scores)

    def test_ctrl_c_ends_a_test_of_puzzles_with_what_was_done(self):
        self.done("data", "sudoku", "--puzzle-size", "4", "--train-count", "8", "--test-count", "9000", "--output-dir", "s")
        self.done("hrm", "train", "--data-path", "s", "--steps", "1", "--eval-interval", "0", "--eval-examples", "1", "--save-dir", "run", *self.SMALL)
        evaluation = [AIOS, "hrm", "eval", "--model", os.path.join("run", "checkpoints", "step-00000001"), "--data-path", "s", "--device", "cpu",
                      "--global-batch-size", "1"]
        for more in (["--json"], []):
            code, out, words = self.interrupted(evaluation + more)
            self.assertEqual(code, 130, words)
            done, count = (int(n) for n in re.search(r"stopped after (\d+) of (\d+) puzzles", words).groups())
            self.assertTrue(done < count == 9000, words)
            if more:
                report = json.loads(out)
                self.assertEqual((report["stopped"], report["examples"]), (True, done))
            elif done:
                self.assertIn(f"puzzles        {done}\n", out)

    def test_a_test_of_puzzles_tells_how_far_it_is(self):
        self.done("data", "sudoku", "--puzzle-size", "4", "--train-count", "8", "--test-count", "9000", "--output-dir", "s")
        self.done("hrm", "train", "--data-path", "s", "--steps", "1", "--eval-interval", "0", "--eval-examples", "1", "--save-dir", "run", *self.SMALL)
        evaluation = ["hrm", "eval", "--model", os.path.join("run", "checkpoints", "step-00000001"), "--data-path", "s", "--device", "cpu",
                      "--global-batch-size", "1"]
        text = self.terminal(80, *evaluation, interrupt_at=b"ETA", code=130)
        drawings = [part for part in re.split(r"\r\033\[K|\r\n", text) if part.startswith("evaluating")]
        self.assertRegex(drawings[-1], r"\Aevaluating \[=*>? *\] \d+ %  ETA [\d:]+\Z")
        self.assertLess(max(map(len, drawings)), 80)
        self.assertRegex(text, r"\r\033\[Kaios: it was stopped after \d+ of 9000 puzzles")
        with subprocess.Popen([AIOS, *evaluation], env=self.environment, cwd=self.folder, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            self.assertRegex(process.stderr.readline(), r"\Aevaluating \d+ %\n\Z")
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=60)
        self.assertRegex(out, r"\Apuzzles +\d+\nsolved ")
        for silent in ("--json", "--quiet"):
            self.assertRegex(self.interrupted([AIOS, *evaluation, silent], after=0.8)[2], r"\Aaios: [^\n]*\n\Z")

    def test_hrm_killed_at_any_time_goes_on_as_if_it_were_not(self):
        self.done("data", "sudoku", "--puzzle-size", "4", "--train-count", "40", "--test-count", "4", "--output-dir", "s")
        train = ["hrm", "train", "--data-path", "s", "--steps", "30", "--log-interval", "1", "--checkpoint-interval", "4", "--halt-max-steps", "3",
                 "--lr-warmup-steps", "5", "--lr", "1e-2", "--json", *self.SMALL]
        steps = lambda lines: {e["step"]: e["loss"] for e in map(json.loads, lines) if e["event"] == "step"}
        whole = steps(self.done(*train, "--save-dir", "whole").splitlines())
        for killed in (3, 13, 22):
            folder, seen = f"run{killed}", []
            with subprocess.Popen([AIOS, *train, "--save-dir", folder], env=self.environment, cwd=self.folder, encoding="utf-8",
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
                for line in process.stdout:
                    seen.append(line)
                    if f'"step", "step": {killed},' in line:
                        process.kill()
                        break
            later = self.done(*train, "--save-dir", folder, "--resume").splitlines()
            self.assertEqual({**steps(seen), **steps(later)}, whole)
            with open(f"{self.folder}/{folder}/checkpoints/step-00000030/model.safetensors", "rb") as a, \
                    open(f"{self.folder}/whole/checkpoints/step-00000030/model.safetensors", "rb") as b:
                self.assertEqual(a.read(), b.read())

    def test_hrm_says_what_it_can_not_do(self):
        self.done("data", "sudoku", "--puzzle-size", "4", "--train-count", "9", "--test-count", "3", "--output-dir", "s")
        self.done("data", "maze", "--puzzle-size", "5", "--train-count", "3", "--test-count", "3", "--output-dir", "m")
        self.done("hrm", "train", "--data-path", "s", "--steps", "1", "--save-dir", "run", *self.SMALL)
        model = os.path.join("run", "checkpoints", "step-00000001")
        self.refused(2, ["train, eval and solve"], "hrm", "dance")
        self.refused(2, ["data-path is empty"], "hrm", "train")
        self.refused(2, ["nowhere"], "hrm", "train", "--data-path", "nowhere")
        self.refused(2, ["--lr is not for hrm eval"], "hrm", "eval", "--model", model, "--data-path", "s", "--lr", "1")
        self.refused(2, ["25 tokens", "made for others"], "hrm", "eval", "--model", model, "--data-path", "m", "--global-batch-size", "2")
        self.refused(2, ["a puzzle of 4 cells", "takes 16"], "hrm", "solve", "--model", model, "1234")
        self.refused(2, ["'x'"], "hrm", "solve", "--model", model, "12x4")
        self.refused(2, ["cell 0 is 9"], "hrm", "solve", "--model", model, "8..............1")
        self.refused(2, ["steps is 3 and epochs 2"], "hrm", "train", "--data-path", "s", "--steps", "3", "--epochs", "2", *self.SMALL)
        self.refused(2, ["--watch"], "hrm", "eval", "--watch")

    def test_what_a_kind_does_not_know_is_refused(self):
        self.refused(2, ["sudoku, maze or arc", "chess"], "data", "chess", "--output-dir", "x")
        self.refused(2, ["--clues", "not for maze"], "data", "maze", "--clues", "3", "--output-dir", "x")
        self.refused(2, ["--output-dir is missing"], "data", "sudoku")
        self.refused(2, ["size is 5", "4, 6 or 9"], "data", "sudoku", "--puzzle-size", "5", "--output-dir", "x")
        self.refused(2, ["nowhere"], "data", "arc", "--training-dir", "nowhere", "--output-dir", "x")


class Chunks(ToolTest):
    STATE = {"brain_id": "old", "dataset_name": "tiny", "current_epoch": 0, "total_blocks_in_dataset": 3, "total_true_steps": 9,
             "completed_chunks": [{"block_id": 0, "chunk_id": chunk, "gpu_id": chunk % 2, "step": 7, "samples_trained": 2}
                                  for chunk in range(3)]}

    def test_a_state_is_told_by_epoch_block_and_device_and_left_alone(self):
        path = self.write("chunk_tracker_state.json", json.dumps(self.STATE))
        for state in (self.folder, path, "chunk_tracker_state.json"):
            text = self.done("chunks", state)
            for part in ("tiny", "300,000 in 3 blocks", "3 of 75", "3 of 25", "66.7 %", "9"):
                self.assertIn(part, text)
        report = json.loads(self.done("chunks", path, "--json"))
        self.assertEqual(report["total_blocks_in_dataset"], 3)
        self.assertEqual(report["total_steps"], 9)
        self.assertEqual([(e["epoch"], e["chunks"], e["chunks_committed"], e["complete"]) for e in report["epochs"]], [(0, 75, 3, False)])
        self.assertEqual([(d["gpu_id"], d["samples_committed"]) for d in report["epochs"][0]["devices"]][-2:], [(0, 8000), (1, 4000)])
        self.assertEqual([(b["block_id"], b["samples_trained"]) for b in report["blocks_this_epoch"]], [(0, 12000)])
        self.assertEqual(report["in_progress_chunks"], [])
        self.assertEqual(sorted(os.listdir(self.folder)), ["chunk_tracker_state.json", "plugins"])

    def test_a_damaged_state_is_named(self):
        path = self.write("chunk_tracker_state.json", json.dumps(self.STATE)[:100])
        self.refused(1, ["chunk_tracker_state.json:1:", "left as it is"], "chunks", path)


class Hub(http.server.BaseHTTPRequestHandler):
    """A data set as the Hugging Face Hub serves it, breaking off in the middle the first time."""
    text = "".join(f"{i} bottles\n" for i in range(20000)).encode()
    commit = "0123456789abcdef0123456789abcdef01234567"
    requests = []
    ranges = []
    hold = None  # an event that the first bytes of a file wait for before the connection ends

    def do_GET(self):
        self.requests.append(self.path)
        self.ranges.append(self.headers.get("Range"))
        if self.path.startswith("/api/datasets/org/name/revision/main"):
            digest = hashlib.sha256(self.text).hexdigest()
            body = json.dumps({"sha": self.commit, "siblings": [
                {"rfilename": "train.txt", "size": len(self.text), "blobId": self.commit, "lfs": {"sha256": digest, "size": len(self.text)}},
                {"rfilename": "old/train.parquet", "size": 1, "blobId": self.commit}]}).encode()
            start = 0
        elif self.path == f"/datasets/org/name/resolve/{self.commit}/train.txt":
            body = self.text
            start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        else:
            self.send_error(404)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start:] if start or body is not self.text else body[:1000])
        self.wfile.flush()
        if self.hold and body is self.text and not start:
            self.hold.wait(60)
        self.close_connection = True

    def log_message(self, *_):
        pass


class Data(ToolTest):
    def train(self, path):
        return ["train", *SMALL, "--dataset-file", path]

    def test_archives_of_other_programs_are_read(self):
        text = "".join(f"line {i} of a text to learn from\n" for i in range(400))
        lines = "".join(json.dumps({"text": f"line {i} \u00fcber"}) + "\n" for i in range(400))
        with zipfile.ZipFile(os.path.join(self.folder, "a.zip"), "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a/text.txt", text)
            archive.writestr("a/l\u00efnes.jsonl", lines)
        for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            with tarfile.open(os.path.join(self.folder, f"a{kind}.tar.gz"), "w:gz", format=kind) as archive:
                for name, content in (("a/text.txt", text), ("a/l\u00efnes" + 20 * "-and-longer" + ".jsonl", lines)):
                    member = tarfile.TarInfo(name if kind != tarfile.USTAR_FORMAT else name[-60:])
                    member.size = len(content.encode())
                    archive.addfile(member, io.BytesIO(content.encode()))
        first = None
        for name in ("a.zip", f"a{tarfile.USTAR_FORMAT}.tar.gz", f"a{tarfile.GNU_FORMAT}.tar.gz", f"a{tarfile.PAX_FORMAT}.tar.gz"):
            report = json.loads(self.done("eval", "--model", self.model(), "--dataset-file", name, "--eval-batches", "0", "--device", "cpu", "--json"))
            first = first or report
            self.assertEqual(report["loss"], first["loss"], name)

    def model(self):
        """A model that was trained a little, made once per test."""
        folder = os.path.join(self.folder, "run")
        if not os.path.isdir(folder):
            self.done(*self.train(self.corpus()), "--save-dir", folder)
        return os.path.join(folder, "checkpoints", "step-00000005")

    def serve_hub(self, hold=None):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        Hub.requests.clear()
        Hub.ranges.clear()
        Hub.hold = hold
        self.environment.update(HF_ENDPOINT=f"http://127.0.0.1:{server.server_port}/", HF_HOME=os.path.join(self.folder, "hf"), no_proxy="127.0.0.1")

    def test_a_download_that_was_killed_goes_on(self):
        hold = threading.Event()
        self.addCleanup(hold.set)
        self.serve_hub(hold)
        blobs = os.path.join(self.folder, "hf", "hub", "datasets--org--name", "blobs")
        with subprocess.Popen([AIOS, "data", "text", "--dataset-file", "hf://org/name"], env=self.environment, cwd=self.folder) as process:
            part = os.path.join(blobs, hashlib.sha256(Hub.text).hexdigest() + ".incomplete")
            end = time.monotonic() + 60
            while not (os.path.exists(part) and os.path.getsize(part) == 1000) and time.monotonic() < end:
                time.sleep(0.02)
            self.assertEqual(os.path.getsize(part), 1000)
            process.kill()
        self.environment["HF_HUB_OFFLINE"] = "1"
        self.refused(1, ["is not in the cache", "HF_HUB_OFFLINE"], "data", "text", "--dataset-file", "hf://org/name")
        del self.environment["HF_HUB_OFFLINE"]
        report = json.loads(self.done("data", "text", "--dataset-file", "hf://org/name", "--json"))
        self.assertEqual(report["text_bytes"], len(Hub.text))
        self.assertEqual(Hub.ranges[-1], "bytes=1000-")
        self.assertEqual(os.listdir(blobs), [hashlib.sha256(Hub.text).hexdigest()])

    def test_a_data_set_of_the_hub_is_fetched_once(self):
        self.serve_hub()
        events = [json.loads(line) for line in self.done(*self.train("hf://org/name"), "--json").splitlines()]
        fetched = [event for event in events if event.get("phase") == "fetching"]
        self.assertEqual(fetched[-1]["done"], len(Hub.text))
        self.assertEqual(fetched[-1]["total"], len(Hub.text))
        self.assertEqual(len(Hub.requests), 3, Hub.requests)  # the list, what broke off, the rest
        with open(os.path.join(self.folder, "hf", "hub", "datasets--org--name", "snapshots", Hub.commit, "train.txt"), "rb") as file:
            self.assertEqual(file.read(), Hub.text)
        self.environment["HF_HUB_OFFLINE"] = "1"
        self.done(*self.train("hf://org/name:train"))
        self.assertEqual(len(Hub.requests), 3)
        self.refused(1, ["no split", "train.txt"], *self.train("hf://org/name:test"))
        del self.environment["HF_HUB_OFFLINE"]
        self.refused(2, ["old/train.parquet: .parquet files are not read", "to_json"], *self.train("hf://org/name/old"))
        self.refused(2, ["hf://org/none", "404"], *self.train("hf://org/none"))

    def test_a_text_is_made_ready_and_described(self):
        path = self.write("a.txt", "x" * 4000)
        arguments = ["data", "text", "--dataset-file", path, "--max-seq-len", "10", "--eval-fraction", "0", "--dataset-block-size", "150",
                     "--dataset-chunk-size", "40"]
        report = json.loads(self.done(*arguments, "--json"))
        self.assertEqual((report["tokens"], report["samples"]), (4001, 400))
        self.assertEqual((report["blocks"], report["last_block_samples"]), (3, 100))  # 150, 150, 100
        self.assertEqual((report["chunks"], report["last_chunk_samples"]), (11, 20))  # 4 + 4 + 3, of 40, 40 and 20
        self.assertTrue(os.path.exists(report["cache"]))
        self.assertIn(report["identity"], self.done(*arguments))
        whole = json.loads(self.done(*arguments[:-3], "100", "--dataset-chunk-size", "25", "--json"))
        self.assertEqual((whole["blocks"], whole["last_block_samples"], whole["chunks"], whole["last_chunk_samples"]), (4, 100, 16, 25))
        self.assertEqual(whole["identity"], report["identity"])  # how it is cut is no matter
        other = json.loads(self.done(*arguments, "--seed", "2", "--json"))
        self.assertNotEqual(other["identity"], report["identity"])
        self.refused(2, ["--clues is not for text"], *arguments, "--clues", "3")
        self.refused(2, ["--max-seq-len is not for sudoku"], "data", "sudoku", "--max-seq-len", "4", "--output-dir", "x")
        self.refused(2, ["--dataset-file is missing"], "data", "text")
        self.refused(2, ["nowhere.txt"], "data", "text", "--dataset-file", "nowhere.txt")

    def test_a_library_that_is_missing_is_named(self):
        """A folder whose libraries are none stands before those of the machine."""
        for name in ("libarchive.so.13", "libcurl.so.4", "libcurl-gnutls.so.4"):
            self.write(name, "no library")
        self.environment.update(LD_LIBRARY_PATH=self.folder, HF_HOME=os.path.join(self.folder, "hf"))
        with zipfile.ZipFile(os.path.join(self.folder, "a.zip"), "w") as archive:
            archive.writestr("a.txt", "text")
        self.refused(1, ["a.zip", "libarchive13", "unpack"], *self.train("a.zip"))
        self.refused(1, ["hf://org/name", "libcurl4", "fetch the files with another program"], *self.train("hf://org/name"))


if __name__ == "__main__":
    unittest.main()
