#!/usr/bin/env python3
"""Makes families/*.safetensors: transformers' word on a tiny model of each family.

Made with Python 3.11, PyTorch 2.15, transformers 5.23:

    python3 tests/golden/make_families.py [name ...]

A case is a config as transformers 4 writes it; transformers 5 reads it, and writes it in its own
words. Weights are not kept: value(name, i) below gives them, here and in families_spec.lua. Each
<name>.safetensors holds

    logits          [T, V], all sequences end to end
    g.<parameter>   gradient of the mean negative log-likelihood of all tokens but first ones; files'
                    names and layouts. Cases that differ from another in positions alone have none
    config4, config5   notes: both spellings

computed in float64 (transformers itself goes through float32 in norms, softmax and rotary tables),
eager attention, one sequence at a time. The sequences have LENGTHS tokens, drawn like the weights; none is
below 4, where pad tokens are: their embeddings have no gradient in PyTorch.
"""
import json
import os
import sys

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

from make_goldens import save

LENGTHS = [7, 1, 12, 5]
HERE = os.path.dirname(os.path.abspath(__file__))


def hashed(seed, index):
    """A 32-bit mix; the same lines are in families_spec.lua."""
    h = (seed + index * 0x9E3779B9) & 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
    return h ^ (h >> 16)


def value(name, index, base):
    """In [base - 1/4, base + 1/4), a multiple of 2^-25."""
    seed = 2166136261
    for byte in name.encode():
        seed = ((seed ^ byte) * 16777619) & 0xFFFFFFFF
    return base + ((hashed(seed, index) >> 8) / 2**24 - 0.5) / 2


def filled(name, shape):
    base = 1.0 if "norm" in name or "ln_" in name else 0.0
    if name.endswith(".bias"):
        base = 0.0
    count = 1
    for n in shape:
        count *= n
    return torch.tensor([value(name, i, base) for i in range(count)], dtype=torch.float64).reshape(shape)


def tokens(vocab):
    ids = [4 + hashed(7, i) % (vocab - 4) for i in range(sum(LENGTHS))]
    result = []
    for n in LENGTHS:
        result.append(ids[:n])
        ids = ids[n:]
    return result


LLAMA = dict(vocab_size=29, hidden_size=16, intermediate_size=20, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=32,
             rms_norm_eps=1e-5, rope_theta=100.0, hidden_act="silu", tie_word_embeddings=False,
             initializer_range=0.02, bos_token_id=1, eos_token_id=2, torch_dtype="float32")


def like_llama(model_type, **changes):
    return dict(LLAMA, model_type=model_type, **changes)


CASES = {
    "gpt2": dict(model_type="gpt2", vocab_size=29, n_embd=16, n_layer=2, n_head=4, n_positions=32,
                 n_ctx=32, activation_function="gelu_new", layer_norm_epsilon=1e-5,
                 bos_token_id=1, eos_token_id=2, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0),
    "llama": like_llama("llama", attention_bias=True, mlp_bias=True),
    "llama_linear": like_llama("llama", rope_scaling=dict(type="linear", factor=4.0)),
    "llama_dynamic": like_llama("llama", rope_scaling=dict(type="dynamic", factor=2.0)),
    "llama_llama3": like_llama("llama", rope_theta=10000.0, head_dim=8, rope_scaling=dict(
        rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
        original_max_position_embeddings=16)),
    "llama_yarn": like_llama("llama", rope_theta=10000.0, head_dim=8, rope_scaling=dict(
        rope_type="yarn", factor=4.0, original_max_position_embeddings=16, beta_fast=4.0)),
    "mistral": like_llama("mistral", sliding_window=4, head_dim=6),
    "qwen2": like_llama("qwen2", tie_word_embeddings=True, use_sliding_window=True,
                        sliding_window=3, max_window_layers=1),
    "qwen3": like_llama("qwen3", head_dim=8, attention_bias=False, use_sliding_window=False,
                        sliding_window=None, max_window_layers=2),
    "smollm3": like_llama("smollm3", num_hidden_layers=3, no_rope_layers=[1, 0, 1],
                          no_rope_layer_interval=4, use_sliding_window=False, sliding_window=None,
                          attention_bias=False, mlp_bias=False, pad_token_id=3),
    "phi3": like_llama("phi3", num_attention_heads=2, num_key_value_heads=1, sliding_window=5,
                       partial_rotary_factor=0.75, original_max_position_embeddings=32,
                       resid_pdrop=0.0, embd_pdrop=0.0, pad_token_id=3),
    "phi3_longrope": like_llama("phi3", num_attention_heads=2, sliding_window=None,
                                max_position_embeddings=64, original_max_position_embeddings=16,
                                pad_token_id=3, rope_scaling=dict(
                                    type="longrope", short_factor=[1.0, 1.25, 1.5, 2.0],
                                    long_factor=[1.0, 2.0, 4.0, 8.0])),
    "gemma2": like_llama("gemma2", num_hidden_layers=3, head_dim=6, query_pre_attn_scalar=10,
                         hidden_activation="gelu_pytorch_tanh", hidden_act="gelu_pytorch_tanh",
                         sliding_window=4, attn_logit_softcapping=3.0, final_logit_softcapping=2.0,
                         tie_word_embeddings=True, attention_bias=False, pad_token_id=0,
                         cache_implementation="hybrid"),
    "gemma3_text": like_llama("gemma3_text", num_hidden_layers=3, head_dim=6,
                              query_pre_attn_scalar=10, hidden_activation="gelu_pytorch_tanh",
                              hidden_act="gelu_pytorch_tanh", sliding_window=4, sliding_window_pattern=2, rope_theta=1000.0,
                              rope_local_base_freq=10.0, attn_logit_softcapping=None,
                              final_logit_softcapping=None, tie_word_embeddings=True,
                              attention_bias=False, pad_token_id=0,
                              rope_scaling=dict(rope_type="linear", factor=2.0)),
    "gpt_neox": dict(model_type="gpt_neox", vocab_size=29, hidden_size=16, intermediate_size=20,
                     num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=32,
                     hidden_act="gelu", rotary_pct=0.5, rotary_emb_base=100, layer_norm_eps=1e-5,
                     use_parallel_residual=True, tie_word_embeddings=False, hidden_dropout=0.0,
                     attention_dropout=0.0, classifier_dropout=0.1, bos_token_id=0, eos_token_id=0),
    "gpt_neox_serial": dict(model_type="gpt_neox", vocab_size=29, hidden_size=16,
                            intermediate_size=20, num_hidden_layers=2, num_attention_heads=2,
                            max_position_embeddings=32, hidden_act="gelu_new", rotary_pct=1.0,
                            rotary_emb_base=100, layer_norm_eps=1e-5, use_parallel_residual=False,
                            tie_word_embeddings=False, bos_token_id=0, eos_token_id=0),
    "opt": dict(model_type="opt", vocab_size=29, hidden_size=16, ffn_dim=20, num_hidden_layers=2,
                num_attention_heads=4, max_position_embeddings=32, activation_function="relu",
                do_layer_norm_before=True, word_embed_proj_dim=16, init_std=0.02, dropout=0.0,
                activation_dropout=0.0, layerdrop=0.0, prefix="</s>", bos_token_id=2,
                eos_token_id=2, pad_token_id=1),
    "opt_350m": dict(model_type="opt", vocab_size=29, hidden_size=16, ffn_dim=20,
                     num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=32,
                     activation_function="relu", do_layer_norm_before=False,
                     word_embed_proj_dim=10, init_std=0.02, dropout=0.0, bos_token_id=2,
                     eos_token_id=2, pad_token_id=1),
    "olmo2": like_llama("olmo2", attention_bias=False, pad_token_id=1),
    "granite": like_llama("granite", attention_bias=False, mlp_bias=False, attention_multiplier=0.3,
                          embedding_multiplier=6.0, residual_multiplier=0.5, logits_scaling=3.0,
                          tie_word_embeddings=True),
    "cohere": dict(model_type="cohere", vocab_size=29, hidden_size=16, intermediate_size=20,
                   num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                   max_position_embeddings=32, layer_norm_eps=1e-5, rope_theta=100.0,
                   hidden_act="silu", tie_word_embeddings=True, logit_scale=0.5, use_qk_norm=True,
                   attention_bias=False, bos_token_id=1, eos_token_id=2, pad_token_id=0),
    "stablelm": dict(model_type="stablelm", vocab_size=29, hidden_size=16, intermediate_size=20,
                     num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
                     max_position_embeddings=32, layer_norm_eps=1e-5, rope_theta=100.0,
                     hidden_act="silu", tie_word_embeddings=False, use_qkv_bias=True,
                     qk_layernorm=False, use_parallel_residual=True, partial_rotary_factor=0.5,
                     hidden_dropout=0.0, bos_token_id=1, eos_token_id=2),
    "starcoder2": dict(model_type="starcoder2", vocab_size=29, hidden_size=16, intermediate_size=20,
                       num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                       max_position_embeddings=32, norm_epsilon=1e-5, rope_theta=100.0,
                       hidden_act="gelu_pytorch_tanh", use_bias=True, sliding_window=4,
                       residual_dropout=0.0, embedding_dropout=0.0, mlp_type="default",
                       norm_type="layer_norm", bos_token_id=1, eos_token_id=2),
    "olmo": dict({k: v for k, v in LLAMA.items() if k != "rms_norm_eps"}, model_type="olmo",
                 attention_bias=False, clip_qkv=0.75, pad_token_id=1),
    "gemma": like_llama("gemma", head_dim=6, hidden_act="gelu",
                        hidden_activation="gelu_pytorch_tanh", tie_word_embeddings=True,
                        attention_bias=False, pad_token_id=0),
}
POSITIONS_ALONE = {"llama_linear", "llama_dynamic", "llama_llama3", "llama_yarn", "phi3_longrope"}
# What files of these models call a parameter of transformers 5.
IN_FILES = {"gpt_neox": {"lm_head.weight": "embed_out.weight"}}


def make(name, old):
    kind = type(AutoConfig.for_model(old["model_type"]))
    config = kind.from_dict(json.loads(json.dumps(old)))
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").double().eval()
    renamed = IN_FILES.get(old["model_type"], {})
    parameters = {renamed.get(k, k): v for k, v in model.named_parameters()}
    with torch.no_grad():
        for key, parameter in parameters.items():
            parameter.copy_(filled(key, parameter.shape))
    total, count, logits = 0, 0, []
    for ids in tokens(old["vocab_size"]):
        out = model(torch.tensor([ids])).logits[0]
        logits.append(out)
        logprob = out.log_softmax(-1)
        for t in range(1, len(ids)):
            total, count = total - logprob[t - 1, ids[t]], count + 1
    tensors = {"logits": torch.cat(logits).float()}
    if name not in POSITIONS_ALONE:
        (total / count).backward()
        tensors.update({"g." + k: v.grad.float() for k, v in parameters.items()})
    new = json.loads(model.config.to_json_string())
    architectures = [type(model).__name__]
    notes = {"config4": json.dumps(dict(old, architectures=architectures)),
             "config5": json.dumps(dict(new, architectures=architectures)),
             "transformers": transformers.__version__, "torch": torch.__version__}
    path = os.path.join(HERE, "families", name + ".safetensors")
    save(path, tensors, notes)
    print(f"{name}: {os.path.getsize(path)} bytes, loss {total / count:.6f}, "
          f"logits to {tensors['logits'].abs().max():.3f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for case in sys.argv[1:] or CASES:
        make(case, CASES[case])
