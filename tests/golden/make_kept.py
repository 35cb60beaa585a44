#!/usr/bin/env python3
"""Writes kept.tsv: blocks of the kept dtypes and their values, by the `gguf` package.

The columns: dtype, blocks, values; the last two in hexadecimal, values as little-endian float32.
Blocks are random bits; scales are drawn among all finite float16 of moderate size, zero and
subnormal ones too. Then rows "quantise": the package's q8_0, bfloat16 and float16 of values.

Run: python3 make_kept.py > kept.tsv     (recorded with gguf 0.19.0, NumPy 2.4.6)
"""
import numpy as np
from gguf import GGMLQuantizationType as T, quants

rng = np.random.default_rng(20)
# name, type, bytes of a block, places of float16 factors, blocks
TYPES = [
    ("q8_0", T.Q8_0, 34, (0,), 3), ("q4_0", T.Q4_0, 18, (0,), 3), ("q4_1", T.Q4_1, 20, (0, 2), 3),
    ("q5_0", T.Q5_0, 22, (0,), 3), ("q5_1", T.Q5_1, 24, (0, 2), 3), ("q4_k", T.Q4_K, 144, (0, 2), 2),
    ("q5_k", T.Q5_K, 176, (0, 2), 2), ("q6_k", T.Q6_K, 210, (208,), 2),
]


def factors(n):
    x = (rng.standard_normal(n) * 10.0 ** rng.integers(-6, 3, n)).astype(np.float16)
    x[rng.random(n) < 0.1] = np.float16(6e-8)
    x[rng.random(n) < 0.05] = np.float16(-0.0)
    return x


def row(*parts):
    print("\t".join(p if isinstance(p, str) else p.tobytes().hex() for p in parts))


for name, kind, size, places, blocks in TYPES:
    data = rng.integers(0, 256, (blocks, size), dtype=np.uint8)
    for place in places:
        data[:, place:place + 2] = factors(blocks).view(np.uint8).reshape(blocks, 2)
    row(name, data, quants.dequantize(data, kind).astype("<f4"))

halves = rng.integers(0, 0x7C00, 96).astype(np.uint16) | (rng.integers(0, 2, 96) << 15).astype(np.uint16)
halves[:4] = 0x7C00, 0xFC00, 0, 0x8000
row("float16", halves, halves.view(np.float16).astype("<f4"))
row("bfloat16", halves, (halves.astype("<u4") << 16))

values = (rng.standard_normal(96) * 10.0 ** rng.integers(-8, 4, 96)).astype("<f4")
values[64:] = 0
values[70] = 1e-7
row("quantise q8_0", quants.quantize(values, T.Q8_0), values)
row("quantise bfloat16", quants.quantize(values, T.BF16), values)
row("quantise float16", values.astype(np.float16), values)
