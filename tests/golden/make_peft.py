#!/usr/bin/env python3
"""Makes the folders of peft/: `python3 make_peft.py` (torch, transformers, peft, safetensors).

An adapter as PEFT saves it, its factors drawn at random, for tiny models of families/ and for a tiny GPT-2 that is made
here. `expected.json` holds, computed in float64:

    base     the folder of the model
    tokens   14 ids
    logits   after each of them, of the model with the adapter
    losses   before each of five steps of AdamW that train the adapter alone to predict the next token (rate 1e-2, betas 0.9
             and 0.95, decay 0.1, gradients clipped to a norm of 1)
    after    each factor after these: its norm, and its product with cos 1, cos 2, cos 3, …
"""
import json
import pathlib

import peft
import torch
import transformers as T

ADAPTERS = dict(
    llama=("families/llama", dict(r=3, lora_alpha=5, target_modules="all-linear")),
    qwen2=("families/qwen2", dict(r=2, lora_alpha=8, target_modules=["q_proj", "v_proj"], use_rslora=True)),
    phi3=("families/phi3", dict(r=2, lora_alpha=3, target_modules="all-linear")),
    gpt_neox=("families/gpt_neox", dict(r=2, lora_alpha=4, target_modules=["query_key_value", "dense_4h_to_h"])),
    gpt2=("peft/gpt2/base", dict(r=2, lora_alpha=4, target_modules=["c_attn", "mlp.c_proj"])),
)


def make_gpt2(folder):
    torch.manual_seed(7)
    config = T.GPT2Config(vocab_size=31, n_positions=32, n_embd=8, n_layer=2, n_head=2, bos_token_id=None,
                          eos_token_id=None)
    model = T.GPT2LMHeadModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.mean() + 0.3 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)


def make(folder, base, options):
    torch.manual_seed(24)
    model = T.AutoModelForCausalLM.from_pretrained(base, attn_implementation="eager", dtype=torch.float32)
    config = peft.LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **options)
    model = peft.get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    written = json.loads((folder / "adapter_config.json").read_text())
    written["base_model_name_or_path"] = None
    if not isinstance(written["target_modules"], str):
        written["target_modules"].sort()
    (folder / "adapter_config.json").write_text(json.dumps(written, indent=2) + "\n")
    model = model.double().eval()
    tokens = torch.randint(0, 31, (1, 14))
    logits = model(tokens).logits[0]
    factors = {name.replace(".default", ""): p for name, p in model.named_parameters() if "lora_" in name}
    for factor in factors.values():
        factor.requires_grad_(True)
    adamw = torch.optim.AdamW(factors.values(), lr=1e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    losses = []
    for _ in range(5):
        adamw.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(tokens).logits[0, :-1], tokens[0, 1:])
        loss.backward()
        losses.append(loss.item())
        torch.nn.utils.clip_grad_norm_(factors.values(), 1.0)
        adamw.step()
    after = {}
    for name, factor in factors.items():
        flat = factor.detach().flatten()
        after[name] = [flat.norm().item(), (flat @ torch.arange(1, len(flat) + 1).double().cos()).item()]
    expected = dict(base=base.name if base.name != "base" else "gpt2", tokens=tokens[0].tolist(), losses=losses,
                    after=after, logits=[[round(x, 9) for x in row] for row in logits.tolist()])
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    here = pathlib.Path(__file__).parent
    make_gpt2(here / "peft/gpt2/base")
    for name, (base, options) in ADAPTERS.items():
        make(here / "peft" / name, here / base, options)
