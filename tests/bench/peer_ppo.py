"""The peer of the row `ppo` of `perilune bench`: the iteration of lua/perilune/bench/ppo_iteration.lua
in plain PyTorch.

    python3 peer_ppo.py ppo l15m 64 64 16 threads=2 dtype=float32

All prompts and all answers have one length, so nothing is padded: the kindest case for PyTorch. The
log-probs of the policy come from sampling, and none of the four roles runs a forward pass that it
could do without. With bf16 generation and frozen roles hold weights in bf16 and training runs under
autocast; the copy of the policy that generates is made anew each iteration.
"""
import copy

import torch
import torch.nn.functional as F
from torch import nn

from peer_torch import MODELS, Model, adamw, generate, half, serve

MINI_BATCHES = 4
KL, GAMMA, LAMBDA, CLIP, VF = 0.05, 1.0, 0.95, 0.2, 0.1


def answer_logprobs(model, ids, prompt):
    """ln of the probability of each answer token: [B, length]."""
    hidden = model(ids)[:, prompt - 1:-1]
    logits = F.linear(hidden, model.embedding.weight).float()
    return logits.log_softmax(-1).gather(2, ids[:, prompt:, None])[..., 0]


def values_of(model, ids, prompt):
    """The value where each answer token is predicted: [B, length]."""
    return model.score(model(ids)[:, prompt - 1:-1])[..., 0].float()


def whiten(x):
    centred = x - x.mean()
    return centred / (centred.square().mean() + 1e-8).sqrt()


def advantages_of(rewards, values):
    last, out = torch.zeros(rewards.shape[0]), []
    for t in reversed(range(rewards.shape[1])):
        after = values[:, t + 1] if t + 1 < rewards.shape[1] else torch.zeros_like(last)
        delta = rewards[:, t] + GAMMA * after - values[:, t]
        last = delta + GAMMA * LAMBDA * last
        out.append(last)
    return torch.stack(out[::-1], 1)


class Roles:
    def __init__(self, shape, options):
        self.options = options
        self.policy, self.value = Model(shape), Model(shape, scalar_head=True)
        self.optimizers = [adamw(m.parameters(), 1e-5) for m in (self.policy, self.value)]
        self.reference = copy.deepcopy(self.policy)
        self.reward = Model(shape, scalar_head=True)
        if options.get("dtype") == "bf16":
            self.reference, self.reward = (m.to(torch.bfloat16)
                                           for m in (self.reference, self.reward))

    def generator(self):
        if self.options.get("dtype") == "bf16":
            return copy.deepcopy(self.policy).to(torch.bfloat16)
        return self.policy


def rollout(roles, prompts, length):
    prompt = prompts.shape[1]
    answers, old = generate(roles.generator(), prompts, length)
    ids = torch.cat((prompts, answers), 1)
    scores = roles.reward.score(roles.reward(ids)[:, -1])[:, 0].float()
    reference = answer_logprobs(roles.reference, ids, prompt)
    with half(roles.options):
        values = values_of(roles.value, ids, prompt)
    rewards = -KL * (old - reference)
    rewards[:, -1] += scores
    advantages = advantages_of(rewards, values)
    return ids, old, values, whiten(advantages), advantages + values


def minibatch(roles, prompt, ids, old, old_values, advantages, returns):
    for optimizer in roles.optimizers:
        optimizer.zero_grad(set_to_none=True)
    with half(roles.options):
        logprobs = answer_logprobs(roles.policy, ids, prompt)
    ratio = (logprobs - old).exp()
    clipped = ratio.clamp(1 - CLIP, 1 + CLIP)
    torch.maximum(-advantages * ratio, -advantages * clipped).mean().backward()
    with half(roles.options):
        values = values_of(roles.value, ids, prompt)
    near = old_values + (values - old_values).clamp(-CLIP, CLIP)
    errors = torch.maximum((values - returns).square(), (near - returns).square())
    (VF * 0.5 * errors.mean()).backward()
    for model, optimizer in zip((roles.policy, roles.value), roles.optimizers):
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def make_ppo(name, size, length, prompt, options):
    shape = MODELS[name]
    roles = Roles(shape, options)
    prompts = torch.randint(0, shape["v"], (size, prompt))

    def step():
        with torch.no_grad():
            figures = rollout(roles, prompts, length)
        order = torch.randperm(size)
        for chosen in order.chunk(MINI_BATCHES):
            minibatch(roles, prompt, *(x[chosen] for x in figures))
        return size * length

    return step


serve({"ppo": make_ppo})
