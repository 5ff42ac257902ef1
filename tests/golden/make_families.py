#!/usr/bin/env python3
"""Makes the folders of families/: `python3 make_families.py [NAME …]` (torch, transformers, safetensors).

A tiny model of each family that Lal reads, as `transformers` saves it, its weights drawn at random. `expected.json` holds,
computed in float64:

    tokens   70 ids
    logits   after each of them
    loss     the mean cross-entropy of the next token, of all but the last
    gradients  of that loss, for each tensor: its norm, and its product with cos 1, cos 2, cos 3, …
    losses   of three steps of AdamW on the same tokens (rate 1e-3, betas 0.9 and 0.95, decay 0.1 of matrices)
"""
import json
import pathlib
import sys

import torch
import transformers as T

SIZES = dict(vocab_size=31, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=96, bos_token_id=None, eos_token_id=None,
             pad_token_id=None)
LLAMA3 = dict(rope_type="llama3", rope_theta=500.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=32)


def rope(theta, **more):
    return dict(rope_parameters=dict(rope_type="default", rope_theta=theta, **more))


FAMILIES = dict(
    llama=(T.LlamaConfig, dict(tie_word_embeddings=True, rms_norm_eps=1e-5)),
    llama_scaled=(T.LlamaConfig, dict(rope_parameters=LLAMA3, head_dim=6, attention_bias=True, mlp_bias=True)),
    llama_linear=(T.LlamaConfig, dict(num_key_value_heads=4,
                                      **{"rope_parameters": dict(rope_type="linear", rope_theta=1e4, factor=2.0)})),
    mistral=(T.MistralConfig, dict(sliding_window=9, head_dim=4, **rope(1e6))),
    qwen2=(T.Qwen2Config, dict(**rope(1e6))),
    qwen2_window=(T.Qwen2Config, dict(use_sliding_window=True, sliding_window=7, max_window_layers=1,
                                      tie_word_embeddings=True)),
    qwen3=(T.Qwen3Config, dict(head_dim=6, tie_word_embeddings=True, **rope(1e6))),
    smollm3=(T.SmolLM3Config, dict(num_hidden_layers=3, no_rope_layers=[1, 0, 1], **rope(2e6))),
    gemma3=(T.Gemma3TextConfig, dict(
        num_hidden_layers=3, head_dim=8, query_pre_attn_scalar=11, sliding_window=6,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        rope_parameters=dict(sliding_attention=dict(rope_type="default", rope_theta=100.0),
                             full_attention=dict(rope_type="linear", rope_theta=1e4, factor=8.0)))),
    olmo2=(T.Olmo2Config, dict()),
    phi3=(T.Phi3Config, dict(sliding_window=20, rope_parameters=dict(
        rope_type="default", rope_theta=1e4, partial_rotary_factor=0.5))),
    gpt_neox=(T.GPTNeoXConfig, dict(layer_norm_eps=1e-4, rope_parameters=dict(
        rope_type="default", rope_theta=1e4, partial_rotary_factor=0.5))),
    gpt_neox_serial=(T.GPTNeoXConfig, dict(use_parallel_residual=False, tie_word_embeddings=True,
                                            hidden_size=32)),
)


def make(folder, kind, options):
    torch.manual_seed(1337)
    sizes = {**SIZES, **options}
    if kind is T.GPTNeoXConfig:
        sizes.pop("num_key_value_heads")
    model = T.AutoModelForCausalLM.from_config(kind(**sizes), attn_implementation="eager").eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            normal = torch.randn_like(parameter)
            if "norm" in name and name.endswith("weight"):
                parameter.copy_(parameter + 0.3 * normal)
            else:
                parameter.copy_(0.3 * normal)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    model = model.double()
    tokens = torch.randint(0, SIZES["vocab_size"], (1, 70))
    logits = model(tokens).logits[0]
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() == 1]
    groups = [dict(params=decayed, weight_decay=0.1), dict(params=others, weight_decay=0.0)]
    adamw = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), eps=1e-8)
    losses, gradients = [], {}
    for step in range(4):
        adamw.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(tokens).logits[0, :-1], tokens[0, 1:])
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            for name, parameter in model.named_parameters():
                gradient = parameter.grad.flatten()
                cosines = torch.arange(1, len(gradient) + 1, dtype=torch.float64).cos()
                # Newer versions call NeoX's head so in memory alone.
                stored = name.replace("lm_head", "embed_out") if kind is T.GPTNeoXConfig else name
                gradients[stored] = [gradient.norm().item(), (gradient @ cosines).item()]
        adamw.step()
    expected = dict(tokens=tokens[0].tolist(), loss=losses[0], losses=losses[1:], gradients=gradients,
                    logits=[[round(x, 9) for x in row] for row in logits.tolist()])
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    here = pathlib.Path(__file__).parent / "families"
    for name, (kind, options) in FAMILIES.items():
        if len(sys.argv) < 2 or name in sys.argv[1:]:
            make(here / name, kind, options)
