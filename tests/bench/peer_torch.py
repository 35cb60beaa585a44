"""The peer of `perilune bench`: the same models in plain PyTorch, eager, float32.

    python3 peer_torch.py train l260k 32 256 0
    python3 peer_torch.py generate l260k 64 128 16

Speaks the lines of lua/perilune/bench/worker.lua on standard input and output. Written as a careful
user would: one product for q, k and v, torch's AdamW, a key-value cache filled in place,
torch.multinomial over the softmax.
"""
import json
import math
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

MODELS = {
    "l260k": dict(c=64, layers=5, heads=8, kv_heads=4, f=172, v=512, context=512),
    "l15m": dict(c=288, layers=6, heads=6, kv_heads=6, f=768, v=32000, context=256),
}


class RMSNorm(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(c))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight


def rotate(x, cos, sin):  # [B, H, T, D], neighbouring pairs
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


class Block(nn.Module):
    def __init__(self, c, heads, kv_heads, f, **_):
        super().__init__()
        self.heads, self.kv_heads, self.d = heads, kv_heads, c // heads
        self.norm1, self.norm2 = RMSNorm(c), RMSNorm(c)
        self.qkv = nn.Linear(c, (heads + 2 * kv_heads) * self.d, bias=False)
        self.o = nn.Linear(c, c, bias=False)
        self.gate, self.up = nn.Linear(c, f, bias=False), nn.Linear(c, f, bias=False)
        self.down = nn.Linear(f, c, bias=False)

    def forward(self, x, cos, sin, mask, cache=None, past=0):
        B, T, C = x.shape
        sizes = [n * self.d for n in (self.heads, self.kv_heads, self.kv_heads)]
        q, k, v = (y.view(B, T, -1, self.d).transpose(1, 2)
                   for y in self.qkv(self.norm1(x)).split(sizes, -1))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if cache is not None:
            cache[0][:, :, past:past + T] = k
            cache[1][:, :, past:past + T] = v
            k, v = cache[0][:, :, :past + T], cache[1][:, :, :past + T]
        if self.kv_heads != self.heads:
            k, v = (y.repeat_interleave(self.heads // self.kv_heads, 1) for y in (k, v))
        scores = (q @ k.transpose(-2, -1)) / math.sqrt(self.d)
        if T > 1:
            scores = scores.masked_fill(mask[:T, :T], -math.inf)
        y = (scores.softmax(-1) @ v).transpose(1, 2).reshape(B, T, C)
        x = x + self.o(y)
        n = self.norm2(x)
        return x + self.down(F.silu(self.gate(n)) * self.up(n))


class Model(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape["v"], shape["c"])
        self.blocks = nn.ModuleList(Block(**shape) for _ in range(shape["layers"]))
        self.norm = RMSNorm(shape["c"])
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, 0, 0.02)
        n, d = shape["context"], shape["c"] // shape["heads"]
        angles = torch.outer(torch.arange(n).float(), 10000 ** (-torch.arange(0, d, 2).float() / d))
        self.cos, self.sin = angles.cos(), angles.sin()
        self.mask = torch.triu(torch.ones(n, n, dtype=torch.bool), 1)

    def forward(self, ids, caches=None, past=0):
        T = ids.shape[1]
        x = self.embedding(ids)
        cos, sin = self.cos[past:past + T], self.sin[past:past + T]
        for i, block in enumerate(self.blocks):
            x = block(x, cos, sin, self.mask, None if caches is None else caches[i], past)
        return self.norm(x)


def make_train(model, size, length, _):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    ids = torch.randint(0, model.shape["v"], (size, length + 1))

    def step():
        inputs, targets = ids[:, :-1], ids[:, 1:].reshape(-1)
        logits = F.linear(model(inputs), model.embedding.weight)
        loss = F.cross_entropy(logits.view(-1, logits.size(-1)), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return size * length

    return step


def make_generate(model, size, length, prompt):
    shape = model.shape
    ids = torch.randint(0, shape["v"], (size, prompt))
    room = (size, shape["kv_heads"], prompt + length, shape["c"] // shape["heads"])

    @torch.no_grad()
    def step():
        caches = [(torch.zeros(room), torch.zeros(room)) for _ in model.blocks]
        x, past = ids, 0
        for _ in range(length):
            logits = F.linear(model(x, caches, past)[:, -1], model.embedding.weight)
            past += x.shape[1]
            x = torch.multinomial(logits.softmax(-1), 1)
        return size * length

    return step


def peak():
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return {"bytes": int(line.split()[1]) * 1024}
    return {}


def main():
    what, name = sys.argv[1:3]
    threads, sizes = int(sys.argv[6]), [int(n) for n in sys.argv[3:6]]
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    step = {"train": make_train, "generate": make_generate}[what](Model(MODELS[name]), *sizes)

    def sample():
        began, cpu = time.perf_counter(), time.process_time()
        tokens = step()
        return {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu,
                "tokens": tokens}

    def say(message):
        print(json.dumps(message), flush=True)

    step()
    say({"ready": True, "threads": torch.get_num_threads(), "version": torch.__version__})
    for line in sys.stdin:
        say({"sample": sample, "peak": peak}[line.strip()]())


main()
