"""Writes muon.json: steps of torch.optim.Muon on matrices of several shapes.

Run with PyTorch 2.9 or later: python make_muon.py > muon.json
"""

import json

import torch

torch.manual_seed(3)
steps = 3
cases = []
for rows, cols in ((6, 6), (5, 12), (12, 5), (1, 7), (7, 1), (18, 24)):
    weight = torch.nn.Parameter(torch.randn(rows, cols))
    optimizer = torch.optim.Muon(
        [weight],
        lr=0.02,
        weight_decay=0.1,
        momentum=0.95,
        nesterov=True,
        adjust_lr_fn="match_rms_adamw",
    )
    case = {"before": weight.tolist(), "gradients": [], "after": []}
    for _ in range(steps):
        weight.grad = torch.randn(rows, cols)
        case["gradients"].append(weight.grad.tolist())
        optimizer.step()
        case["after"].append(weight.tolist())
    cases.append(case)


def rounded(x):
    return [rounded(y) for y in x] if isinstance(x, list) else float(f"{x:.7g}")


print(json.dumps([{k: rounded(v) for k, v in c.items()} for c in cases], separators=(",", ":")))
