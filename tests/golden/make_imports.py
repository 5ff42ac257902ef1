#!/usr/bin/env python3
"""Makes the folders of imports/: `python3 make_imports.py` (torch, transformers, safetensors).

GPT-2s of odd sizes as `transformers` saves them, with every form of theirs that Lal reads:

    untied   a head of its own, exact GELU
    trunk    `GPT2Model` alone, whose names have no `transformer.`; another epsilon, width inside, activation, and
             three tokens of padding in the vocabulary
    bf16     weights in BF16, in several files with an index
    masks    keys scaled before the product, another name for GELU, and with the weights what older versions kept
             there: masks of causality, and a head that is the embedding

`logits.json` holds, of each, the logits behind the last of TOKENS, computed in float64.
"""
import json
import pathlib

import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

TOKENS = [3, 0, 11, 7, 7, 2, 9]
SIZES = dict(vocab_size=12, n_positions=7, n_layer=2, n_head=2, n_embd=6, bos_token_id=None, eos_token_id=None)
VARIANTS = dict(
    untied=dict(tie_word_embeddings=False, activation_function="gelu"),
    trunk=dict(layer_norm_epsilon=1e-2, n_inner=10, activation_function="relu", vocab_size=15),
    bf16=dict(tie_word_embeddings=False),
    masks=dict(activation_function="gelu_pytorch_tanh", reorder_and_upcast_attn=True),
)


def make(folder, variant, options):
    torch.manual_seed(1337)
    config = GPT2Config(**{**SIZES, **options})
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            normal = torch.randn_like(parameter)
            is_norm_weight = "ln_" in name and name.endswith("weight")
            parameter.copy_(1 + 0.3 * normal if is_norm_weight else 0.3 * normal)
    saved = model.transformer if variant == "trunk" else model
    if variant == "bf16":
        saved.to(torch.bfloat16).save_pretrained(folder, max_shard_size=1500)
    else:
        saved.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if variant == "masks":
        file = folder / "model.safetensors"
        tensors = load_file(file)
        mask = torch.ones(7, 7, dtype=torch.uint8).tril().view(1, 1, 7, 7)
        tensors |= {f"transformer.h.{i}.attn.bias": mask.clone() for i in range(2)}
        tensors |= {f"transformer.h.{i}.attn.masked_bias": torch.tensor(-1e4) for i in range(2)}
        tensors["lm_head.weight"] = tensors["transformer.wte.weight"].clone()
        save_file(tensors, file, {"format": "pt"})
    with torch.no_grad():
        return model.double()(torch.tensor([TOKENS])).logits[0, -1].tolist()


if __name__ == "__main__":
    here = pathlib.Path(__file__).parent / "imports"
    logits = {variant: make(here / variant, variant, options) for variant, options in VARIANTS.items()}
    (here / "logits.json").write_text(json.dumps(dict(tokens=TOKENS, logits=logits), indent=1) + "\n")
