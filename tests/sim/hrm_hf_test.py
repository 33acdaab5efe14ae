#!/usr/bin/env python3
"""aios hrm-hf train-actv1 with the flags of an earlier program's guide "Multi-GPU & Distributed", on simulated devices.

usage: hrm_hf_test.py VENDOR…   (AIOS_SIM, AIOS_TOOL, AIOS_BACKEND_PATH set)"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

VENDORS = sys.argv[1:]
SMALL = ["--hidden-size", "32", "--num-heads", "2", "--h-layers", "1", "--l-layers", "1", "--max-seq-len", "32"]
TEXT = "training_data/curated_datasets/test_sample.txt"
LOG = "artifacts/brains/actv1/metrics.jsonl"


def tokenizer_files(folder):
    """GPT-2's vocabulary of single bytes, without merges; config.json is of another architecture."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(b for b in range(256) if b not in plain)}
    os.makedirs(folder)
    with open(f"{folder}/vocab.json", "w", encoding="utf-8") as file:
        json.dump({letters[b]: b for b in range(256)} | {"<|endoftext|>": 256}, file)
    for name, text in (("merges.txt", "#version: 0.2\n"), ("config.json", '{"model_type": "gpt2"}')):
        with open(f"{folder}/{name}", "w", encoding="utf-8") as file:
            file.write(text)


class HrmHf(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="aios-hrm-hf-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        tokenizer_files(f"{self.folder}/gpt2")
        os.makedirs(os.path.dirname(f"{self.folder}/{TEXT}"))
        with open(f"{self.folder}/{TEXT}", "w", encoding="utf-8") as file:
            file.write("".join(f"line {i} of a text to learn from, and {i * i} more\n" for i in range(800)))

    def train(self, devices, *flags, model="gpt2", sizes=SMALL, **environment):
        command = [os.environ["AIOS_SIM"], "--devices", devices, "--", os.environ["AIOS_TOOL"], "hrm-hf", "train-actv1", *flags, "--model", model,
                   "--dataset-file", TEXT, *sizes]
        result = subprocess.run(command, cwd=self.folder, env={**os.environ, "XDG_CACHE_HOME": self.folder, **environment}, encoding="utf-8",
                                capture_output=True, timeout=120, check=False)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result

    def events(self, path=LOG):
        with open(f"{self.folder}/{path}", encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def start(self):
        return next(e for e in self.events() if e["event"] == "run_start")

    def test_ddp_in_processes_of_its_own(self):
        result = self.train(f"{VENDORS[0]}:2", "--ddp", "--gpu-ids", f"{VENDORS[0]}:0,{VENDORS[0]}:1", "--world-size", "2", "--steps", "10", "--batch-size", "4",
                            "--halt-max-steps", "1", "--log-file", LOG, AIOS_DDP_SPAWN="1")
        self.assertIn('{"ddp": "spawning_workers"', result.stderr)
        self.assertEqual((self.start()["model"], self.start()["strategy"], self.start()["processes"]), ("hrm_actv1", "ddp", 2))
        self.assertEqual([e["step"] for e in self.events() if e["event"] == "step"], list(range(1, 11)))

    @unittest.skipUnless("cuda" in VENDORS, "no simulated NVIDIA device")
    def test_ddp_on_cuda_ids(self):
        self.train("cuda:2", "--ddp", "--cuda-ids", "0,1", "--world-size", "2", "--steps", "5", "--batch-size", "2", "--halt-max-steps", "1", "--log-file", LOG)
        self.assertEqual((self.start()["device"], self.start()["strategy"]), ("cuda:0,cuda:1", "ddp"))

    @unittest.skipUnless("cuda" in VENDORS, "no simulated NVIDIA device")
    def test_independent_on_cuda_ids(self):
        self.train("cuda:2", "--parallel-independent", "--cuda-ids", "0,1", "--steps", "20", "--batch-size", "4", "--dataset-chunk-size", "4000",
                   "--halt-max-steps", "1", "--log-file", LOG, "--brain-name", "mine")
        self.assertEqual(self.start()["strategy"], "parallel-independent")
        with open(f"{self.folder}/artifacts/brains/actv1/mine/chunk_tracker_state.json", encoding="utf-8") as file:
            self.assertEqual(json.load(file)["total_steps"], 20)

    def test_devices_of_every_vendor_and_going_on(self):
        ids, devices = ",".join(f"{v}:0" for v in VENDORS), ",".join(f"{v}:1" for v in VENDORS)
        self.train(devices, "--gpu-ids", ids, "--use-moe", "--num-experts", "4", "--num-experts-per-tok", "2", "--steps", "6", "--brain-name", "mine", "--log-file", LOG)
        self.assertEqual(self.start()["device"], ids)
        self.train(devices, "--gpu-ids", ",".join(str(i) for i in range(len(VENDORS))), "--steps", "9", "--brain-name", "mine", "--log-file", LOG, "--resume")
        self.assertEqual([e["step"] for e in self.events() if e["event"] == "step"], list(range(1, 10)))

    def test_weights_to_begin_with(self):
        self.train(f"{VENDORS[0]}:1", "--steps", "2", "--brain-name", "teacher", "--log-file", LOG)
        teacher = "artifacts/brains/actv1/teacher/checkpoints/step-00000002"
        own = ["--max-seq-len", "32"]
        self.train(f"{VENDORS[0]}:1", "--student-init", teacher, "--steps", "1", "--brain-name", "student", "--lr", "0", sizes=own)
        with open(f"{self.folder}/{teacher}/model.safetensors", "rb") as a, \
                open(f"{self.folder}/artifacts/brains/actv1/student/checkpoints/step-00000001/model.safetensors", "rb") as b:
            self.assertEqual(a.read(), b.read())


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=1)
