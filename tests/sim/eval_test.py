#!/usr/bin/env python3
"""`aios eval` on several devices: CPUs, and simulated ones of every vendor whose plugin is built (arguments), with faults; its questions against a
forward pass of GPT-2 that is written down here."""
import json
import math
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

SIM, AIOS = os.environ["AIOS_SIM"], os.environ["AIOS_TOOL"]
BUILT = [backend for backend in ("cuda", "hip", "xpu") if backend in sys.argv[1:]]


def load_weights(path):
    with open(path, "rb") as file:
        size, = struct.unpack("<Q", file.read(8))
        head, data = json.loads(file.read(size)), file.read()
    weights = {}
    for name, entry in head.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            weights[name.removeprefix("transformer.")] = (struct.unpack(f"<{(end - begin) // 4}f", data[begin:end]), entry["shape"])
    return weights


def log_probabilities(weights, heads, ids):
    """GPT-2 in float64: [[log p(next)]] for each position."""
    def tensor(name):
        return weights[name][0]

    def norm(rows, name):
        g, b, found = tensor(name + ".weight"), tensor(name + ".bias"), []
        for x in rows:
            mean = sum(x) / len(x)
            scale = 1 / math.sqrt(sum((v - mean) ** 2 for v in x) / len(x) + 1e-5)
            found.append([(v - mean) * scale * gi + bi for v, gi, bi in zip(x, g, b)])
        return found

    def linear(rows, name):
        (w, (inner, outer)), b = weights[name + ".weight"], tensor(name + ".bias")  # Conv1D: (in, out)
        return [[sum(x[i] * w[i * outer + o] for i in range(inner)) + b[o] for o in range(outer)] for x in rows]

    def attention(rows, name):
        width, found = len(rows[0]), []
        qkv, part = linear(rows, name + ".c_attn"), len(rows[0]) // heads
        for t, row in enumerate(qkv):
            out = []
            for h in range(heads):
                q = row[h * part:(h + 1) * part]
                scores = [sum(a * b for a, b in zip(q, qkv[s][width + h * part:])) / math.sqrt(part) for s in range(t + 1)]
                most = max(scores)
                p = [math.exp(s - most) for s in scores]
                out += [sum(pi * qkv[s][2 * width + h * part + j] for s, pi in enumerate(p)) / sum(p) for j in range(part)]
            found.append(out)
        return linear(found, name + ".c_proj")

    def gelu(x):
        return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))

    def add(a, b):
        return [[x + y for x, y in zip(p, q)] for p, q in zip(a, b)]

    wte, (_, width) = weights["wte.weight"]
    wpe = tensor("wpe.weight")
    x = [[wte[i * width + k] + wpe[t * width + k] for k in range(width)] for t, i in enumerate(ids)]
    layer = 0
    while f"h.{layer}.ln_1.weight" in weights:
        x = add(x, attention(norm(x, f"h.{layer}.ln_1"), f"h.{layer}.attn"))
        inner = [[gelu(v) for v in row] for row in linear(norm(x, f"h.{layer}.ln_2"), f"h.{layer}.mlp.c_fc")]
        x = add(x, linear(inner, f"h.{layer}.mlp.c_proj"))
        layer += 1
    found = []
    for row in norm(x, "ln_f"):
        logits = [sum(v * wte[i * width + k] for k, v in enumerate(row)) for i in range(len(wte) // width)]
        most = max(logits)
        total = most + math.log(sum(math.exp(v - most) for v in logits))
        found.append([v - total for v in logits])
    return found


class Evaluation(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="aios-eval-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.text = os.path.join(cls.folder, "text.txt")
        with open(cls.text, "w", encoding="utf-8") as text:
            text.write("the cat sat on the mat and the dog ran far. " * 90)
        cls.environment = {**{k: v for k, v in os.environ.items() if k not in ("AIOS_CPU_DEVICES",)}, "XDG_CACHE_HOME": os.path.join(cls.folder, "cache")}
        result = subprocess.run([AIOS, "train", "--dataset-file", cls.text, "--save-dir", os.path.join(cls.folder, "run"), "--n-layer", "1", "--n-head", "2",
                                 "--n-embd", "16", "--max-seq-len", "32", "--batch-size", "4", "--steps", "150", "--lr", "1e-2", "--device", "cpu",
                                 "--quiet"], env=cls.environment, encoding="utf-8", capture_output=True, timeout=120, check=False)
        assert result.returncode == 0, result.stderr
        cls.model = os.path.join(cls.folder, "run", "checkpoints", "step-00000150")

    def run_eval(self, *arguments, sim="", faults=(), cpus=1):
        command = [AIOS, "eval", "--model", self.model, "--json", "--batch-size", "2", *arguments]
        if sim:
            command = [SIM, "--devices", sim, *(flag for fault in faults for flag in ("--fault", fault)), "--", *command]
        environment = {**self.environment, "AIOS_CPU_DEVICES": str(cpus)}
        return subprocess.run(command, env=environment, encoding="utf-8", capture_output=True, timeout=120, check=False)

    def evaluate(self, *arguments, **more):
        result = self.run_eval(*arguments, **more)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        return json.loads(result.stdout), result.stderr

    def on_text(self, devices, *more, **keywords):
        return self.evaluate("--dataset-file", self.text, "--max-seq-len", "32", "--eval-batches", "24", "--devices", devices, *more, **keywords)

    @staticmethod
    def numbers(result):
        return {key: value for key, value in result.items() if key != "devices"}

    def test_the_result_is_the_same_however_many_devices_there_are(self):
        one, _ = self.on_text("cpu:0")
        self.assertEqual((one["samples"], one["tokens"]), (48, 48 * 32))
        self.assertAlmostEqual(one["perplexity"], math.exp(one["loss"]))
        for count in (2, 3, 70):
            several, _ = self.on_text(",".join(f"cpu:{i}" for i in range(count)), "--keep-cpu", cpus=count)
            self.assertEqual(self.numbers(several), self.numbers(one))
            self.assertEqual([e["device"] for e in several["devices"]], [f"cpu:{i}" for i in range(count)])
            self.assertEqual(sum(e["tokens"] for e in several["devices"]), one["tokens"])
            self.assertEqual(sum(e["shards"] for e in several["devices"]), 24)

    def test_each_device_in_turn_does_everything(self):
        one, _ = self.on_text("cpu:0")
        turns, _ = self.on_text("cpu:0,cpu:1", "--sequential", cpus=2)
        self.assertEqual([(e["device"], e["run"], e["tokens"], e["loss"]) for e in turns["devices"]],
                         [("cpu:0", 0, one["tokens"], one["loss"]), ("cpu:1", 1, one["tokens"], one["loss"])])
        self.assertEqual((turns["loss"], turns["tokens"]), (one["loss"], 2 * one["tokens"]))

    def test_exact_is_the_part_of_samples_without_a_mistake(self):
        path = os.path.join(self.folder, "short.txt")
        with open(path, "w", encoding="utf-8") as text:
            text.write("the mat and the dog ran far. the cat sat on the mat and the dog ran far.")
        result, _ = self.evaluate("--dataset-file", path, "--max-seq-len", "3", "--batch-size", "1", "--device", "cpu", "--eval-batches", "0")
        self.assertGreater(result["exact_accuracy"], 0)
        self.assertLess(result["exact_accuracy"], result["accuracy"])
        right = result["exact_accuracy"] * result["samples"]
        self.assertAlmostEqual(right, round(right))
        tokens, _ = self.evaluate("--dataset-file", path, "--max-seq-len", "1", "--batch-size", "1", "--device", "cpu", "--eval-batches", "0")
        self.assertEqual(tokens["exact_accuracy"], tokens["accuracy"])  # samples of one token

    def test_questions_are_judged_by_log_likelihood(self):
        heads, weights = 2, load_weights(os.path.join(self.model, "model.safetensors"))
        questions = [("the cat sat on the", ["mat", "dog", "cat sat"], 0), ("the dog", ["far", "ran far"], 1), ("the cat", ["sat on", "on", "ran"], 2),
                     ("and the ", ["dog", "mat and", "cat"], 0), ("", ["the", "xyz"], 0), ("on the mat " * 4 + "and the dog", ["ran", "sat"], 0)]
        path = os.path.join(self.folder, "questions.jsonl")
        with open(path, "w", encoding="utf-8") as file:
            for i, (context, choices, answer) in enumerate(questions):
                names = [("context", "choices", "answer"), ("ctx", "endings", "label"), ("query", "choices", "gold")][i % 3]
                file.write(json.dumps(dict(zip(names, (context, choices, [answer, str(answer), choices[answer]][i % 3])))) + "\n\n")
        right = right_norm = 0
        loss, tokens = 0.0, 0
        for context, choices, answer in questions:
            likelihoods = []
            for choice in choices:
                ids = list((context + " " + choice).encode()) if context else [256, *choice.encode()]
                answer_ids = len(ids) - (len(context.rstrip(" ")) if context else 1)
                ids = ids[-33:]  # what fits into 32 positions and the last label
                table = log_probabilities(weights, heads, ids[:-1])
                likelihoods.append(sum(table[t][ids[t + 1]] for t in range(len(ids) - 1 - answer_ids, len(ids) - 1)))
                if choice == choices[answer]:
                    loss, tokens = loss - likelihoods[-1], tokens + answer_ids
            right += likelihoods.index(max(likelihoods)) == answer
            norm = [likelihood / len(choice) for likelihood, choice in zip(likelihoods, choices)]
            right_norm += norm.index(max(norm)) == answer
        one, _ = self.evaluate("--task-file", path, "--device", "cpu")
        self.assertEqual((one["questions"], one["acc"], one["acc_norm"], one["tokens"]),
                         (len(questions), right / len(questions), right_norm / len(questions), tokens))
        self.assertLess(abs(one["loss"] * tokens - loss), 1e-3 * loss)
        self.assertIsNone(one["accuracy"])
        two, _ = self.evaluate("--task-file", path, "--devices", "cpu:0,cpu:1", cpus=2)
        self.assertEqual(self.numbers(two), self.numbers(one))

    def test_questions_that_are_none_are_refused_by_line(self):
        for part, line in [("no text \"context\"", {"choices": ["a", "b"], "answer": 0}), ("from 2 to", {"context": "x", "choices": ["a"], "answer": 0}),
                           ("its number from 0 to 1", {"context": "x", "choices": ["a", "b"], "answer": 2}),
                           ("choice 1 is no text", {"context": "x", "choices": ["a", 5], "answer": 0}),
                           ("tokens: at most", {"context": "x", "choices": ["a", "b" * 99], "answer": 0}),
                           ("\"delimiter\" must be a text", {"context": "x", "choices": ["a", "b"], "answer": 0, "delimiter": 1}),
                           ("choice \"\" has no token", {"context": "x", "choices": ["a", ""], "answer": 0, "delimiter": ""}),
                           ("no text \"context\"", []), ("its number from 0 to 1", {"context": "x", "choices": ["a", "b"], "answer": -1}),
                           ("its number from 0 to 1", {"context": "x", "choices": ["a", "b"], "answer": 1e18}),
                           ("overflow", b'{"context": "x", "choices": ["a", "b"], "answer": 1e999}'), ("too big integer", b'[%d]' % 10**30),
                           ("duplicate object key", b'{"context": "x", "context": "y", "choices": ["a", "b"], "answer": 0}'),
                           ("expected near end", b'{"context": "x"'), ("unable to decode byte 0xff", b'{"context": "\xff", "choices": ["a", "b"], "answer": 0}')]:
            path = os.path.join(self.folder, "wrong.jsonl")
            with open(path, "wb") as file:
                file.write(json.dumps({"context": "x", "choices": ["a", "b"], "answer": "b"}).encode() + b"\n")
                file.write(line if isinstance(line, bytes) else json.dumps(line).encode())
            result = self.run_eval("--task-file", path, "--device", "cpu")
            self.assertEqual((result.returncode, result.stdout), (1 if isinstance(line, bytes) else 2, ""))  # 1: no JSON
            self.assertIn(part, result.stderr)
            self.assertIn("line 2", result.stderr)

    @unittest.skipUnless(BUILT, "no plugin is built")
    def test_devices_of_every_vendor_share_one_evaluation(self):
        counts, devices = ",".join(f"{b}:1" for b in BUILT), ",".join(f"{b}:0" for b in BUILT) + ",cpu:0"
        one, _ = self.on_text("cpu:0")
        several, _ = self.on_text(devices, "--keep-cpu", sim=counts)
        self.assertEqual((several["tokens"], several["samples"], several["exact_accuracy"]), (one["tokens"], one["samples"], one["exact_accuracy"]))
        self.assertLess(abs(several["loss"] - one["loss"]), 1e-4)  # f32 sums in another order
        self.assertEqual(len(several["devices"]), len(BUILT) + 1)

    @unittest.skipUnless(BUILT, "no plugin is built")
    def test_what_a_failing_device_had_is_done_by_another(self):
        backend = BUILT[0]
        whole, _ = self.on_text(f"{backend}:0,{backend}:1", sim=f"{backend}:2")
        one, _ = self.on_text(f"{backend}:0", sim=f"{backend}:1")
        self.assertEqual(self.numbers(whole), self.numbers(one))
        for fault in (f"work@{backend}:1:30:lost", f"work@{backend}:1:60:forever", f"work@{backend}:0:90:lost"):
            left, words = self.on_text(f"{backend}:0,{backend}:1", sim=f"{backend}:2", faults=[fault])
            self.assertEqual(self.numbers(left), self.numbers(one), fault)
            failed = f"{backend}:{fault.split(':')[1]}"
            self.assertEqual([e["device"] for e in left["devices"] if e["error"]], [failed], fault)
            self.assertIn(f"warning: {failed} is left out of the evaluation", words)
        turns, _ = self.on_text(f"{backend}:0,{backend}:1", "--sequential", sim=f"{backend}:2", faults=[f"work@{backend}:1:60:lost"])
        self.assertEqual((turns["loss"], turns["tokens"]), (one["loss"], one["tokens"]))
        self.assertEqual([bool(e["error"]) for e in turns["devices"]], [False, True])

    @unittest.skipUnless(BUILT, "no plugin is built")
    def test_no_device_left_is_an_error(self):
        backend = BUILT[0]
        result = self.run_eval("--dataset-file", self.text, "--max-seq-len", "32", "--devices", f"{backend}:0,{backend}:1", sim=f"{backend}:2",
                               faults=[f"work@{backend}:{i}:40:lost" for i in (0, 1)])
        self.assertEqual((result.returncode, result.stdout), (3, ""), result.stderr)
        self.assertIn(f"{backend}:0", result.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
