#!/usr/bin/env python3
"""Writes trl.json: losses of GRPO's family and of RLOO, and their gradients, by TRL's own trainers.

TRL's methods `_compute_loss` are called on a stand-in for the trainer that holds their settings; the
log-probs are those of policy_loss.json, padded. Each loss once as it is, once with the KL to a
reference as a loss, and once with answers 2 and 5 masked as truncated.

Run: python3 make_trl.py > trl.json     (recorded with TRL 1.16.0, torch 2.15.0)
"""
import collections
import json
import os
from types import SimpleNamespace

import torch
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.rloo_trainer import RLOOTrainer

torch.manual_seed(5)
torch.set_default_dtype(torch.float64)
BETA, TRUNCATED = 0.1, (1, 4)  # from 0
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "policy_loss.json")) as file:
    given = json.load(file)
lengths = given["lengths"]
B, T = len(lengths), max(lengths)
mask = (torch.arange(T)[None] < torch.tensor(lengths)[:, None]).double()


def padded(flat):
    x = torch.zeros(B, T)
    x[mask.bool()] = torch.tensor(flat)
    return x


old, now = padded(given["old"]), padded(given["logprob"])
reference = now + 0.5 * torch.randn(B, T) * mask
advantages = torch.tensor(given["advantages"]["group"])
accelerator = SimpleNamespace(num_processes=1, gather=lambda x: x, gather_for_metrics=lambda x: x,
                              reduce=lambda x, reduction: x)


def loss_of(trainer, kind, level, beta, on):
    low, high = given["cliprange"], given["cliprange_high"]
    logps = now.clone().requires_grad_()
    stand_in = SimpleNamespace(
        beta=beta, top_entropy_quantile=1.0, off_policy_mask_threshold=None, loss_type=kind,
        importance_sampling_level=level, epsilon_low=low,
        epsilon_high=1 + high if kind == "cispo" else high,  # TRL's cispo takes the bound itself
        use_vllm=False, _entropy_bonus_enabled=False, aux_loss_enabled=False,
        model=SimpleNamespace(training=True), current_gradient_accumulation_steps=1,
        max_completion_length=given["longest"], accelerator=accelerator,
        args=SimpleNamespace(use_bias_correction_kl=False, delta=None, steps_per_generation=1),
        _metrics={"train": collections.defaultdict(list)},
        _get_per_token_logps_and_entropies=lambda *a, **k: (logps, torch.zeros(B, T), None))
    ids = torch.zeros(B, T, dtype=torch.long)
    loss = trainer._compute_loss(stand_in, None, {
        "prompt_ids": ids[:, :0], "prompt_mask": ids[:, :0], "completion_ids": ids,
        "completion_mask": on, "advantages": advantages, "old_per_token_logps": old,
        "old_logps": (old * on).sum(1), "ref_per_token_logps": reference,
        "num_items_in_batch": on.sum()})
    (grad,) = torch.autograd.grad(loss, logps)
    return {"loss": loss.item(), "grad": grad[mask.bool()].tolist()}


ended = mask.clone()
ended[list(TRUNCATED)] = 0
cases = {}
for name, trainer, kind, level in [
        ("grpo", GRPOTrainer, "grpo", "token"), ("dr_grpo", GRPOTrainer, "dr_grpo", "token"),
        ("dapo", GRPOTrainer, "dapo", "token"), ("gspo", GRPOTrainer, "grpo", "sequence"),
        ("cispo", GRPOTrainer, "cispo", "token"), ("rloo", RLOOTrainer, "rloo", "sequence")]:
    cases[name] = {"plain": loss_of(trainer, kind, level, 0.0, mask),
                   "masked": loss_of(trainer, kind, level, 0.0, ended)}
    if name != "rloo":  # whose KL is in its reward
        cases[name]["kl"] = loss_of(trainer, kind, level, BETA, mask)
print(json.dumps({"beta": BETA, "truncated": [i + 1 for i in TRUNCATED],
                  "reference": reference[mask.bool()].tolist(), "cases": cases}, indent=1))
