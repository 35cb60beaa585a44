#!/usr/bin/env python3
"""Writes extreme.tsv: how far NumPy's float32 is from float64 on extreme inputs.

tests/engine/numbers_test.c makes the same inputs, and holds the engine's error to four times
NumPy's. The columns: op, n (elements of the row), offset, scale (the input is
offset + scale * wave(i), rounded to float32), error.

  wave(i) = ((i * 7919) mod 10007) / 10007 - 1/2

error is the largest over the elements of |float32 - float64| / max(|float64|, floor): floor is
1e-30 for probabilities and their gradients, 1 for normalized rows, sum |x| for a sum.

Run: python3 make_extreme.py > extreme.tsv     (recorded with NumPy 2.4.6)
"""
import numpy as np

ROWS = [
    # op, n, offset, scale
    ("sum", 4096, 0.1, 0.0), ("sum", 152000, 0.1, 0.0), ("sum", 152000, 1.0, 1.0),
    ("sum", 1000003, 0.1, 0.0),
    ("softmax", 4096, 0.0, 0.0), ("softmax", 152000, 0.0, 0.0), ("softmax", 152000, 0.0, 1.0),
    ("softmax", 152000, 1000.0, 20.0), ("softmax", 50257, -300.0, 100.0),
    ("log_softmax", 152000, 0.0, 0.0), ("log_softmax", 152000, 1000.0, 20.0),
    ("cross_entropy", 152000, 0.0, 0.0), ("cross_entropy", 152000, 0.0, 1.0),
    ("cross_entropy", 152000, 0.0, 20.0), ("cross_entropy", 152000, 1000.0, 20.0),
    ("cross_entropy", 50257, -300.0, 100.0), ("cross_entropy", 1000003, 0.0, 1.0),
    ("layernorm", 768, 0.1, 0.0), ("layernorm", 768, 1000.1, 0.0),
    ("layernorm", 4096, 1e6 / 3, 0.0), ("layernorm", 4099, 1e8 / 3, 0.0),
    ("layernorm", 4096, 100.0, 0.01), ("layernorm", 16384, 1000.0, 1.0),
    ("layernorm", 768, 0.0, 1e-6), ("layernorm", 768, 0.0, 1e6),
    ("rmsnorm", 4096, 0.1, 0.0), ("rmsnorm", 16384, 1000.1, 0.0), ("rmsnorm", 16384, 0.0, 1e6),
    ("rmsnorm", 152000, 0.1, 0.0),
]
EPS = 1e-5
TARGET = 3


def row(n, offset, scale):
    i = np.arange(n, dtype=np.int64)
    wave = (i * 7919 % 10007).astype(np.float64) / 10007.0 - 0.5
    return (offset + scale * wave).astype(np.float32)


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def cross_entropy(x):
    g = softmax(x)
    g[TARGET] -= x.dtype.type(1)
    return g


def log_softmax(x):
    d = x - x.max()
    return d - np.log(np.exp(d).sum())


def layernorm(x):
    d = x - x.mean()
    return d / np.sqrt((d * d).mean() + x.dtype.type(EPS))


def rmsnorm(x):
    return x / np.sqrt((x * x).mean() + x.dtype.type(EPS))


def total(x):
    return np.array([x.sum()])


OPS = {"sum": total, "softmax": softmax, "log_softmax": log_softmax,
       "cross_entropy": cross_entropy, "layernorm": layernorm, "rmsnorm": rmsnorm}

print("# NumPy " + np.__version__ + "; made by make_extreme.py, which says what the columns are")
print("op\tn\toffset\tscale\terror")
for op, n, offset, scale in ROWS:
    x = row(n, offset, scale)
    exact = OPS[op](x.astype(np.float64))
    floor = {"sum": np.abs(x.astype(np.float64)).sum(), "layernorm": 1.0, "rmsnorm": 1.0,
             "log_softmax": 1.0}.get(op, 1e-30)
    seen = OPS[op](x).astype(np.float64)
    error = np.max(np.abs(seen - exact) / np.maximum(np.abs(exact), floor))
    print("%s\t%d\t%.17g\t%.17g\t%.3g" % (op, n, offset, scale, error))
