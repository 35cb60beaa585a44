"""The peer of `perilune bench`: the same models in plain PyTorch.

    python3 peer_torch.py train l260k 32 256 0 threads=2 dtype=float32 compile=1
    python3 peer_torch.py generate l260k 64 128 16 threads=2 dtype=bf16
    python3 peer_torch.py lora smollm2 4 256 0 threads=2 dtype=bf16
    python3 peer_torch.py head gpt2 2048 50257 768 threads=2

Speaks the lines of lua/perilune/bench/worker.lua on standard input and output. Written as a careful
user would: one product for q, k and v, scaled_dot_product_attention and the fused AdamW where this
PyTorch has them, a key-value cache filled in place, torch.multinomial over the softmax. With bf16,
training runs under autocast over float32 weights, generation on weights in bf16.
"""
import contextlib
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
    "smollm2": dict(c=576, layers=30, heads=9, kv_heads=3, f=1536, v=49152, context=2048),
    "gpt2": dict(c=768, layers=12, heads=12, kv_heads=12, f=3072, v=50257, context=1024, gpt2=True),
}
SDPA = getattr(F, "scaled_dot_product_attention", None)


class RMSNorm(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(c))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight


class LoRA(nn.Module):
    """A frozen product in bf16 with an adapter of rank r beside it."""

    def __init__(self, linear, r=16, alpha=32):
        super().__init__()
        self.register_buffer("weight", linear.weight.data.to(torch.bfloat16))
        self.a = nn.Parameter(torch.randn(r, linear.in_features) / math.sqrt(linear.in_features))
        self.b = nn.Parameter(torch.zeros(linear.out_features, r))
        self.scale = alpha / r

    def forward(self, x):
        return F.linear(x, self.weight) + F.linear(F.linear(x, self.a), self.b) * self.scale


def rotate(x, cos, sin):  # [B, H, T, D], neighbouring pairs
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


def attend(q, k, v, mask):
    T = q.shape[2]
    if SDPA is not None:
        return SDPA(q, k, v, is_causal=T > 1)  # one new row sees all
    scores = (q @ k.transpose(-2, -1)) / math.sqrt(q.shape[-1])
    if T > 1:
        scores = scores.masked_fill(mask[:T, :T], -math.inf)
    return scores.softmax(-1) @ v


class Block(nn.Module):
    def __init__(self, c, heads, kv_heads, f, gpt2=False, **_):
        super().__init__()
        self.heads, self.kv_heads, self.d, self.gpt2 = heads, kv_heads, c // heads, gpt2
        norm = nn.LayerNorm if gpt2 else RMSNorm
        self.norm1, self.norm2 = norm(c), norm(c)
        self.qkv = nn.Linear(c, (heads + 2 * kv_heads) * self.d, bias=gpt2)
        self.o = nn.Linear(c, c, bias=gpt2)
        if not gpt2:
            self.gate = nn.Linear(c, f, bias=False)
        self.up, self.down = nn.Linear(c, f, bias=gpt2), nn.Linear(f, c, bias=gpt2)

    def forward(self, x, cos, sin, mask, cache=None, past=0):
        B, T, C = x.shape
        sizes = [n * self.d for n in (self.heads, self.kv_heads, self.kv_heads)]
        q, k, v = (y.view(B, T, -1, self.d).transpose(1, 2)
                   for y in self.qkv(self.norm1(x)).split(sizes, -1))
        if not self.gpt2:
            q, k = rotate(q, cos, sin).to(v.dtype), rotate(k, cos, sin).to(v.dtype)
        if cache is not None:
            cache[0][:, :, past:past + T] = k
            cache[1][:, :, past:past + T] = v
            k, v = cache[0][:, :, :past + T], cache[1][:, :, :past + T]
        if self.kv_heads != self.heads:
            k, v = (y.repeat_interleave(self.heads // self.kv_heads, 1) for y in (k, v))
        y = attend(q, k, v, mask).transpose(1, 2).reshape(B, T, C)
        x = x + self.o(y)
        n = self.norm2(x)
        if self.gpt2:
            return x + self.down(F.gelu(self.up(n), approximate="tanh"))
        return x + self.down(F.silu(self.gate(n)) * self.up(n))


class Model(nn.Module):
    def __init__(self, shape, scalar_head=False):
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape["v"], shape["c"])
        if shape.get("gpt2"):
            self.positions = nn.Embedding(shape["context"], shape["c"])
        self.blocks = nn.ModuleList(Block(**shape) for _ in range(shape["layers"]))
        self.norm = nn.LayerNorm(shape["c"]) if shape.get("gpt2") else RMSNorm(shape["c"])
        if scalar_head:
            self.score = nn.Linear(shape["c"], 1, bias=False)
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, 0, 0.02)
        n, d = shape["context"], shape["c"] // shape["heads"]
        angles = torch.outer(torch.arange(n).float(), 10000 ** (-torch.arange(0, d, 2).float() / d))
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())
        self.mask = torch.triu(torch.ones(n, n, dtype=torch.bool), 1)

    def forward(self, ids, caches=None, past=0):
        T = ids.shape[1]
        x = self.embedding(ids)
        if self.shape.get("gpt2"):
            x = x + self.positions.weight[past:past + T]
        cos, sin = self.cos[past:past + T], self.sin[past:past + T]
        for i, block in enumerate(self.blocks):
            x = block(x, cos, sin, self.mask, None if caches is None else caches[i], past)
        return self.norm(x)


def adamw(parameters, lr=1e-4):
    parameters = [p for p in parameters if p.requires_grad]
    try:
        return torch.optim.AdamW(parameters, lr=lr, fused=True)
    except (RuntimeError, TypeError):
        return torch.optim.AdamW(parameters, lr=lr)


def half(options):
    """autocast, or nothing."""
    if options.get("dtype") == "bf16":
        return torch.autocast("cpu", dtype=torch.bfloat16)
    return contextlib.nullcontext()


def compiled(fn, options):
    return torch.compile(fn) if options.get("compile") else fn


def make_training(model, size, length, options):
    optimizer = adamw(model.parameters())
    ids = torch.randint(0, model.shape["v"], (size, length + 1))

    def loss_of(inputs, targets):
        logits = F.linear(model(inputs), model.embedding.weight)
        return F.cross_entropy(logits.view(-1, logits.size(-1)).float(), targets)

    loss_of = compiled(loss_of, options)

    def step():
        with half(options):
            loss = loss_of(ids[:, :-1], ids[:, 1:].reshape(-1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return size * length

    return step


def make_train(name, size, length, _, options):
    return make_training(Model(MODELS[name]), size, length, options)


def make_lora(name, size, length, _, options):
    model = Model(MODELS[name] if name in MODELS else MODELS["smollm2"])
    for p in model.parameters():
        p.requires_grad_(False)
        p.data = p.data.to(torch.bfloat16)
    for block in model.blocks:
        for part in ("qkv", "o", "gate", "up", "down"):
            setattr(block, part, LoRA(getattr(block, part)))
    return make_training(model, size, length, options)


def generate(model, ids, length):
    """New tokens [B, length] and their log-probs, by sampling."""
    shape, dtype = model.shape, model.embedding.weight.dtype
    size, prompt = ids.shape
    room = (size, shape["kv_heads"], prompt + length, shape["c"] // shape["heads"])
    caches = [(torch.zeros(room, dtype=dtype), torch.zeros(room, dtype=dtype))
              for _ in model.blocks]
    x, past, tokens, logprobs = ids, 0, [], []
    for _ in range(length):
        logits = F.linear(model(x, caches, past)[:, -1], model.embedding.weight).float()
        past += x.shape[1]
        all_logprobs = logits.log_softmax(-1)
        x = torch.multinomial(all_logprobs.exp(), 1)
        tokens.append(x)
        logprobs.append(all_logprobs.gather(1, x))
    return torch.cat(tokens, 1), torch.cat(logprobs, 1)


def make_generate(name, size, length, prompt, options):
    model = Model(MODELS[name])
    if options.get("dtype") == "bf16":
        model = model.to(torch.bfloat16)
    ids = torch.randint(0, model.shape["v"], (size, prompt))

    @torch.no_grad()
    def step():
        generate(model, ids, length)
        return size * length

    return step


def make_head(_, size, vocab, width, options):
    hidden = torch.randn(size, width, requires_grad=True)
    head = (torch.randn(vocab, width) * 0.02).requires_grad_(True)
    targets = torch.arange(1, size + 1) * 7919 % vocab

    def loss_of(hidden, head, targets):
        return F.cross_entropy(F.linear(hidden, head).float(), targets)

    loss_of = compiled(loss_of, options)

    def step():
        hidden.grad = head.grad = None
        with half(options):
            loss = loss_of(hidden, head, targets)
        loss.backward()
        return size

    return step


def memory(field):
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    return 0


def serve(makers):
    """Makes what the arguments name, and answers lines."""
    what, name = sys.argv[1:3]
    sizes = [int(n) for n in sys.argv[3:6]]
    options = dict(word.split("=", 1) for word in sys.argv[6:])
    torch.set_num_threads(int(options["threads"]))
    torch.manual_seed(1)
    step = makers[what](name, *sizes, options)
    base = memory("VmRSS")

    def sample():
        began, cpu = time.perf_counter(), time.process_time()
        tokens = step()
        return {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu,
                "tokens": tokens}

    def peak():
        return {"bytes": memory("VmHWM"), "base": base}

    def say(message):
        print(json.dumps(message), flush=True)

    step()
    say({"ready": True, "threads": torch.get_num_threads(), "version": torch.__version__})
    for line in sys.stdin:
        say({"sample": sample, "peak": peak}[line.strip()]())


if __name__ == "__main__":
    serve({"train": make_train, "lora": make_lora, "generate": make_generate, "head": make_head})
