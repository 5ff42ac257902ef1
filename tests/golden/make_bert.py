#!/usr/bin/env python3
"""Makes bert/: `python3 make_bert.py` (torch, transformers, tokenizers).

A tiny BERT, its weights drawn at random, with a WordPiece tokenizer: `encoder` as Sentence Transformers keep one (BertModel,
and the files that ask for a mean of length 1), `masked` as its pretraining leaves it (BertForMaskedLM, names with `bert.`).
`expected.json` holds the vectors of `texts` in float64: of `encoder` means of length 1, of `masked` means.
"""
import json
import pathlib

import torch
import transformers as T
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

HERE = pathlib.Path(__file__).parent / "bert"
TEXTS = ["The cat sat on the mat.", "a dog", "Unbelievable cats, unbelievable MATS!", "caf\u00e9 \u4e2d x"]
WORDS = ("[PAD] [UNK] [CLS] [SEP] [MASK] the cat dog sat on mat a un ##believ ##able ##s cafe , . ! x \u4e2d").split()

tokenizer = Tokenizer(models.WordPiece({word: id for id, word in enumerate(WORDS)}, unk_token="[UNK]"))
tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
tokenizer.post_processor = processors.TemplateProcessing(
    single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
tokenizer = T.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
                                      pad_token="[PAD]", mask_token="[MASK]")
config = T.BertConfig(vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
                      intermediate_size=24, max_position_embeddings=40)
expected = dict(texts=TEXTS)
for name, kind in [("encoder", T.BertModel), ("masked", T.BertForMaskedLM)]:
    torch.manual_seed(1337)
    model = kind(config).eval()
    for parameter in model.parameters():
        parameter.data.normal_(0.0 if parameter.dim() > 1 else 0.5, 0.3)
    folder = HERE / name
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    model = model.double()
    encoder = model if name == "encoder" else model.bert
    vectors = []
    for text in TEXTS:
        with torch.no_grad():
            vector = encoder(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
        if name == "encoder":
            vector = torch.nn.functional.normalize(vector, dim=0)
        vectors.append([round(x, 9) for x in vector.tolist()])
    expected[name] = vectors
json.dump(expected, (HERE / "expected.json").open("w"))

folder = HERE / "encoder"
kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
modules = [dict(idx=i, name=str(i), path=path, type=f"sentence_transformers.models.{kind}")
           for i, (path, kind) in enumerate(kinds)]
(folder / "modules.json").write_text(json.dumps(modules, indent=1))
(folder / "1_Pooling").mkdir(exist_ok=True)
(folder / "1_Pooling/config.json").write_text(json.dumps(dict(
    word_embedding_dimension=16, pooling_mode_cls_token=False, pooling_mode_mean_tokens=True,
    pooling_mode_max_tokens=False, pooling_mode_mean_sqrt_len_tokens=False)))
(folder / "sentence_bert_config.json").write_text(json.dumps(dict(max_seq_length=32, do_lower_case=False)))
