#!/usr/bin/env python3
"""Writes tests/reference/tokenizer.json: ids that two other implementations give for difficult texts, and the small
tokenizers of tests/data that the tests use where GPT-2's files are not at hand.

Usage: tokenizer.py DATA, where DATA/gpt2 has GPT-2's vocab.json and merges.txt and DATA/text has tinyshakespeare.txt.
Needs the Python packages tokenizers (0.20 or newer) and regex.  Run by hand.

Each case is {"text": hexadecimal bytes, "ids": {tokenizer: [...]}}.  UTF-8 is encoded by Hugging Face's tokenizers and by the
plain implementation below (OpenAI's encoder.py), which must agree; bytes that are not UTF-8 by the plain one alone, each wrong
byte being a word of its own."""
import json
import os
import random
import sys

import regex
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
GPT2 = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")

TEXTS = [
    "", " ", "  ", "a", " a", "a ", "Hello, world!", "Hello   world", "  leading and trailing  ",
    "I'm you're he'll we've they'd it's can't 'tis 'S 'RE don'T", "'s't're've'm'll'd", "''''s", " 's 't",
    "x=1234567890, 3.14159e-10; 0xDEADBEEF 1,000,000", "12ab34 5 6  7", "\u00b2\u00b3\u00bd \u2167 \u0664\u0665 \u096a",
    "\n", "\n\n\n", "a\n\n\nb", "a \n \n b", "\ttab\t\ttabs \t mixed\r\nCRLF\r\n\r\nend\r", "line one\n    indented\n\tfour",
    "for (int i = 0; i < n; ++i) { sum += a[i] * b[i]; } // !!! ???", "https://example.org/a?b=c&d=%20#e",
    "caf\u00e9 na\u00efve \u00dcber Stra\u00dfe \u0130stanbul \u01c6", "e\u0301 a\u0308\u0323 \u0915\u094d\u0937\u093f \u0e01\u0e33",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002\u3053\u3093\u306b\u3061\u306f\u4e16\u754c \ud55c\uad6d\uc5b4 \u65e5\u672c\u8a9e123\u3042",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u0393\u03b5\u03b9\u03ac \u03c3\u03bf\u03c5 \u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd",
    "\U0001f600\U0001f44d\U0001f3fd \U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f1e9\U0001f1ea\u2764\ufe0f",
    "\U0001d400\U0001d7d8 \U00020000 \U0010ffff", "\u00a0nbsp\u00a0\u00a0x \u2003em\u2003\u3000ideographic\u3000 \u200bzero",
    "\u180emongolian \u180e\u180ex", "a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg\x1fh", "nul\0in\0\0text \0", "\ufeffbom", "\x01\x02\x7f\x80",
    "<|endoftext|> is text here", "a<|endoftext|>b<|endoftext|>", "SHOUTING CamelCase snake_case kebab-case",
    "the the the the of and to in that it with as was", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e04\u0e23\u0e31\u0e1a \u1218\u1230\u122d \u10d2\u10d0\u10db",
    "supercalifragilisticexpialidocious" * 20, "a" * 1000, "ab" * 777, " " * 513 + "x", "\n" * 300, "=" * 300, "9" * 100, "\u00e9" * 200,
    "ROMEO:\nBut, soft! what light through yonder window breaks?\nIt is the east, and Juliet is the sun.\n\n",
]
RAW = [
    b"\xff", b"\x80\x80", b"abc\xffdef", b"a \xff b", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"x\xe2\x82y", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80",
    b"\xf5\x80\x80\x80", b"\xe0\x80\x80", b"  \xff  ", b"ok \xc3\xa9\xc3 no", b"\xff\xfeh\x00i\x00", b"don'\xfft can't",
    bytes(range(256)), bytes(range(255, -1, -1)),
]


def byte_characters():
    printable = list(range(0x21, 0x7f)) + list(range(0xa1, 0xad)) + list(range(0xae, 0x100))
    table = {b: chr(b) for b in printable}
    for b in range(256):
        if b not in table:
            table[b] = chr(256 + len(table) - len(printable))
    return table


class Plain:
    """OpenAI's encoder.py, on bytes."""

    def __init__(self, vocab, merges, pattern, ignore_merges=False):
        self.vocab, self.ignore_merges = vocab, ignore_merges
        self.ranks = {tuple(m): i for i, m in enumerate(merges)}
        self.pattern, self.table = regex.compile(pattern), byte_characters()

    def word(self, data):
        parts = [self.table[b] for b in data]
        if self.ignore_merges and "".join(parts) in self.vocab:
            return [self.vocab["".join(parts)]]
        while len(parts) > 1:
            rank, pair = min((self.ranks.get(p, 1 << 60), p) for p in zip(parts, parts[1:]))
            if rank == 1 << 60:
                break
            i, merged = 0, []
            while i < len(parts):
                if tuple(parts[i:i + 2]) == pair:
                    merged.append(parts[i] + parts[i + 1])
                    i += 2
                else:
                    merged.append(parts[i])
                    i += 1
            parts = merged
        return [self.vocab[p] for p in parts]

    def encode(self, data):
        ids = []
        for run in split_runs(data):
            if isinstance(run, str):
                for w in regex.findall(self.pattern, run):
                    ids += self.word(w.encode())
            else:
                ids += self.word(run)
        return ids


def split_runs(data):
    """str for UTF-8, bytes of length 1 for what is not."""
    runs, run = [], ""
    for c in data.decode("utf-8", "surrogateescape"):
        if 0xdc80 <= ord(c) <= 0xdcff:
            runs += [run] if run else []
            runs.append(bytes([ord(c) - 0xdc00]))
            run = ""
        else:
            run += c
    return runs + ([run] if run else [])


def read_gpt2(folder):
    vocab = json.load(open(os.path.join(folder, "vocab.json"), encoding="utf-8"))
    lines = open(os.path.join(folder, "merges.txt"), encoding="utf-8").read().split("\n")[1:]
    return vocab, [tuple(m.split()) for m in lines if m]


def hugging_face(vocab, merges, pre, ignore_merges=False):
    t = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=ignore_merges))
    t.pre_tokenizer, t.decoder = pre, decoders.ByteLevel()
    return t


def train(path, size):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.train([path], trainers.BpeTrainer(vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    model = json.loads(t.to_str())["model"]
    return model["vocab"], [tuple(m) for m in model["merges"]]


def write_small(data):
    vocab, merges = train(os.path.join(data, "text", "tinyshakespeare.txt"), 480)
    folder = os.path.join(HERE, "..", "data", "bpe")
    with_end = dict(vocab)
    with_end["<|endoftext|>"] = len(vocab)
    with open(os.path.join(folder, "vocab.json"), "w", encoding="utf-8") as f:
        json.dump(with_end, f, ensure_ascii=False)
    with open(os.path.join(folder, "merges.txt"), "w", encoding="utf-8") as f:
        f.write("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    split = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
                                     pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t = hugging_face(vocab, merges, split, True)
    t.add_special_tokens([AddedToken("<|end_of_text|>", special=True, normalized=False)])
    t.save(os.path.join(HERE, "..", "data", "bpe_split", "tokenizer.json"), pretty=False)
    return with_end, vocab, merges, split


def random_text(r):
    pools = ["abcdefgh THE", " \n\t\r", "0123456789", "'s't're", ".,;:!?-_=+()[]{}<>|", "\u00e9\u00df\u0301\u4f60\u597d\u3042\U0001f600\u200d", "\u00a0\u2003\u3000\u0085\u2028"]
    return "".join(r.choice(r.choice(pools)) for _ in range(r.randrange(1, 60)))


def main(data):
    gpt2_vocab, gpt2_merges = read_gpt2(os.path.join(data, "gpt2"))
    small_vocab, vocab, merges, split = write_small(data)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pairs = {"gpt2": (hugging_face(gpt2_vocab, gpt2_merges, byte_level), Plain(gpt2_vocab, gpt2_merges, GPT2)),
             "bpe": (hugging_face(small_vocab, merges, byte_level), Plain(small_vocab, merges, GPT2)),
             "bpe_split": (hugging_face(vocab, merges, split, True), Plain(vocab, merges, LLAMA3, True))}
    prefixed = hugging_face(small_vocab, merges, pre_tokenizers.ByteLevel(add_prefix_space=True))
    r = random.Random(1)
    texts = TEXTS + [random_text(r) for _ in range(40)]
    cases = []
    for text in [t.encode() for t in texts] + RAW:
        ids = {}
        for name, (other, plain) in pairs.items():
            ids[name] = plain.encode(text)
            try:
                theirs = other.encode(text.decode(), add_special_tokens=False).ids
            except UnicodeDecodeError:
                continue
            if theirs != ids[name]:
                sys.exit(f"{name}: the two implementations differ on {text!r}:\n{theirs}\n{ids[name]}")
        if text.decode("utf-8", "replace").encode() == text:
            ids["prefixed"] = prefixed.encode(text.decode(), add_special_tokens=False).ids
        cases.append({"text": text.hex(), "ids": ids})
    lines = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases)
    with open(os.path.join(HERE, "tokenizer.json"), "w", encoding="utf-8") as f:
        f.write('{"cases": [\n' + lines + "\n]}\n")
    print(f"{len(cases)} cases")


if __name__ == "__main__":
    main(sys.argv[1])
