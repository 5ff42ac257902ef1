#!/usr/bin/env python3
"""Makes the fixtures of fine-tuning's objectives: `python3 make_objectives.py` (torch, safetensors, numpy).

The model is `gpt_plain` of `make_gpt.py`, with its weights. `objectives.json` holds the token sequences and every
number that goes into the losses, which are written here from the papers' formulas; `objectives.safetensors` holds, in
float32, `score.weight`, `value_head.weight` and `value_head.bias`, and of each objective `<name>/grad/<parameter>`.
All is computed in float64 and rounded at the end.

    dpo, dpo_smooth     Rafailov et al. 2023, eq. 7; Mitchell 2023
    dpo_sft             Pang et al. 2024, eq. 1
    ipo                 Azar et al. 2024, eq. 17, with log-probabilities averaged over tokens
    reward              Ouyang et al. 2022, eq. 1
    reward_sft          the same beside demonstrations, as Yang et al. 2024 regularise it
    ppo                 Schulman et al. 2017, eqs. 7 and 9, the value loss clipped too
    grpo                Shao et al. 2024, eqs. 3 and 4

The reference is the model with all weights times 0.9.
"""
import copy
import json
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import make_gpt

BETA, SMOOTHING, SFT = 0.3, 0.1, 0.5
CLIP, VALUE, ENTROPY, KL = 0.2, 0.5, 0.01, 0.2
# Tokens of (chosen, rejected), and of the prompt that both begin with.
PAIRS = [([3, 1, 4, 1, 5, 9], [3, 1, 4, 2, 6], 3), ([2, 7, 1, 8], [2, 7, 16, 0, 2, 8, 4], 2)]
# Tokens of a prompt with a reply, and of the prompt.
REPLIES = [([3, 1, 4, 1, 5, 9, 2], 3), ([6, 5, 3, 5], 1), ([8, 9, 7, 9, 3, 2], 4)]


def hidden(model, tokens):
    parts = model.transformer
    x = parts.wte(tokens) + parts.wpe.weight[: tokens.shape[1]]
    for block in parts.h:
        x = block(x)
    return parts.ln_f(x)


def log_probs(model, sequence, prompt):
    """Of each token behind the prompt."""
    tokens = torch.tensor([sequence])
    logits = model(tokens)[0, :-1]
    return F.log_softmax(logits, -1)[torch.arange(len(sequence) - 1), tokens[0, 1:]][prompt - 1 :]


def main():
    torch.manual_seed(7)
    model = make_gpt.start(bias=False, gelu="none")[0].double()
    reference = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.mul_(0.9)
    n = make_gpt.SIZES["n_embd"]
    rounded = lambda *shape: (0.5 * torch.randn(*shape)).float().double()
    score, value_weight, value_bias = (rounded(1, n), rounded(1, n), rounded(1))
    for head in (score, value_weight, value_bias):
        head.requires_grad_()
    heads = {"score.weight": score, "value_head.weight": value_weight, "value_head.bias": value_bias}
    tensors = {name: head.detach() for name, head in heads.items()}
    facts = dict(pairs=PAIRS, replies=REPLIES, beta=BETA, label_smoothing=SMOOTHING, sft_weight=SFT, clip=CLIP,
                 value=VALUE, entropy=ENTROPY, kl=KL, losses={}, margins={}, torch=torch.__version__)

    def keep(name, loss):
        parameters = dict(model.named_parameters()) | heads
        gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, retain_graph=True)
        facts["losses"][name] = loss.item()
        for parameter, gradient in zip(parameters, gradients):
            if gradient is not None:
                tensors[f"{name}/grad/{parameter}"] = gradient

    def margin(chosen, rejected, prompt, mean):
        pool = torch.mean if mean else torch.sum
        of = lambda m, answer: pool(log_probs(m, answer, prompt))
        with torch.no_grad():
            offset = of(reference, chosen) - of(reference, rejected)
        return of(model, chosen) - of(model, rejected) - offset

    sums = torch.stack([margin(*pair, mean=False) for pair in PAIRS])
    means = torch.stack([margin(*pair, mean=True) for pair in PAIRS])
    facts["margins"] = dict(dpo=(BETA * sums).tolist(), ipo=means.tolist())
    keep("dpo", -F.logsigmoid(BETA * sums).mean())
    smooth = -(1 - SMOOTHING) * F.logsigmoid(BETA * sums) - SMOOTHING * F.logsigmoid(-BETA * sums)
    keep("dpo_smooth", smooth.mean())
    demonstrated = torch.stack([-log_probs(model, chosen, prompt).mean() for chosen, _, prompt in PAIRS])
    keep("dpo_sft", (-F.logsigmoid(BETA * sums) + SFT * demonstrated).mean())
    means = torch.stack([margin(*pair, mean=True) for pair in PAIRS])
    keep("ipo", ((means - 1 / (2 * BETA)) ** 2).mean())

    reward = lambda sequence: hidden(model, torch.tensor([sequence]))[0, -1] @ score[0]
    differences = torch.stack([reward(chosen) - reward(rejected) for chosen, rejected, _ in PAIRS])
    facts["margins"]["reward"] = differences.tolist()
    keep("reward", -F.logsigmoid(differences).mean())
    keep("reward_sft", (-F.logsigmoid(differences) + SFT * demonstrated).mean())

    # Old policies, advantages and returns at random, near enough that clipping holds some tokens and not others.
    replies = []
    for sequence, prompt in REPLIES:
        count = len(sequence) - prompt
        now = log_probs(model, sequence, prompt).detach()
        replies.append(dict(
            old=(now + 0.3 * torch.randn(count)).float().tolist(), advantages=torch.randn(count).tolist(),
            returns=torch.randn(count).tolist(), old_values=(0.5 * torch.randn(count)).tolist(),
            reference=log_probs(reference, sequence, prompt).detach().float().tolist(),
        ))
    facts["experience"] = replies

    def policy(kl):
        parts = dict(policy=[], value=[], entropy=[])
        for (sequence, prompt), reply in zip(REPLIES, replies):
            old, advantages, returns, old_values, ref = (
                torch.tensor(reply[key]).float().double()
                for key in ("old", "advantages", "returns", "old_values", "reference"))
            now = log_probs(model, sequence, prompt)
            ratio = (now - old).exp()
            gain = torch.minimum(ratio * advantages, ratio.clamp(1 - CLIP, 1 + CLIP) * advantages)
            divergence = (ref - now).exp() - (ref - now) - 1
            parts["policy"].append(-gain + kl * divergence)
            tokens = torch.tensor([sequence])
            values = (hidden(model, tokens)[0] @ value_weight[0] + value_bias)[prompt - 1 : -1]
            clipped = old_values + (values - old_values).clamp(-CLIP, CLIP)
            parts["value"].append(0.5 * torch.maximum((values - returns) ** 2, (clipped - returns) ** 2))
            distribution = F.log_softmax(model(tokens)[0, prompt - 1 : -1], -1)
            parts["entropy"].append(-(distribution.exp() * distribution).sum(-1))
        return {name: torch.cat(part).mean() for name, part in parts.items()}

    parts = policy(0.0)
    keep("ppo", parts["policy"] + VALUE * parts["value"] - ENTROPY * parts["entropy"])
    keep("grpo", policy(KL)["policy"])

    here = pathlib.Path(__file__).parent
    save_file({n: t.detach().float().contiguous() for n, t in tensors.items()}, here / "objectives.safetensors")
    (here / "objectives.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
