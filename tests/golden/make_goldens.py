#!/usr/bin/env python3
"""Makes the goldens beside this script: PyTorch's word on tiny models of both families.

Made with Python 3.11, PyTorch 1.13.0 (Debian 12: /usr/bin/python3 with python3-torch), seed 20220304:

    /usr/bin/python3 tests/golden/make_goldens.py

Each <name>.safetensors holds, of one random model and one ragged batch:

    w.<parameter>   float32, Hugging Face's names; matrices [out, in] (GPT-2's too)
    g.<parameter>   gradient of the loss, computed in float64
    logits          [T, V], all sequences end to end, computed in float64
    tokens, masks   int32 [T]; offsets int32 [B + 1]
    losses          float64 [11]: before each of ten AdamW steps, and after the last
    config          a note, as in config.json
The loss is the mean negative log-likelihood of the tokens with mask 1 (never a first one). Everything
is written from the formulas, without padding, one sequence at a time; no transformers needed.
Models: RMSNorm, half-split RoPE, grouped queries, SwiGLU (Touvron et al. 2023), head tied or not;
LayerNorm, learned positions, tanh-GELU (Radford et al. 2019).
"""
import json
import math
import os
import struct

import torch

SEED = 20220304
LENGTHS = [7, 1, 12, 5]
ADAM = dict(lr=3e-3, betas=(0.9, 0.95), eps=1e-8)
DECAY, CLIP, STEPS = 0.1, 1.0, 10
F64 = torch.float64


def rms_norm(x, w, eps=1e-5):
    return w * x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps)


def layer_norm(x, w, b, eps=1e-5):
    d = x - x.mean(-1, keepdim=True)
    return w * d / torch.sqrt((d * d).mean(-1, keepdim=True) + eps) + b


def rope(x, theta):
    """x [T, H, D]: coordinates i and i + D/2 are one pair, turned by t theta^(-2i/D)."""
    t, d = x.shape[0], x.shape[2]
    angle = torch.arange(t, dtype=F64)[:, None] * theta ** (-torch.arange(0, d, 2, dtype=F64) / d)
    cos, sin = angle.cos()[:, None, :], angle.sin()[:, None, :]
    a, b = x[..., : d // 2], x[..., d // 2:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def attend(q, k, v):
    """q [T, H, D], k and v [T, G, D]; head h reads group h // (H / G)."""
    t, heads, d = q.shape
    k, v = (x.repeat_interleave(heads // x.shape[1], 1) for x in (k, v))
    scores = torch.einsum("ihd,jhd->hij", q, k) / math.sqrt(d)
    later = torch.ones(t, t).triu(1).bool()
    scores = scores.masked_fill(later, -math.inf)
    return torch.einsum("hij,jhd->ihd", scores.softmax(-1), v).reshape(t, heads * d)


def llama(c, w, ids):
    d = c["hidden_size"] // c["num_attention_heads"]
    x = w["model.embed_tokens.weight"][ids]
    for i in range(c["num_hidden_layers"]):
        p = lambda name: w[f"model.layers.{i}.{name}.weight"]
        n = rms_norm(x, p("input_layernorm"))
        q, k, v = ((n @ p(f"self_attn.{s}_proj").T).reshape(len(ids), -1, d) for s in "qkv")
        q, k = rope(q, c["rope_theta"]), rope(k, c["rope_theta"])
        x = x + attend(q, k, v) @ p("self_attn.o_proj").T
        n = rms_norm(x, p("post_attention_layernorm"))
        gate = n @ p("mlp.gate_proj").T
        x = x + (gate * gate.sigmoid() * (n @ p("mlp.up_proj").T)) @ p("mlp.down_proj").T
    x = rms_norm(x, w["model.norm.weight"])
    return x @ w.get("lm_head.weight", w["model.embed_tokens.weight"]).T


def gpt2(c, w, ids):
    d = c["n_embd"] // c["n_head"]
    x = w["transformer.wte.weight"][ids] + w["transformer.wpe.weight"][: len(ids)]
    for i in range(c["n_layer"]):
        p = lambda name: (w[f"transformer.h.{i}.{name}.weight"], w[f"transformer.h.{i}.{name}.bias"])
        linear = lambda y, name: y @ p(name)[0].T + p(name)[1]
        qkv = linear(layer_norm(x, *p("ln_1")), "attn.c_attn")
        q, k, v = (y.reshape(len(ids), -1, d) for y in qkv.split(c["n_embd"], -1))
        x = x + linear(attend(q, k, v), "attn.c_proj")
        h = linear(layer_norm(x, *p("ln_2")), "mlp.c_fc")
        h = 0.5 * h * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h ** 3)))
        x = x + linear(h, "mlp.c_proj")
    x = layer_norm(x, w["transformer.ln_f.weight"], w["transformer.ln_f.bias"])
    return x @ w["transformer.wte.weight"].T


def llama_shapes(c):
    n, f = c["hidden_size"], c["intermediate_size"]
    kv = n // c["num_attention_heads"] * c["num_key_value_heads"]
    shapes = {"model.embed_tokens.weight": (c["vocab_size"], n), "model.norm.weight": (n,)}
    for i in range(c["num_hidden_layers"]):
        for name, shape in {
            "input_layernorm": (n,), "self_attn.q_proj": (n, n), "self_attn.k_proj": (kv, n),
            "self_attn.v_proj": (kv, n), "self_attn.o_proj": (n, n),
            "post_attention_layernorm": (n,), "mlp.gate_proj": (f, n), "mlp.up_proj": (f, n),
            "mlp.down_proj": (n, f),
        }.items():
            shapes[f"model.layers.{i}.{name}.weight"] = shape
    if not c["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (c["vocab_size"], n)
    return shapes


def gpt2_shapes(c):
    n = c["n_embd"]
    shapes = {"transformer.wte.weight": (c["vocab_size"], n),
              "transformer.wpe.weight": (c["n_positions"], n)}
    parts = {"ln_f": (n,)}
    for i in range(c["n_layer"]):
        for name, shape in {"ln_1": (n,), "attn.c_attn": (3 * n, n), "attn.c_proj": (n, n),
                            "ln_2": (n,), "mlp.c_fc": (4 * n, n), "mlp.c_proj": (n, 4 * n)}.items():
            parts[f"h.{i}.{name}"] = shape
    for name, shape in parts.items():
        shapes[f"transformer.{name}.weight"] = shape
        shapes[f"transformer.{name}.bias"] = shape[:1]
    return shapes


def draw(shapes):
    weights = {}
    for name, shape in shapes.items():
        x = torch.randn(shape, dtype=F64) * (0.1 if len(shape) == 1 else 0.25)
        if len(shape) == 1 and name.endswith("weight"):
            x = x + 1
        weights[name] = x.float().double().requires_grad_()
    return weights


def lm_loss(forward, c, w, batch):
    total, count, all_logits = 0, 0, []
    for ids, mask in batch:
        logits = forward(c, w, ids)
        all_logits.append(logits)
        logprob = logits.log_softmax(-1)
        for t in range(1, len(ids)):
            if mask[t]:
                total, count = total - logprob[t - 1, ids[t]], count + 1
    return total / count, torch.cat(all_logits)


def save(path, tensors, notes):
    """The safetensors format: length of the header, header, bytes."""
    kinds = {torch.float32: "F32", torch.float64: "F64", torch.int32: "I32"}
    header, blobs, at = {"__metadata__": notes}, [], 0
    for name, x in tensors.items():
        blob = x.detach().contiguous().numpy().tobytes()
        header[name] = {"dtype": kinds[x.dtype], "shape": list(x.shape),
                        "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def make(name, forward, shapes, c):
    torch.manual_seed(SEED + len(name))
    w = draw(shapes(c))
    batch = []
    for n in LENGTHS:
        mask = (torch.rand(n) < 0.7).int()
        mask[0] = 0
        batch.append((torch.randint(0, c["vocab_size"], (n,)), mask))
    loss, logits = lm_loss(forward, c, w, batch)
    loss.backward()
    tensors = {f"w.{k}": v.detach().float() for k, v in w.items()}
    tensors.update({f"g.{k}": v.grad.float() for k, v in w.items()})
    tensors["logits"] = logits.float()
    tensors["tokens"] = torch.cat([ids for ids, _ in batch]).int()
    tensors["masks"] = torch.cat([mask for _, mask in batch])
    tensors["offsets"] = torch.tensor([0] + LENGTHS).cumsum(0).int()

    matrices = [v for v in w.values() if v.dim() > 1]
    vectors = [v for v in w.values() if v.dim() == 1]
    optimizer = torch.optim.AdamW([dict(params=matrices, weight_decay=DECAY),
                                   dict(params=vectors, weight_decay=0.0)], **ADAM)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss, _ = lm_loss(forward, c, w, batch)
        losses.append(loss.item())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(w.values()), CLIP)
        optimizer.step()
    losses.append(lm_loss(forward, c, w, batch)[0].item())
    tensors["losses"] = torch.tensor(losses, dtype=F64)
    notes = {"config": json.dumps(c), "torch": torch.__version__, "seed": str(SEED + len(name))}
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".safetensors")
    save(path, tensors, notes)
    print(f"{name}: {os.path.getsize(path)} bytes, loss {losses[0]:.6f} -> {losses[-1]:.6f}")


if __name__ == "__main__":
    tiny = dict(model_type="llama", vocab_size=31, hidden_size=24, intermediate_size=36,
                num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                max_position_embeddings=16, rope_theta=10000.0, rms_norm_eps=1e-5)
    make("llama_untied", llama, llama_shapes, dict(tiny, tie_word_embeddings=False))
    make("llama_tied", llama, llama_shapes,
         dict(tiny, tie_word_embeddings=True, num_attention_heads=3, num_key_value_heads=1,
              rope_theta=500.0))
    make("gpt2", gpt2, gpt2_shapes,
         dict(model_type="gpt2", vocab_size=31, n_embd=18, n_layer=2, n_head=3, n_positions=16,
              layer_norm_epsilon=1e-5, activation_function="gelu_new", tie_word_embeddings=True))
