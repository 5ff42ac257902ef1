#!/usr/bin/env python3
"""Makes the GPT fixtures of this folder: `python3 make_gpt.py` (torch, safetensors, numpy).

A GPT of odd sizes built from PyTorch's own modules, in two variants:

    gpt_plain   no biases, exact GELU   (nanoGPT)
    gpt_bias    biases, tanh GELU       (GPT-2)

Each `<variant>.safetensors` holds, in float32:

    weight/<name>   initial weights; linear layers are (out, in)
    grad/<name>     gradients of the loss at these weights, before clipping
    logits          (batch, block, vocab)
    final/<name>    weights after ten AdamW steps on the same batch

Each `<variant>.json` holds the sizes, tokens, targets, the loss at the initial weights, the gradient's norm, and
the loss before each of the ten steps. All is computed in float64 and rounded at the end, so that a difference is
the other side's; `float32_losses` is what PyTorch itself gives in float32.
"""
import json
import pathlib

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file

SIZES = dict(vocab_size=17, block_size=7, n_layer=2, n_head=3, n_embd=12)
BATCH = 3
OPTIMISER = dict(learning_rate=1e-3, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0.1, grad_clip=1.0, steps=10)


class LayerNorm(nn.Module):
    """torch 2's nn.LayerNorm, with the bias as an option."""

    def __init__(self, width, bias):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None

    def forward(self, x):
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-5)


class Attention(nn.Module):
    def __init__(self, c, heads, bias):
        super().__init__()
        self.heads = heads
        self.c_attn = nn.Linear(c, 3 * c, bias=bias)
        self.c_proj = nn.Linear(c, c, bias=bias)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (part.view(b, t, self.heads, -1).transpose(1, 2) for part in self.c_attn(x).split(c, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).reshape(b, t, c))


class Mlp(nn.Module):
    def __init__(self, c, bias, gelu):
        super().__init__()
        self.gelu = gelu
        self.c_fc = nn.Linear(c, 4 * c, bias=bias)
        self.c_proj = nn.Linear(4 * c, c, bias=bias)

    def forward(self, x):
        return self.c_proj(F.gelu(self.c_fc(x), approximate=self.gelu))


class Block(nn.Module):
    def __init__(self, c, heads, bias, gelu):
        super().__init__()
        self.ln_1 = LayerNorm(c, bias)
        self.attn = Attention(c, heads, bias)
        self.ln_2 = LayerNorm(c, bias)
        self.mlp = Mlp(c, bias, gelu)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Gpt(nn.Module):
    def __init__(self, vocab_size, block_size, n_layer, n_head, n_embd, bias, gelu):
        super().__init__()
        self.transformer = nn.ModuleDict(dict(
            wte=nn.Embedding(vocab_size, n_embd),
            wpe=nn.Embedding(block_size, n_embd),
            h=nn.ModuleList(Block(n_embd, n_head, bias, gelu) for _ in range(n_layer)),
            ln_f=LayerNorm(n_embd, bias),
        ))

    def forward(self, tokens):
        parts = self.transformer
        x = parts.wte(tokens) + parts.wpe.weight[: tokens.shape[1]]
        for block in parts.h:
            x = block(x)
        return F.linear(parts.ln_f(x), parts.wte.weight)


def loss_of(model, tokens, targets):
    return F.cross_entropy(model(tokens).flatten(0, 1), targets.flatten())


def start(bias, gelu):
    """Weights far enough from their usual start that every term matters: norms off 1, biases off 0."""
    torch.manual_seed(1337)
    model = Gpt(**SIZES, bias=bias, gelu=gelu)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            normal = torch.randn_like(parameter)
            is_norm_weight = ".ln_" in name and name.endswith("weight")
            parameter.copy_(1 + 0.2 * normal if is_norm_weight else 0.2 * normal)
    tokens = torch.randint(SIZES["vocab_size"], (BATCH, SIZES["block_size"] + 1))
    return model, tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


def train(model, tokens, targets):
    """nanoGPT's configure_optimizers: matrices decay, vectors do not. Returns the loss before each step."""
    o = OPTIMISER
    parameters = list(model.parameters())
    groups = [
        dict(params=[p for p in parameters if p.dim() >= 2], weight_decay=o["weight_decay"]),
        dict(params=[p for p in parameters if p.dim() < 2], weight_decay=0.0),
    ]
    adamw = torch.optim.AdamW(groups, lr=o["learning_rate"], betas=(o["beta1"], o["beta2"]), eps=o["eps"])
    losses = []
    for _ in range(o["steps"]):
        adamw.zero_grad()
        loss = loss_of(model, tokens, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, o["grad_clip"])
        adamw.step()
        losses.append(loss.item())
    return losses


def make(name, bias, gelu):
    model, tokens, targets = start(bias, gelu)
    float32_losses = train(model, tokens, targets)

    model = start(bias, gelu)[0].double()
    tensors = {f"weight/{n}": p.detach().clone() for n, p in model.named_parameters()}
    tensors["logits"] = model(tokens).detach()
    loss = loss_of(model, tokens, targets)
    loss.backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters()}
    tensors |= {f"grad/{n}": g for n, g in gradients.items()}
    norm = torch.linalg.vector_norm(torch.stack([g.norm() for g in gradients.values()])).item()
    losses = train(model, tokens, targets)
    tensors |= {f"final/{n}": p.detach() for n, p in model.named_parameters()}

    here = pathlib.Path(__file__).parent
    save_file({n: t.float().contiguous() for n, t in tensors.items()}, here / f"{name}.safetensors")
    facts = dict(
        **SIZES, bias=bias, gelu="tanh" if gelu == "tanh" else "exact", batch_size=BATCH, optimiser=OPTIMISER,
        tokens=tokens.flatten().tolist(), targets=targets.flatten().tolist(), loss=loss.item(), grad_norm=norm,
        losses=losses, float32_losses=float32_losses, torch=torch.__version__,
    )
    (here / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    make("gpt_plain", bias=False, gelu="none")
    make("gpt_bias", bias=True, gelu="tanh")
