#!/usr/bin/env python3
"""Makes the fixtures of single layers and optimisers of this folder: `python3 make_layers.py` (torch, safetensors).

`layers.safetensors` holds, in float32, tensors named `<case>/<tensor>`; a gradient is named after its tensor with a
`d` in front, and `dy` is the random gradient of the output `y` that the others come from:

    sigmoid, tanh, relu, relu_squared, silu, swiglu, rms_norm, bce, residual
    rnn, gru, lstm      two windows of one sequence, time by time, the second from the detached state of the first
    sgd, nesterov       torch.optim.SGD with momentum 0.9, after torch's clipping by global norm
    muon_wide, muon_tall    Muon as Jordan (2024) describes it, with the scale of Liu et al. (2025)

All is computed in float64 and rounded at the end, so that a difference is the other side's.
"""
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

tensors = {}


def random(*shape, scale=1.0):
    # Rounded first: the other side starts from the same numbers.
    return (scale * torch.randn(*shape)).float().double()


def keep(case, **named):
    for name, tensor in named.items():
        tensors[f"{case}/{name}"] = tensor.detach().float().contiguous().clone()


def layer(case, f, **operands):
    """Keeps the operands, f of them, and the gradients of f's product with a random dy."""
    for tensor in operands.values():
        tensor.requires_grad_()
    y = f(**operands)
    dy = random(*y.shape)
    gradients = torch.autograd.grad(y, list(operands.values()), dy)
    keep(case, y=y, dy=dy, **operands)
    keep(case, **{f"d{name}": gradient for name, gradient in zip(operands, gradients)})


def residual(x, weight):
    r = x + x @ weight.T
    s = 2 * r + 0.5 * torch.tanh(r.reshape(3, 4, 7)).reshape(6, 14)
    return (s + x) + s


def activations():
    layer("sigmoid", torch.sigmoid, input=random(3, 37, scale=3))
    layer("tanh", torch.tanh, input=random(3, 37, scale=3))
    layer("relu", torch.relu, input=random(3, 37, scale=3))
    layer("relu_squared", lambda input: torch.relu(input) ** 2, input=random(3, 37, scale=3))
    layer("silu", F.silu, input=random(3, 37, scale=3))


def recurrent(case, module, time=4, batch=3, inputs=5, width=7):
    net = module(inputs, width).double()
    for parameter in net.parameters():
        parameter.data = random(*parameter.shape, scale=0.5)
    bias = net.bias_ih_l0 if case == "gru" else net.bias_ih_l0 + net.bias_hh_l0
    keep(case, weight_ih=net.weight_ih_l0, weight_hh=net.weight_hh_l0, bias_ih=bias, bias_hh=net.bias_hh_l0)
    state = None
    for window in "12":
        x, dy = random(time, batch, inputs).requires_grad_(), random(time, batch, width)
        y, state = net(x, state)
        state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        named = dict(net.named_parameters(), x=x)
        gradients = torch.autograd.grad(y, list(named.values()), dy)
        keep(case, **{f"x{window}": x, f"y{window}": y, f"dy{window}": dy})
        keep(case, **{f"d{name.removesuffix('_l0')}{window}": g for name, g in zip(named, gradients)})


def sgd(case, nesterov, steps=4):
    p = random(6, 11).requires_grad_()
    keep(case, p=p)
    optimiser = torch.optim.SGD([p], lr=0.1, momentum=0.9, nesterov=nesterov)
    for step in range(steps):
        p.grad = random(6, 11, scale=0.1 if step == 2 else 1.0)
        keep(case, **{f"g{step}": p.grad})
        torch.nn.utils.clip_grad_norm_([p], 2.0)
        optimiser.step()
    keep(case, final=p)


def newton_schulz(g):
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g / (g.norm() + 1e-7)
    if g.shape[0] > g.shape[1]:
        x = x.T
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if g.shape[0] > g.shape[1] else x


def muon(case, rows, columns, steps=3):
    p, m = random(rows, columns), torch.zeros(rows, columns).double()
    keep(case, p=p)
    for step in range(steps):
        g = random(rows, columns)
        keep(case, **{f"g{step}": g})
        m = 0.95 * m + g
        update = 0.2 * max(rows, columns) ** 0.5 * newton_schulz(g + 0.95 * m)
        p = p - 0.5 * (update + 0.1 * p)
    keep(case, final=p)


torch.manual_seed(4)
activations()
layer("swiglu", lambda g, u: F.silu(g) * u, g=random(5, 23, scale=2), u=random(5, 23))
layer("rms_norm", lambda input, weight: F.rms_norm(input, (29,), weight, 1e-5), input=random(6, 29), weight=random(29))
layer("residual", residual, x=random(6, 14), weight=random(14, 14))
x, target, weight = random(9, 13, scale=4).requires_grad_(), torch.randint(2, (9, 13)).double(), torch.rand(9, 13).double()
weight = weight.float().double()
loss = F.binary_cross_entropy_with_logits(x, target, weight, reduction="none")
keep("bce", x=x, target=target, weight=weight, loss=loss, dx=torch.autograd.grad(loss.sum(), x)[0])
recurrent("rnn", torch.nn.RNN)
recurrent("gru", torch.nn.GRU)
recurrent("lstm", torch.nn.LSTM)
sgd("sgd", False)
sgd("nesterov", True)
muon("muon_wide", 5, 12)
muon("muon_tall", 13, 6)
save_file(tensors, pathlib.Path(__file__).parent / "layers.safetensors")
