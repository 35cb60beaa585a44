"""PPO, RLOO, GRPO, REINFORCE, DPO and KTO in plain PyTorch and transformers, written from their papers.

    python3 peer.py request.json

peer.lua writes the request: settings, schedules as lists, data as token ids. Checkpoints go beside it
as folders that transformers and Perilune read. Nothing but the data and the settings is shared with
the recipes: models, gradients, sampling, losses and Adam are theirs.
"""
import copy
import json
import os
import random
import shutil
import sys

import torch
import torch.nn.functional as F
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification


class Scorer(torch.nn.Module):
    """A scalar after each token, by a model with a head of one row: [B, T]."""

    def __init__(self, folder):
        super().__init__()
        self.whole = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
        self.bias = getattr(AutoConfig.from_pretrained(folder), "score_bias", 0)

    def forward(self, ids, mask):
        hidden = self.whole.model(input_ids=ids, attention_mask=mask).last_hidden_state
        return self.whole.score(hidden)[..., 0] + self.bias


def padded(sequences, masks):
    """Right-padded ids, which of them are there, and which are of the answer: [B, T] each."""
    width = max(map(len, sequences))
    fill = lambda lists: torch.tensor([list(x) + [0] * (width - len(x)) for x in lists])
    return fill(sequences), fill([[1] * len(x) for x in sequences]), fill(masks).float()


def logprobs(model, ids, mask):
    """ln π of each token after the first: [B, T-1]."""
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
    return logits.log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]


class Trainer:
    def __init__(self, request):
        self.r = r = request
        torch.manual_seed(r["seed"])
        self.random = random.Random(r["seed"])
        self.policy = AutoModelForCausalLM.from_pretrained(r["model"], dtype=torch.float32)
        self.reference = copy.deepcopy(self.policy).requires_grad_(False)
        self.optimizer = self.adamw(self.policy)
        self.ema = copy.deepcopy(self.policy) if r.get("ema_decay") else None

    def adamw(self, model):
        b1, b2, eps = self.r["adam"]
        return torch.optim.AdamW(model.parameters(), lr=0, betas=(b1, b2), eps=eps,
                                 weight_decay=self.r["weight_decay"])

    def update(self, model, optimizer, rate):
        if self.r["max_grad_norm"] > 0:
            torch.nn.utils.clip_grad_norm_(model.parameters(), self.r["max_grad_norm"])
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def save(self, step):
        every, last = self.r["save_steps"], step == self.r["steps"]
        if not last and (every == 0 or step % every != 0):
            return
        folder = os.path.join(self.r["output_dir"], f"checkpoint-{step}")
        final = self.ema if self.ema and self.r.get("ema_final") else self.policy
        final.save_pretrained(folder)
        for name in os.listdir(self.r["model"]):
            if name.startswith(("tokenizer", "chat_template", "special_tokens")):
                shutil.copy(os.path.join(self.r["model"], name), folder)
        with open(os.path.join(folder, "trainer_state.json"), "w") as file:
            json.dump({"global_step": step, "max_steps": self.r["steps"]}, file)


class Online(Trainer):
    """Learning from the policy's own answers."""

    def __init__(self, request):
        super().__init__(request)
        self.reward = Scorer(request["reward_model"]).requires_grad_(False)
        if request["method"] == "ppo":
            self.value = Scorer(request["reward_model"])
            self.value_optimizer = self.adamw(self.value)
        self.baseline, self.order, self.text_order = None, [], []

    def draw(self, order, everything):
        if not order:
            order.extend(self.random.sample(everything, len(everything)))
        return order.pop()

    @torch.no_grad()
    def rollout(self):
        r, k = self.r, self.r.get("num_generations", 1)
        asked = [self.draw(self.order, r["prompts"]) for _ in range(r["batch_size"] // k)]
        width = max(map(len, asked))
        ids = torch.tensor([[0] * (width - len(p)) + p for p in asked])
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in asked])
        drawn = self.policy.generate(
            input_ids=ids, attention_mask=mask, do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
            max_new_tokens=r["response_length"], num_return_sequences=k,
            eos_token_id=r["stops"], pad_token_id=0)[:, width:].tolist()
        sequences, masks, ended = [], [], []
        for i, answer in enumerate(drawn):
            end = next((t for t, id in enumerate(answer) if id in r["stops"]), None)
            ended.append(end is not None)
            answer = answer if end is None else answer[:end + 1]
            prompt = asked[i // k]
            sequences.append(prompt + answer)
            masks.append([0] * len(prompt) + [1] * len(answer))
        ids, mask, answer = padded(sequences, masks)
        last = mask.sum(1) - 1
        scores = self.reward(ids, mask).gather(1, last[:, None])[:, 0]
        if r["missing_eos_rule"] == "subtract":
            scores = scores - (1 - torch.tensor(ended).float()) * r["missing_eos_penalty"]
        old, reference = (logprobs(m, ids, mask) for m in (self.policy, self.reference))
        return dict(ids=ids, mask=mask, answer=answer[:, 1:], last=last - 1, scores=scores, old=old,
                    reference=reference)

    def token_rewards(self, b, step):
        """-β (ln π - ln π_ref) a token where the KL is a reward, and the score at the last one."""
        beta = self.r["kl_coef"][step] if self.r["kl_placement"] == "reward" else 0
        rewards = -beta * (b["old"] - b["reference"]) * b["answer"]
        return rewards.scatter_add(1, b["last"][:, None], b["scores"][:, None])

    def credit(self, b, step):
        """Advantages [B, T-1], constant."""
        r, method = self.r, self.r["method"]
        rewards = self.token_rewards(b, step)
        if method == "ppo":
            with torch.no_grad():
                b["values"] = self.value(b["ids"], b["mask"])[:, :-1] * b["answer"]
            advantages, after = torch.zeros_like(rewards), torch.zeros(len(rewards))
            for t in reversed(range(rewards.shape[1])):
                following = b["values"][:, t + 1] if t + 1 < rewards.shape[1] else 0
                delta = rewards[:, t] + r["gamma"] * following - b["values"][:, t]
                after = (delta + r["gamma"] * r["lam"] * after) * b["answer"][:, t]
                advantages[:, t] = after
            b["returns"] = advantages + b["values"]
            flat = advantages[b["answer"] > 0]
            return (advantages - flat.mean()) / (flat.var(unbiased=False) + 1e-8).sqrt()
        total = rewards.sum(1)
        if method == "reinforce":
            mean = total.mean().item()
            self.baseline = mean if self.baseline is None else self.baseline
            advantage = total - self.baseline
            self.baseline += (1 - r["baseline_decay"]) * (mean - self.baseline)
        else:
            groups = total.view(-1, r["num_generations"])
            if method == "rloo":
                others = (groups.sum(1, keepdim=True) - groups) / (groups.shape[1] - 1)
                advantage = (groups - others).flatten()
            else:
                deviation = groups.std(1, keepdim=True)
                advantage = ((groups - groups.mean(1, keepdim=True)) / (deviation + 1e-4)).flatten()
        return advantage[:, None].expand_as(rewards)

    def loss(self, b, step):
        r, method, on = self.r, self.r["method"], b["answer"]
        now, a = logprobs(self.policy, b["ids"], b["mask"]), b["advantages"]
        low = 1 - r["cliprange"][step]
        high = 1 + (r["cliprange_high"] or r["cliprange"][step])

        def surrogate(ratio, advantage):
            return -torch.minimum(advantage * ratio, advantage * ratio.clamp(low, high))

        if method == "reinforce":
            loss = -(a * now * on).sum(1).mean()
        elif method == "rloo":  # an answer is one action
            loss = surrogate((((now - b["old"]) * on).sum(1)).exp(), a[:, 0]).mean()
        elif method == "grpo":
            each = surrogate((now - b["old"]).exp(), a)
            loss = ((each * on).sum(1) / on.sum(1)).mean()
        else:
            loss = (surrogate((now - b["old"]).exp(), a) * on).sum() / on.sum()
        if r["kl_placement"] == "loss":
            apart = b["reference"] - now
            kl = apart.exp() - 1 - apart  # k3
            kl = (kl * on).sum() / on.sum() if method == "ppo" else (
                (kl * on).sum(1) / (on.sum(1) if method == "grpo" else 1)).mean()
            loss = loss + r["kl_coef"][step] * kl
        return loss

    def value_loss(self, b):
        values, before, clip = self.value(b["ids"], b["mask"])[:, :-1], b["values"], self.r["cliprange_value"]
        near = before + (values - before).clamp(-clip, clip)
        errors = torch.maximum((values - b["returns"]).square(), (near - b["returns"]).square())
        return self.r["vf_coef"] * 0.5 * (errors * b["answer"]).sum() / b["answer"].sum()

    def text_loss(self, size):
        pieces = [self.draw(self.text_order, self.r["text"]) for _ in range(size)]
        ids, mask, on = padded(pieces, [[1] * len(p) for p in pieces])
        return -(logprobs(self.policy, ids, mask) * on[:, 1:]).sum() / on[:, 1:].sum()

    def run(self):
        r = self.r
        for step in range(r["steps"]):
            b = self.rollout()
            b["advantages"] = self.credit(b, step)
            for _ in range(r.get("num_iterations") or r["num_ppo_epochs"]):
                for chosen in torch.randperm(len(b["ids"])).chunk(r["num_mini_batches"]):
                    part = {name: x[chosen] for name, x in b.items()}
                    loss = self.loss(part, step)
                    size = round(len(chosen) * r["ptx_batch_ratio"])
                    if r.get("text") and r["ptx_coef"][step] > 0 and size > 0:
                        loss = loss + r["ptx_coef"][step] * self.text_loss(size)
                    loss.backward()
                    self.update(self.policy, self.optimizer, r["learning_rate"][step])
                    if r["method"] == "ppo":
                        self.value_loss(part).backward()
                        self.update(self.value, self.value_optimizer, r["value_learning_rate"][step])
            if self.ema:
                with torch.no_grad():
                    for mean, now in zip(self.ema.parameters(), self.policy.parameters()):
                        mean.lerp_(now, 1 - r["ema_decay"])
            self.save(step + 1)


class Offline(Trainer):
    """Learning from what was ranked or liked."""

    def both(self, items):
        sequences = [s for item in items for s in item["sequences"]]
        ids, mask, answer = padded(sequences, [m for item in items for m in item["masks"]])
        total = lambda model: (logprobs(model, ids, mask) * answer[:, 1:]).sum(1)
        with torch.no_grad():
            before = total(self.reference)
        return total(self.policy) - before

    def dpo(self, items):
        gained, at, loss = self.both(items), 0, 0
        for item in items:
            pairs = torch.tensor(item["pairs"]) - 1 + at
            margin = gained[pairs[:, 0]] - gained[pairs[:, 1]]
            loss = loss - F.logsigmoid(self.r["beta"] * margin).mean()
            at += len(item["sequences"])
        return loss / len(items)

    def kto(self, items):
        crossed = []
        for i, item in enumerate(items):  # the next one's answer behind this one's prompt
            other = items[(i + 1) % len(items)]
            prompt = [t for t, m in zip(item["sequences"][0], item["masks"][0]) if m == 0]
            answer = [t for t, m in zip(other["sequences"][0], other["masks"][0]) if m == 1]
            crossed.append({"sequences": [prompt + answer],
                            "masks": [[0] * len(prompt) + [1] * len(answer)]})
        with torch.no_grad():
            baseline = self.both(crossed).mean().clamp(min=0)
        sign = torch.tensor([1.0 if item["liked"] else -1.0 for item in items])
        return (1 - torch.sigmoid(self.r["beta"] * sign * (self.both(items) - baseline))).mean()

    def run(self):
        r, step = self.r, 0
        while step < r["steps"]:
            order = self.random.sample(r["items"], len(r["items"]))
            starts = range(0, len(order), r["batch_size"])
            for first in starts[:r["steps"] - step]:
                loss = getattr(self, r["method"])(order[first:first + r["batch_size"]])
                loss.backward()
                self.update(self.policy, self.optimizer, r["learning_rate"][step])
                step += 1
                self.save(step)


def main():
    with open(sys.argv[1]) as file:
        request = json.load(file)
    torch.set_num_threads(request["torch_threads"])
    (Offline if "items" in request else Online)(request).run()


main()
