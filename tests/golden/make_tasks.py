#!/usr/bin/env python3
"""Writes tasks.json: log-likelihoods of choices as lm-evaluation-harness takes them, by transformers.

The model is stories260K (llama2.c), the rows are public: PandaLM's test set, whose two answers to an
instruction are the choices and whose first annotator says which is right. Both stand outside the
repository (../shared/data), so only numbers are kept: for each row its place in the file and ln p of
both choices in float64. As in the harness, prompt and choice are joined by a blank and become tokens
together; the choice's are those behind as many as the prompt has alone. acc takes the greatest sum,
acc_norm the greatest sum by characters.

Run: python3 make_tasks.py ../../../shared/data > tasks.json
(recorded with torch 2.15.0, transformers 5.23.0)
"""
import json
import os
import struct
import sys

import numpy
import torch
from transformers import LlamaConfig, LlamaForCausalLM

DATA, ROWS, LONGEST = sys.argv[1], 40, 400
torch.set_num_threads(1)


def model():
    with open(f"{DATA}/models/stories260K/stories260K.bin", "rb") as file:
        dim, hidden, layers, heads, kv_heads, vocab, context = struct.unpack("7i", file.read(28))
        flat, at = numpy.fromfile(file, numpy.float32), 0
    kv = dim // heads * kv_heads

    def take(*shape):
        nonlocal at
        n = int(numpy.prod(shape))
        at += n
        return torch.tensor(flat[at - n:at].reshape(shape), dtype=torch.float64)

    def halves(w, n):  # pairs of RoPE: beside each other there, a half apart in transformers
        return w.view(n, -1, 2, dim).transpose(1, 2).reshape(w.shape)

    weights = {"model.embed_tokens.weight": take(vocab, dim)}
    lists = [("input_layernorm", (dim,)), ("self_attn.q_proj", (dim, dim)),
             ("self_attn.k_proj", (kv, dim)), ("self_attn.v_proj", (kv, dim)),
             ("self_attn.o_proj", (dim, dim)), ("post_attention_layernorm", (dim,)),
             ("mlp.gate_proj", (hidden, dim)), ("mlp.down_proj", (dim, hidden)),
             ("mlp.up_proj", (hidden, dim))]
    for name, shape in lists:
        for layer in range(layers):
            w = take(*shape)
            if name.endswith(("q_proj", "k_proj")):
                w = halves(w, heads if name.endswith("q_proj") else kv_heads)
            weights[f"model.layers.{layer}.{name}.weight"] = w
    weights["model.norm.weight"] = take(dim)
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    config = LlamaConfig(
        vocab_size=vocab, hidden_size=dim, intermediate_size=hidden, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv_heads, max_position_embeddings=context,
        rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=True,
        attn_implementation="eager")
    made = LlamaForCausalLM(config).double().eval()
    made.load_state_dict(weights)
    return made


def tokenizer():
    pieces, scores = [], []
    with open(f"{DATA}/models/stories260K/tok512.bin", "rb") as file:
        file.read(4)
        while head := file.read(8):
            score, size = struct.unpack("fi", head)
            pieces.append(file.read(size))
            scores.append(score)
    ids = {piece: i for i, piece in reversed(list(enumerate(pieces)))}

    def encode(text):
        tokens = [ids[b" "]] if text else []
        for character in text:
            raw = character.encode()
            tokens += [ids[raw]] if raw in ids else [3 + byte for byte in raw]
        while True:
            best, place = -1e10, None
            for i in range(len(tokens) - 1):
                joined = ids.get(pieces[tokens[i]] + pieces[tokens[i + 1]])
                if joined is not None and scores[joined] > best:
                    best, place = scores[joined], i
            if place is None:
                return [1] + tokens
            tokens[place:place + 2] = [ids[pieces[tokens[place]] + pieces[tokens[place + 1]]]]
    return encode


net, encode = model(), tokenizer()
with open(f"{DATA}/rankings/pandalm_testset_v1.json") as file:
    records = json.load(file)
rows, seen = [], set()
for place, record in enumerate(records):
    if not all(isinstance(record[k], str) for k in ("response1", "response2")):
        continue  # some are true
    prompt = (record["instruction"] + "\n" + record["input"]).strip()
    choices = [record[k].strip() for k in ("response1", "response2")]
    right = record["annotator1"] - 1
    if prompt in seen or right < 0 or not all(choices) or choices[0] == choices[1]:
        continue
    context = encode(prompt)
    wholes = [encode(prompt + " " + choice) for choice in choices]
    if max(len(w) for w in wholes) > LONGEST:
        continue
    seen.add(prompt)
    sums = []
    for whole in wholes:
        with torch.no_grad():
            logps = net(torch.tensor([whole])).logits[0].log_softmax(-1)
        sums.append(sum(logps[t - 1, whole[t]].item() for t in range(len(context), len(whole))))
    rows.append({"place": place, "answer": right, "likelihoods": sums,
                 "acc": int(numpy.argmax(sums)) == right,
                 "acc_norm": int(numpy.argmax([s / len(c) for s, c in zip(sums, choices)])) == right})
    if len(rows) == ROWS:
        break
print(json.dumps({"made_with": f"torch {torch.__version__}, transformers 5.23.0, float64",
                  "rows": rows}, indent=0))
