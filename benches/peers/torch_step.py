"""The training step of Lal's preset `mini` or `char` in PyTorch: prints the median milliseconds per step.

The same model (GPT-2 without biases, exact GELU, tied head, no dropout), batch, optimiser and clipping, in f32, on random
tokens: times do not depend on the text. On CUDA f32 as PyTorch ships, or with `--no-matrix-units` without any TF32.
"""

import argparse
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F

VOCABULARY = 65
# layers, heads, width, block, batch
PRESETS = {"mini": (4, 4, 128, 64, 12), "char": (6, 6, 384, 256, 64)}


class Block(nn.Module):
    def __init__(self, heads, width):
        super().__init__()
        self.heads = heads
        self.ln_1 = nn.LayerNorm(width, bias=False)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width, bias=False)
        self.ln_2 = nn.LayerNorm(width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x):
        batch, time_steps, width = x.shape
        split = lambda t: t.view(batch, time_steps, self.heads, width // self.heads).transpose(1, 2)
        q, k, v = map(split, self.qkv(self.ln_1(x)).split(width, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(batch, time_steps, width))
        return x + self.down(F.gelu(self.up(self.ln_2(x))))


class Gpt(nn.Module):
    def __init__(self, layers, heads, width, block):
        super().__init__()
        self.wte = nn.Embedding(VOCABULARY, width)
        self.wpe = nn.Embedding(block, width)
        self.blocks = nn.Sequential(*[Block(heads, width) for _ in range(layers)])
        self.ln_f = nn.LayerNorm(width, bias=False)

    def forward(self, tokens, targets):
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1], device=tokens.device))
        logits = self.ln_f(self.blocks(x)) @ self.wte.weight.T
        return F.cross_entropy(logits.view(-1, VOCABULARY), targets.view(-1))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--preset", choices=PRESETS, default="mini")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-matrix-units", action="store_true")
    args = parser.parse_args()
    if args.no_matrix_units:
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(1337)
    layers, heads, width, block, batch = PRESETS[args.preset]
    model = Gpt(layers, heads, width, block).to(args.device)
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99))
    times = []
    for _ in range(args.steps):
        tokens = torch.randint(VOCABULARY, (batch, block + 1), device=args.device)
        start = time.perf_counter()
        loss = model(tokens[:, :-1], tokens[:, 1:].reshape(-1))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        loss.item()
        times.append(1e3 * (time.perf_counter() - start))
    # The first steps warm up.
    print(f"{statistics.median(times[len(times) // 5:]):.3f}")


main()
