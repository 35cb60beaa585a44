#!/usr/bin/env python3
"""Opens with transformers what save_families.lua saved, and compares logits and scores.

    ./build/perilune tests/golden/save_families.lua FOLDER
    python3 tests/golden/check_families.py FOLDER

Prints a line for each model and exits with 1 when one is off by more than 5e-5. A model type or
class that this version of transformers does not have is skipped, in words. Needs safetensors.

transformers 4.46 is right to be WRONG twice: its Phi 3 turns whole heads whatever
partial_rotary_factor says, and its eager Qwen 2 gives every layer the window that belongs to
layers from max_window_layers on.
"""
import os
import sys

import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

BOUND = 5e-5


def worst(kind, path, tokens, offsets, want):
    model = kind.from_pretrained(path, torch_dtype=torch.float32, attn_implementation="eager").eval()
    error = 0.0
    for b in range(len(offsets) - 1):
        first, last = offsets[b], offsets[b + 1]
        ids = tokens[first:last]
        with torch.no_grad():
            if kind is AutoModelForCausalLM:
                error = max(error, (model(ids[None], use_cache=False).logits[0] - want[first:last]).abs().max().item())
            else:
                mask = torch.ones_like(ids)[None]
                got = model(ids[None], attention_mask=mask, use_cache=False).logits[0, 0]
                error = max(error, abs(got.item() - want[last - 1].item()))
    return error


def main(folder):
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    bad = 0
    for name in sorted(n[:-12] for n in os.listdir(folder) if n.endswith(".safetensors")):
        data = load_file(os.path.join(folder, name + ".safetensors"))
        tokens, offsets = data["tokens"].long(), data["offsets"].tolist()
        texts = []
        for kind, suffix, want in ((AutoModelForCausalLM, "", data["logits"]),
                                   (AutoModelForSequenceClassification, "-reward", data["scores"])):
            try:
                error = worst(kind, os.path.join(folder, name + suffix), tokens, offsets, want)
                bad += error > BOUND
                texts.append(f"{error:.2g}" + (" WRONG" if error > BOUND else ""))
            except (ValueError, KeyError) as fault:
                texts.append("skipped: " + str(fault).split("\n")[0][:90])
        print(f"{name}: logits {texts[0]}; scores {texts[1]}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
