#!/usr/bin/env python3
"""Makes the folders of tests/golden/peft: what the peft package says of adapters on the models of
make_goldens.py.

Made with peft 0.21.2, transformers 5.23.0, PyTorch 2.15.0, seed 20220305:

    python3 tests/golden/make_peft.py

Each folder is what `save_pretrained` writes, with every part drawn at random (a fresh B is 0, and
would show nothing), and expected.safetensors:

    g.<tensor of adapter_model.safetensors>   gradient of the loss of make_goldens.py, from float64
    logits                                    [T, V] from float64, all sequences end to end
    scores                                    [B] of the last tokens, in place of logits
For scores the loss is their weighted sum, with weights 1, 2, 3 and 4.
"""
import json
import os
import warnings

import torch
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, safe_open, save_file
from transformers import (GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM,
                          LlamaForSequenceClassification)

SEED = 20220305
HERE = os.path.dirname(os.path.abspath(__file__))
CLASSES = {"llama": (LlamaConfig, LlamaForCausalLM), "gpt2": (GPT2Config, GPT2LMHeadModel)}
CONV1D = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")


def base_model(name, scalar):
    path = os.path.join(HERE, name + ".safetensors")
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["config"])
    held = load_file(path)
    kind, cls = CLASSES[config.pop("model_type")]
    if scalar:
        cls, config["num_labels"] = LlamaForSequenceClassification, 1
    model = cls(kind(**config, attn_implementation="eager", resid_pdrop=0.0, embd_pdrop=0.0,
                     attn_pdrop=0.0))
    weights = {}
    for key, x in held.items():
        if key.startswith("w."):
            turned = any(part in key for part in CONV1D) and key.endswith(".weight")
            weights[key[2:]] = x.T.contiguous() if turned else x
    if scalar:
        del weights["lm_head.weight"]
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight", "score.weight"}, (missing, unexpected)
    return model, held


def sequences(held):
    starts = held["offsets"].tolist()
    return [(held["tokens"][a:b].long(), held["masks"][a:b]) for a, b in zip(starts, starts[1:])]


def lm(model, batch):
    total, count, logits = 0, 0, []
    for ids, mask in batch:
        logits.append(model(input_ids=ids[None]).logits[0])
        logprob = logits[-1].log_softmax(-1)
        for t in range(1, len(ids)):
            if mask[t]:
                total, count = total - logprob[t - 1, ids[t]], count + 1
    return total / count, {"logits": torch.cat(logits)}


def scored(model, batch):
    scores = torch.cat([model(input_ids=ids[None]).logits[0] for ids, _ in batch])
    return (scores * torch.arange(1, len(batch) + 1)).sum(), {"scores": scores}


def make(folder, base, scalar=False, **settings):
    torch.manual_seed(SEED + len(folder))
    model, held = base_model(base, scalar)
    config = LoraConfig(task_type="SEQ_CLS" if scalar else "CAUSAL_LM", lora_dropout=0.1, **settings)
    model = get_peft_model(model, config).eval()
    for name, p in model.named_parameters():
        if p.requires_grad:
            scale = 0.25 if p.dim() > 1 else 0.1
            drawn = scale * torch.randn(p.shape)
            p.data = p.data + drawn if "magnitude" in name else drawn
    model.peft_config["default"].base_model_name_or_path = base
    path = os.path.join(HERE, "peft", folder)
    model.save_pretrained(path)
    os.remove(os.path.join(path, "README.md"))
    model = model.double()
    loss, expected = (scored if scalar else lm)(model, sequences(held))
    loss.backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    saved = get_peft_model_state_dict(model, state_dict=grads)
    tensors = {"g." + name: x.float().contiguous() for name, x in saved.items()}
    tensors.update({name: x.detach().float().contiguous() for name, x in expected.items()})
    names = {"g." + key for key in load_file(os.path.join(path, "adapter_model.safetensors"))}
    assert names == {key for key in tensors if key.startswith("g.")}
    save_file(tensors, os.path.join(path, "expected.safetensors"))
    print(folder, f"loss {loss.item():.6f}", len(names), "tensors")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    make("llama_lora", "llama_untied", r=2, lora_alpha=5, target_modules="all-linear")
    make("llama_rslora", "llama_tied", r=3, lora_alpha=4, use_rslora=True,
         target_modules=["q_proj", "v_proj"], rank_pattern={"layers.1.self_attn.v_proj": 5},
         alpha_pattern={"q_proj": 7})
    make("llama_dora", "llama_untied", r=2, lora_alpha=3, use_dora=True,
         target_modules=r".*\.(self_attn\.o|mlp\.(up|down))_proj")
    make("llama_score", "llama_untied", scalar=True, r=1, lora_alpha=2,
         target_modules=["k_proj", "gate_proj"], layers_to_transform=[1])
    make("gpt2_lora", "gpt2", r=2, lora_alpha=4, target_modules=["c_attn", "c_fc"])
    make("gpt2_dora", "gpt2", r=30, lora_alpha=10, use_dora=True, target_modules=["attn.c_proj"])
