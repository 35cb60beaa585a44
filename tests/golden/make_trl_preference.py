#!/usr/bin/env python3
"""Writes trl_preference.json: losses of preference optimisation, and their gradients, by TRL itself.

TRL's methods are called on a stand-in for the trainer that holds their settings: `_compute_loss` of
DPO and KTO, `cpo_loss` (its sigmoid with smoothed labels is conservative DPO at a reference that says
0), `odds_ratio_loss` of ORPO (in float32, whatever it is given). The log-probs are those of
preference.json, each spread over its answer's tokens, behind a prompt and padded. Gradients are of
TRL's mean, by the log-probs of whole answers. What KTO's baseline is taken of are the same answers,
each behind another prompt.

Run: python3 make_trl_preference.py > trl_preference.json     (recorded with TRL 1.16.0, torch 2.15.0)
"""
import collections
import json
import os
from types import SimpleNamespace

import torch
from trl.experimental.cpo.cpo_trainer import CPOTrainer
from trl.experimental.orpo.orpo_trainer import ORPOTrainer
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.kto_trainer import KTOTrainer

torch.manual_seed(7)
torch.set_default_dtype(torch.float64)
PROMPT = 3
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "preference.json")) as file:
    given = json.load(file)
N = len(given["chosen"])
length = {side: torch.tensor(given[f"tokens_{side}"]).long() for side in ("chosen", "rejected")}
longest = max(int(x.max()) for x in length.values())
accelerator = SimpleNamespace(device="cpu", gather=lambda x: x, gather_for_metrics=lambda x: x)


def masks(lengths):  # of tokens with their prompt: is it of the answer?
    place = torch.arange(PROMPT + longest)[None]
    return ((place >= PROMPT) & (place < PROMPT + lengths[:, None])).long()


def spread(sums, mask):  # over the answer's tokens, in uneven parts
    part = torch.rand(mask[:, 1:].shape) * mask[:, 1:]
    return sums[:, None] * part / part.sum(1, keepdim=True)


def said(sums, mask):
    def model(**_):
        zero = torch.zeros(mask[:, 1:].shape)
        return SimpleNamespace(log_probs=spread(sums, mask), entropy=zero, mean_logits=zero,
                               is_top1=zero.bool())
    model.training = True
    return model


def outcome(loss, *leaves):
    grads = torch.autograd.grad(loss, leaves)
    return {"loss": loss.item(), "grads": [g.tolist() for g in grads]}


def leaves():
    return [torch.tensor(given[k]).requires_grad_() for k in ("chosen", "rejected")]


def batch(mask):
    return {"input_ids": torch.zeros_like(mask), "attention_mask": torch.ones_like(mask),
            "completion_mask": mask}


def dpo(kind, beta, eps):
    mask = torch.cat([masks(length["chosen"]), masks(length["rejected"])])
    w, l = leaves()
    stand_in = SimpleNamespace(
        model=said(torch.cat([w, l]), mask), accelerator=accelerator, aux_loss_enabled=False,
        ld_alpha=None, precompute_ref_logps=True, f_divergence_type="reverse_kl", beta=beta,
        label_smoothing=eps, loss_types=[kind], loss_weights=[1.0], use_weighting=False,
        _metrics={"train": collections.defaultdict(list)}, _total_train_tokens=0, _tp_size=1)
    loss = DPOTrainer._compute_loss(stand_in, stand_in.model, {
        **batch(mask), "ref_chosen_logps": torch.tensor(given["ref_chosen"]),
        "ref_rejected_logps": torch.tensor(given["ref_rejected"])}, False)
    seen = stand_in._metrics["train"]
    return {**outcome(loss, w, l),
            **{k: seen[f"rewards/{k}"][0] for k in ("chosen", "rejected", "accuracies", "margins")}}


def kto(kind, beta, good, bad):
    mask = masks(length["chosen"])
    w, _ = leaves()
    stand_in = SimpleNamespace(
        model=said(w, mask), accelerator=accelerator, aux_loss_enabled=False, calculate_KL=kind == "kto",
        precompute_ref_logps=True, beta=beta, desirable_weight=good, undesirable_weight=bad,
        loss_type=kind, _metrics={"train": collections.defaultdict(list)}, _total_train_tokens=0,
        _tp_size=1)
    crossed = torch.tensor(given["rejected"])
    stand_in._compute_kl_logps = lambda *_: crossed
    loss = KTOTrainer._compute_loss(stand_in, stand_in.model, {
        **batch(mask), "label": torch.tensor(given["labels"]),
        "ref_logps": torch.tensor(given["ref_chosen"]),
        "ref_KL_logps": torch.tensor(given["ref_rejected"])}, False)
    seen = stand_in._metrics["train"]
    return {**outcome(loss, w), "baseline": seen["kl"][0],
            "chosen": seen["rewards/chosen"][0], "rejected": seen["rewards/rejected"][0]}


def cpo(kind, beta, gamma, eps):
    w, l = leaves()
    stand_in = SimpleNamespace(alpha=0.0, accelerator=accelerator, loss_type=kind, simpo_gamma=gamma,
                               beta=beta, label_smoothing=eps)
    n_w, n_l = (length[k] if kind == "simpo" else 1 for k in ("chosen", "rejected"))
    losses, better, worse = CPOTrainer.cpo_loss(stand_in, w / n_w, l / n_l)
    return {**outcome(losses.mean(), w, l), "chosen": better.mean().item(),
            "rejected": worse.mean().item()}


def orpo(beta):  # only the term of the odds: TRL's likelihood is of the prompt, too
    w, l = leaves()
    stand_in = SimpleNamespace(accelerator=accelerator, beta=beta)
    losses, better, worse, _, odds = ORPOTrainer.odds_ratio_loss(
        stand_in, w / length["chosen"], l / length["rejected"])
    return {**outcome(-losses.mean(), w, l), "chosen": better.mean().item(),
            "rejected": worse.mean().item(), "log_odds_ratio": odds.item()}


CASES = [
    (dpo, {"kind": "sigmoid", "beta": 0.1, "eps": 0.0}),
    (dpo, {"kind": "robust", "beta": 0.3, "eps": 0.2}),
    (dpo, {"kind": "hinge", "beta": 0.4, "eps": 0.0}),
    (dpo, {"kind": "ipo", "beta": 0.2, "eps": 0.0}),
    (kto, {"kind": "kto", "beta": 0.1, "good": 1.0, "bad": 1.0}),
    (kto, {"kind": "kto", "beta": 0.6, "good": 1.3, "bad": 0.7}),
    (kto, {"kind": "apo_zero_unpaired", "beta": 0.3, "good": 1.0, "bad": 2.0}),
    (cpo, {"kind": "sigmoid", "beta": 0.2, "gamma": 0.0, "eps": 0.3}),
    (cpo, {"kind": "simpo", "beta": 2.0, "gamma": 0.5, "eps": 0.0}),
    (cpo, {"kind": "simpo", "beta": 2.5, "gamma": 1.4, "eps": 0.1}),
    (orpo, {"beta": 0.1}),
    (orpo, {"beta": 1.0}),
]
print(json.dumps({"cases": [{"trainer": f.__name__, "settings": settings, **f(**settings)}
                            for f, settings in CASES]}, indent=0))
