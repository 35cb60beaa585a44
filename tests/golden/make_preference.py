#!/usr/bin/env python3
"""Writes preference.json: losses of preference optimisation and their gradients, by PyTorch.

The formulas are those of the papers (numbers as in the head of lua/perilune/learn/preference.lua),
written over probabilities where the papers are, in float64. Inputs are log-probs of answers of 1 to
40 tokens, so that there are sure and hopeless ones; gradients are those of the sum of the losses.

Run: python3 make_preference.py > preference.json     (recorded with PyTorch 2.15.0)
"""
import json
import math
import torch
import torch.nn.functional as F

torch.manual_seed(12)
torch.set_default_dtype(torch.float64)
N = 7
tokens_w = torch.randint(1, 41, (N,)).double()
tokens_l = torch.randint(1, 41, (N,)).double()


def draw(tokens):
    return -(torch.rand(N) * 2.5 + 0.01) * tokens


inputs = {"chosen": draw(tokens_w), "rejected": draw(tokens_l)}
inputs["ref_chosen"] = inputs["chosen"] + torch.randn(N) * 3
inputs["ref_rejected"] = inputs["rejected"] + torch.randn(N) * 3
inputs["chosen"][0], tokens_w[0] = -1e-5, 1  # an answer the policy is sure of
labels = [True, False, False, True, True, False, True]


def dpo(w, l, kind, beta, eps):
    rw, rl = inputs["ref_chosen"], inputs["ref_rejected"]
    p = torch.sigmoid(beta * torch.log((w.exp() / rw.exp()) / (l.exp() / rl.exp())))
    if kind == "sigmoid":
        return -(1 - eps) * torch.log(p) - eps * torch.log(1 - p)
    if kind == "robust":
        return (-(1 - eps) * torch.log(p) + eps * torch.log(1 - p)) / (1 - 2 * eps)
    delta = (w - rw) - (l - rl)
    if kind == "hinge":
        return torch.clamp(1 - beta * delta, min=0)
    if kind == "ipo":
        delta = (w - rw) / tokens_w - (l - rl) / tokens_l
    return (delta - 1 / (2 * beta)) ** 2


def simpo(w, l, beta, gamma, eps):
    x = beta * w / tokens_w - beta * l / tokens_l - gamma
    return -(1 - eps) * F.logsigmoid(x) - eps * F.logsigmoid(-x)


def odds(mean):
    return mean.exp() / (1 - mean.exp())


def orpo(w, l, lam):
    w, l = w / tokens_w, l / tokens_l
    return -w - lam * torch.log(torch.sigmoid(torch.log(odds(w) / odds(l))))


def kto(w, _, beta, z, good, bad):
    r = beta * torch.log(w.exp() / inputs["ref_chosen"].exp())
    value = [torch.sigmoid(r[i] - beta * z) if liked else torch.sigmoid(beta * z - r[i])
             for i, liked in enumerate(labels)]
    return torch.stack([(good if liked else bad) * (1 - value[i]) for i, liked in enumerate(labels)])


CASES = [
    ("dpo", dpo, {"kind": "sigmoid", "beta": 0.1, "eps": 0.0}),
    ("dpo", dpo, {"kind": "sigmoid", "beta": 0.5, "eps": 0.2}),
    ("dpo", dpo, {"kind": "robust", "beta": 0.3, "eps": 0.3}),
    ("dpo", dpo, {"kind": "hinge", "beta": 0.4, "eps": 0.0}),
    ("dpo", dpo, {"kind": "ipo", "beta": 0.2, "eps": 0.0}),
    ("dpo", dpo, {"kind": "ipo sums", "beta": 0.2, "eps": 0.0}),
    ("simpo", simpo, {"beta": 2.0, "gamma": 0.5, "eps": 0.0}),
    ("simpo", simpo, {"beta": 2.5, "gamma": 1.4, "eps": 0.1}),
    ("orpo", orpo, {"lam": 0.1}),
    ("orpo", orpo, {"lam": 1.0}),
    ("kto", kto, {"beta": 0.1, "z": 0.0, "good": 1.0, "bad": 1.0}),
    ("kto", kto, {"beta": 0.6, "z": 1.7, "good": 1.3, "bad": 0.7}),
]

cases = []
for name, fn, settings in CASES:
    w, l = (inputs[k].clone().requires_grad_() for k in ("chosen", "rejected"))
    losses = fn(w, l, **settings)
    losses.sum().backward()
    cases.append({
        "name": name, "settings": settings, "losses": losses.tolist(), "d_chosen": w.grad.tolist(),
        "d_rejected": l.grad.tolist() if l.grad is not None else [0.0] * N,
    })
assert all(math.isfinite(x) for case in cases for x in case["losses"])
print(json.dumps({
    "made_with": f"PyTorch {torch.__version__}, seed 12, float64",
    "tokens_chosen": tokens_w.tolist(), "tokens_rejected": tokens_l.tolist(), "labels": labels,
    **{k: v.tolist() for k, v in inputs.items()}, "cases": cases,
}, indent=0))
