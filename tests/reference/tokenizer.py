#!/usr/bin/env python3
"""Token ids of awkward texts by Hugging Face's `tokenizers`, for tests/unit/tokenizer_test.c.

    python3 tokenizer.py FOLDER_WITH_VOCAB_AND_MERGES > gpt2_ids.json

Texts are hexadecimal UTF-8, so that the file stays plain."""
import json
import sys

from tokenizers import Tokenizer, models, pre_tokenizers

TEXTS = [
    "Hello world", " Hello", "hello   world  ", "a\n\n\nb\n", "\t\tif (x):\r\n    y", "I'm you're it's we'll they'd I've don't CAN'T",
    "1234567890 3.14159 1e-8 v2.0", "naïve café résumé Ångström", "日本語のテキスト、漢字とかな。", "한국어 텍스트", "Привет, мир!", "مرحبا بالعالم",
    "👩‍👩‍👧‍👦 family 🇩🇪 flag 👍🏽", "e\u0301 combining \u00a0 nbsp \u2003 em space", "supercalifragilisticexpialidocious" * 4, "!!!???...---___***",
    "<|endoftext|> is text here", "x" * 200, " " * 70 + "end", "a \n b \t c  \n\n  d", "https://example.org/path?q=1&r=2#frag", "\u0000\u0001\u007f",
    "The quick brown fox jumps over the lazy dog. " * 3, "ﬁ ligature ½ ² Ⅷ", "it''s 'S 'twas o'clock", "\ufeffbom", "tail space ", "\n", " ", "",
]


def main():
    folder = sys.argv[1]
    tokenizer = Tokenizer(models.BPE.from_file(folder + "/vocab.json", folder + "/merges.txt"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rows = [{"text": text.encode("utf-8").hex(), "ids": tokenizer.encode(text).ids} for text in TEXTS]
    print("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]")


if __name__ == "__main__":
    main()
