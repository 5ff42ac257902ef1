"""tests/golden/tokenizers: tiny tokenizers of every kind with ids of hard texts, and conversations in several forms.

Trained and run by Hugging Face's `tokenizers` and `transformers` (0.23 and 5.24):
    python tests/golden/make_tokenizers.py
"""

import json
import pathlib
import random
import shutil

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

FOLDER = pathlib.Path(__file__).parent / "tokenizers"

CORPUS = [
    "The quick brown fox jumps over the lazy dog. The dog does not mind; it's lazy, isn't it?",
    "fn main() {\n    let x = 12345;\n\tprintln!(\"{x}\");\n}\n",
    "Zoë naïve café Ĳsselmeer straße — “quoted” … 今日は世界 привет мир",
    "In 2024 there were 365.25 days, 1,000,000 stars and 3 wishes.   \n\n  Then\r\nthey ended.",
] * 3

TEXTS = [
    "",
    " ",
    "Hello, world!",
    "it's IT'S don't WON'T we'll",
    "1234567890 12 3.14159 1,000",
    "  leading and trailing  ",
    "\n\n\n\t \r\n \n x",
    "a\u0301 e\u0308 \u1100\u1161\u11a8 \u212b ﬁ",
    "\U0001F642 \U0001F468\u200d\U0001F469\u200d\U0001F467 \U0001F1E9\U0001F1EA ☎️",
    "\x00\x01\x1f\x7f\u0085\u00a0\u2028\ufeff\ufffd",
    "def f(x):\n\treturn x**2  # ñ\n",
    "今日は 日本語 한국어 العربية עברית ไทย",
    "<|end|> </s> <s> [SEP] <0x0A> <unk> <|tool|>",
    "x" * 300 + " " * 40 + "y",
    "\u2581under\u2581 ▁▁",
    "Ġ Ċ ##ing",
]

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")


def special(*contents):
    return [AddedToken(content, special=True, normalized=False) for content in contents]


def byte_level(pattern):
    from tokenizers import Regex

    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def bpe_trainer(size, alphabet=(), tokens=()):
    return trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=list(alphabet), special_tokens=list(tokens), show_progress=False
    )


def llama3():
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = byte_level(LLAMA3)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(CORPUS, bpe_trainer(330, pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.add_tokens(special("<s>", "</s>", "<|start|>", "<|head|>", "<|end|>", "<|reserved|>"))
    tokenizer.add_tokens([AddedToken("<|tool|>", normalized=False)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return tokenizer, {"bos_token": "<s>", "eos_token": "<|end|>"}


def qwen2():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = byte_level(QWEN2)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(CORPUS, bpe_trainer(320, pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.add_tokens(special("<|endoftext|>", "<|start|>", "<|end|>"))
    return tokenizer, {"eos_token": "<|end|>", "pad_token": "<|endoftext|>"}


def sentencepiece():
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.train_from_iterator(CORPUS, bpe_trainer(420, tokens=["<unk>", "<s>", "</s>", *byte_tokens]))
    # The bytes are tokens of the model, and none that a text is searched for.
    data = json.loads(tokenizer.to_str())
    data["added_tokens"] = [token for token in data["added_tokens"] if token["id"] < 3]
    data["decoder"] = {
        "type": "Sequence",
        "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ],
    }
    tokenizer = Tokenizer.from_str(json.dumps(data))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def metaspace():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    trainer = trainers.UnigramTrainer(
        vocab_size=150, special_tokens=["<unk>", "<s>", "</s>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def bert():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    trainer = trainers.WordPieceTrainer(
        vocab_size=220, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer, {"unk_token": "[UNK]", "sep_token": "[SEP]", "cls_token": "[CLS]", "mask_token": "[MASK]"}


KINDS = {"llama3": llama3, "qwen2": qwen2, "sentencepiece": sentencepiece, "metaspace": metaspace, "bert": bert}

TEMPLATES = {
    # One mark before each turn and one after it; a default system message; thoughts left out of earlier turns.
    "qwen2": """{%- if messages[0].role != 'system' %}
    {{- '<|start|>system\\nBe useful.<|end|>\\n' }}
{%- endif %}
{%- set ns = namespace(last=-1) %}
{%- for message in messages %}
    {%- if message.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content %}
    {%- if message.role == 'assistant' and '</think>' in content %}
        {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
    {%- endif %}
    {%- if message.role == 'assistant' and loop.index0 > ns.last %}
        {{- '<|start|>' + message.role + '\\n<think>\\n\\n</think>\\n\\n' + content + '<|end|>\\n' }}
    {%- else %}
        {{- '<|start|>' + message.role + '\\n' + content + '<|end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start|>assistant\\n' }}
{%- endif %}""",
    # Heads, trimmed contents, the date.
    "llama3": """{{ bos_token }}
{%- if not date_string is defined %}{% set date_string = '26 Jul 2024' %}{% endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = '' %}
{%- endif %}
{{- '<|start|>system<|head|>\\n\\n' }}
{{- 'Today: ' + date_string + '\\n\\n' }}
{{- system_message }}
{{- '<|end|>' }}
{%- for message in messages %}
    {{- '<|start|>' + message['role'] + '<|head|>\\n\\n' + message['content'] | trim + '<|end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start|>assistant<|head|>\\n\\n' }}
{%- endif %}
""",
    # Brackets that are text, an end of text after answers, and turns that must alternate.
    "sentencepiece": """{{ bos_token }}{% for message in messages %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('user and assistant must take turns') }}
{% endif %}
{% if message['role'] == 'user' %}
{{ '[INST] ' + message['content'] + ' [/INST]' }}
{% else %}
{{ ' ' + message['content'] | trim + eos_token }}
{% endif %}
{% endfor %}
""",
}


def chats():
    rng = random.Random(7)
    says = ["Hi!", " What is 2 + 2?\n", "Ça va?  ", "\U0001F642", "a\n\nb", "x < y > z", "{{ bos_token }}", "It's \"that\"."]
    tell = lambda role: {"role": role, "content": rng.choice(says)}
    for turns in (1, 1, 2, 3, 4, 5):
        yield [tell(["user", "assistant"][turn % 2]) for turn in range(turns)]
    yield [{"role": "system", "content": "Be brief. "}, tell("user")]
    yield [{"role": "system", "content": "Be brief. "}, tell("user"), tell("assistant"), tell("user")]
    thought = {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nYes."}
    yield [tell("user"), thought, tell("user"), thought]


def rendered(tokenizer, chat):
    """What `apply_chat_template` gives, or why it gives nothing."""
    ending = chat[-1]["role"] != "assistant"
    rows = [{"add_generation_prompt": ending}]
    if not ending:
        rows.append({"continue_final_message": True})
    for options in rows:
        row = {"messages": chat, **options}
        try:
            row["prompt"] = tokenizer.apply_chat_template(chat, tokenize=False, **options)
            row["ids"] = tokenizer.apply_chat_template(chat, tokenize=True, return_dict=False, **options)
        except Exception as error:
            row["error"] = str(error)
        yield row


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    for name, make in KINDS.items():
        folder = FOLDER / name
        folder.mkdir(parents=True)
        tokenizer, roles = make()
        (folder / "tokenizer.json").write_text(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False))
        config = {"tokenizer_class": "PreTrainedTokenizerFast", **roles}
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1))
        golden = {"texts": []}
        # A user cannot type a special token.
        tokenizer.encode_special_tokens = True
        for text in TEXTS:
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            golden["texts"].append({"text": text, "ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False)})
        tokenizer.encode_special_tokens = False
        golden["around"] = tokenizer.encode("The dog").ids
        if name in TEMPLATES:
            (folder / "chat_template.jinja").write_text(TEMPLATES[name])
            fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles)
            fast.chat_template = TEMPLATES[name]
            golden["chats"] = [row for chat in chats() for row in rendered(fast, chat)]
        (folder / "golden.json").write_text(json.dumps(golden, ensure_ascii=True, separators=(",", ":")))


if __name__ == "__main__":
    main()
