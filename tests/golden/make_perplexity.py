#!/usr/bin/env python3
"""Makes perplexity.json: `python3 make_perplexity.py` (torch, transformers).

The loss of the model in families/llama on a text of 500 random tokens, a letter each, in float64:

    sliding  by the loop of the guide of `transformers` on perplexity, max_length 48 and stride 20: nats and tokens
    halves   by the loop of llama.cpp's perplexity program, n_ctx 48, without a token that begins a text

The guide weighs a window's mean by its targets less one, also where none of them is lost; here each target counts once.
"""
import json
import pathlib

import torch
import transformers

CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDE"
HERE = pathlib.Path(__file__).parent
MAX_LENGTH, STRIDE = 48, 20

model = transformers.AutoModelForCausalLM.from_pretrained(HERE / "families/llama").double().eval()
torch.manual_seed(7)
tokens = torch.randint(0, len(CHARACTERS), (1, 500))
sums = dict(sliding=[0.0, 0], halves=[0.0, 0])


def add(kind, logits, targets):
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    sums[kind][0] += losses.sum().item()
    sums[kind][1] += len(losses)


with torch.no_grad():
    previous = 0
    for begin in range(0, tokens.shape[1], STRIDE):
        end = min(begin + MAX_LENGTH, tokens.shape[1])
        window = tokens[:, begin:end]
        targets = window.clone()
        targets[:, : -(end - previous)] = -100
        logits, targets = model(window).logits[0, :-1], targets[0, 1:]
        add("sliding", logits[targets != -100], targets[targets != -100])
        previous = end
        if end == tokens.shape[1]:
            break
    for chunk in range(tokens.shape[1] // MAX_LENGTH):
        window = tokens[:, chunk * MAX_LENGTH : (chunk + 1) * MAX_LENGTH]
        first = MAX_LENGTH // 2
        add("halves", model(window).logits[0, first:-1], window[0, first + 1 :])

text = "".join(sorted(CHARACTERS)[token] for token in tokens[0])
json.dump(dict(text=text, context=MAX_LENGTH, stride=STRIDE, **sums), (HERE / "perplexity.json").open("w"))
