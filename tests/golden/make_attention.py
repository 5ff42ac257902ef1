#!/usr/bin/env python3
"""Makes the attention fixtures of this folder: `python3 make_attention.py` (torch, safetensors).

`attention.json` lists forms of attention; `attention.safetensors` holds, in float32, for each:

    <form>/qkv    (batch, time, (n_head + 2 n_kv_head) · width)
    <form>/out    (batch, time, n_head · width)
    <form>/dout   the gradient that comes back, as out
    <form>/dqkv   the gradient of Σ out · dout, as qkv

and, for those with a convolution, its weights <form>/w (conv_kernel, width of qkv) and their gradient <form>/dw.

The convolution is torch's conv1d, sequence by sequence, added to qkv. Queries and keys are rotated as Llama's code does
it (pairs of channels half a head apart), heads of keys are repeated, ALiBi and everything that is not seen enter as a
bias, and torch's scaled_dot_product_attention does the rest. All is computed in float64 and rounded at the end.
"""
import json
import math
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

DEFAULT = dict(batch=2, time=11, n_head=4, n_kv_head=4, width=6, causal=True, alibi=False, rope_base=0.0, segments=[],
               conv_kernel=0)
FORMS = dict(
    bert=dict(causal=False),
    gqa=dict(n_kv_head=2),
    mqa=dict(n_kv_head=1),
    alibi=dict(),
    alibi_of_six_heads=dict(n_head=6, n_kv_head=3, width=4, causal=False),
    packed=dict(segments=[3, 3, 3, 5, 5, 5, 5, 1, 1, 1, 1] + [0] * 6 + [7] * 5),
    packed_bert=dict(causal=False, segments=[0] * 4 + [1] * 6 + [2] + [9] * 11),
    rope=dict(rope_base=10000.0),
    llama=dict(n_kv_head=2, width=8, rope_base=500000.0),
    all=dict(batch=1, time=67, n_head=3, n_kv_head=1, rope_base=10000.0, segments=[0] * 30 + [1] * 37),
    conv=dict(n_kv_head=2, conv_kernel=4, rope_base=10000.0),
    packed_conv=dict(conv_kernel=3, segments=[3, 3, 3, 5, 5, 5, 5, 1, 1, 1, 1] + [0] * 6 + [7] * 4 + [2]),
)
for name in ["alibi", "alibi_of_six_heads", "all"]:
    FORMS[name]["alibi"] = True


def alibi_slopes(n):
    """As the code of the paper (github.com/ofirpress/attention_with_linear_biases)."""

    def power_of_two(n):
        start = 2 ** (-(2 ** -(math.log2(n) - 3)))
        return [start * start**i for i in range(n)]

    if math.log2(n).is_integer():
        return power_of_two(n)
    closest = 2 ** math.floor(math.log2(n))
    return power_of_two(closest) + alibi_slopes(2 * closest)[0::2][: n - closest]


def rotate_half(x):
    first, second = x.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


def rotated(x, base):
    time, width = x.shape[-2:]
    inv_freq = 1.0 / base ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.outer(torch.arange(time, dtype=torch.float64), inv_freq)
    angles = torch.cat((angles, angles), dim=-1)
    return x * angles.cos() + rotate_half(x) * angles.sin()


def convolved(qkv, w, f):
    """Channel by channel over the tokens of a sequence, the newest tap last, as conv1d has it."""
    taps, channels = w.shape
    kernel = w.flip(0).T.reshape(channels, 1, taps)
    segments = torch.tensor(f["segments"] or [0] * (f["batch"] * f["time"])).view(f["batch"], f["time"])
    items = []
    for item, numbers in zip(qkv, segments):
        lengths = torch.unique_consecutive(numbers, return_counts=True)[1].tolist()
        padded = (F.pad(part.T, (taps - 1, 0)) for part in item.split(lengths))
        items.append(torch.cat([F.conv1d(part, kernel, groups=channels).T for part in padded]))
    return qkv + torch.stack(items)


def attend(qkv, f):
    b, t, h, g, d = f["batch"], f["time"], f["n_head"], f["n_kv_head"], f["width"]
    q, k, v = (part.view(b, t, -1, d).transpose(1, 2) for part in qkv.split([h * d, g * d, g * d], dim=2))
    if f["rope_base"]:
        q, k = rotated(q, f["rope_base"]), rotated(k, f["rope_base"])
    k, v = (x.repeat_interleave(h // g, dim=1) for x in (k, v))
    seen = torch.ones(b, 1, t, t, dtype=torch.bool)
    if f["causal"]:
        seen = seen.tril()
    if f["segments"]:
        segments = torch.tensor(f["segments"]).view(b, t)
        seen = seen & (segments[:, None, :, None] == segments[:, None, None, :])
    bias = torch.zeros(b, h, t, t, dtype=torch.float64)
    if f["alibi"]:
        place = torch.arange(t)
        distance = (place[:, None] - place[None, :]).abs().double()
        bias = bias - torch.tensor(alibi_slopes(h), dtype=torch.float64)[:, None, None] * distance
    bias = bias.masked_fill(~seen, -math.inf)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    return out.transpose(1, 2).reshape(b, t, h * d)


def make():
    torch.manual_seed(1337)
    forms, tensors = {}, {}
    for name, changes in FORMS.items():
        f = DEFAULT | changes
        row = (f["n_head"] + 2 * f["n_kv_head"]) * f["width"]
        # Numbers that float32 holds, so that both sides begin from the same.
        qkv = torch.randn(f["batch"], f["time"], row).double().requires_grad_()
        dout = torch.randn(f["batch"], f["time"], f["n_head"] * f["width"]).double()
        w = (0.5 * torch.randn(f["conv_kernel"], row)).double().requires_grad_() if f["conv_kernel"] else None
        out = attend(qkv if w is None else convolved(qkv, w, f), f)
        out.backward(dout)
        tensors |= {f"{name}/qkv": qkv, f"{name}/out": out, f"{name}/dout": dout, f"{name}/dqkv": qkv.grad}
        if w is not None:
            tensors |= {f"{name}/w": w, f"{name}/dw": w.grad}
        forms[name] = f
    here = pathlib.Path(__file__).parent
    save_file({n: t.detach().float().contiguous() for n, t in tensors.items()}, here / "attention.safetensors")
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(form)}" for name, form in forms.items())
    (here / "attention.json").write_text("{\n" + lines + f',\n "torch": {json.dumps(torch.__version__)}\n}}\n')


if __name__ == "__main__":
    make()
