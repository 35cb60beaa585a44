#!/usr/bin/env python3
"""Writes policy_loss.json: policy losses and advantages by PyTorch, in float64.

Written from the papers' equations over padded tensors with masks, the way TRL computes them, so that
nothing of the ragged form is shared. Six answers, two prompts of three, of 1 to 5 tokens.

Run: python3 make_policy_loss.py > policy_loss.json     (recorded with torch 2.15.0)
"""
import json

import torch

torch.manual_seed(3)
torch.set_default_dtype(torch.float64)
LENGTHS, K, LONGEST, LOW, HIGH = [3, 1, 5, 2, 4, 2], 3, 6, 0.2, 0.28
rewards = torch.tensor([1.0, 0.0, 0.25, -2.0, 3.0, 0.5])
B, T = len(LENGTHS), max(LENGTHS)
mask = (torch.arange(T)[None] < torch.tensor(LENGTHS)[:, None]).double()
old = -torch.rand(B, T) * 3
logprob = (old + 0.4 * torch.randn(B, T)).requires_grad_()

grouped = rewards.view(-1, K)
centred = grouped - grouped.mean(1, keepdim=True)
advantages = {
    "leave_one_out": (grouped - (grouped.sum(1, keepdim=True) - grouped) / (K - 1)).flatten(),
    "group": (centred / (grouped.std(1, keepdim=True) + 1e-4)).flatten(),
    "batch": (centred / (rewards.std() + 1e-4)).flatten(),
    "none": centred.flatten(),
}
a = advantages["group"][:, None]


def surrogate(ratio, a):
    return -torch.min(ratio * a, ratio.clamp(1 - LOW, 1 + HIGH) * a)


def masked_sum(x):
    return (x * mask).sum(1)


diff = (logprob - old) * mask
lengths = mask.sum(1)
token = surrogate(diff.exp(), a)
losses = {
    "grpo": (masked_sum(token) / lengths).mean(),
    "dr_grpo": masked_sum(token).sum() / (B * LONGEST),
    "dapo": masked_sum(token).sum() / mask.sum(),
    "gspo": surrogate((diff.sum(1) / lengths).exp(), a[:, 0]).mean(),
    "rloo": surrogate(diff.sum(1).exp(), a[:, 0]).mean(),
    "cispo": masked_sum(-diff.exp().clamp(max=1 + HIGH).detach() * a * logprob).sum() / mask.sum(),
    "reinforce": masked_sum(-a * logprob).mean(),
}


def flat(x):
    return x[mask.bool()].tolist()


results = {}
for name, loss in losses.items():
    (grad,) = torch.autograd.grad(loss, logprob, retain_graph=True)
    results[name] = {"loss": loss.item(), "grad": flat(grad)}
# REINFORCE++ (arXiv:2501.03262): reward to go with the KL of each token, normalised over all tokens
beta = 0.1
kl = (logprob - old).detach() * mask
at_end = torch.zeros(B, T)
for b, n in enumerate(LENGTHS):
    at_end[b, n - 1] = rewards[b]
to_go = torch.flip(torch.cumsum(torch.flip((at_end - beta * kl) * mask, [1]), 1), [1])
values = to_go[mask.bool()]
plus = (values - values.mean()) / torch.sqrt(values.var(unbiased=False) + 1e-8)
print(json.dumps({
    "lengths": LENGTHS, "k": K, "longest": LONGEST, "cliprange": LOW, "cliprange_high": HIGH,
    "rewards": rewards.tolist(), "old": flat(old), "logprob": flat(logprob.detach()),
    "advantages": {name: x.tolist() for name, x in advantages.items()},
    "losses": results, "beta": beta, "reinforce_plus_plus": plus.tolist(),
}, indent=1))
