#!/usr/bin/env python3
"""Makes `bpe.json`: `python3 make_bpe.py` (tokenizers, from PyPI).

What Hugging Face's byte-level BPE learns from a text full of ties, several scripts and odd blanks: its merges in
order, and the ids of a few samples.
"""
import json
import pathlib

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

TEXT = (
    "The cat sat on the mat, and the cat's hat sat on the cat.\n\n  Then 12 cats 1234 sat;\tthey'll sit again!\n"
    "Zoë's naïve café — “déjà vu”, said Zoë; the café's naïve cat sat. 今日は、今日も。🙂🙂 aaaaaaaaaa aaaaaaa\n"
) * 2
SAMPLES = ["", "the cat", "  the  cats\n\n\tsat ", "Zoë 今日 🙂", "aaaaaaaaaaaaa", "\x00 unseen ÿ 𝔘", "they'll it's 77"]
VOCAB = 320

tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
trainer = trainers.BpeTrainer(
    vocab_size=VOCAB, min_frequency=2, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
)
tokenizer.train_from_iterator([TEXT], trainer)
model = json.loads(tokenizer.to_str())["model"]
assert len(model["vocab"]) == VOCAB
golden = {
    "text": TEXT,
    "vocab_size": VOCAB,
    "merges": model["merges"],
    "samples": [{"text": text, "ids": tokenizer.encode(text).ids} for text in SAMPLES],
}
path = pathlib.Path(__file__).parent / "bpe.json"
path.write_text(json.dumps(golden, ensure_ascii=False) + "\n")
