#!/usr/bin/env python3
"""Makes gguf/: `python3 make_gguf.py [FOLDER [NAME …]]` (torch, transformers, safetensors, gguf).

Tiny models of families/ as llama.cpp's convert_hf_to_gguf.py writes them, in F16 so that they are small, under the names
that the `gguf` package has for tensors, and NAME.json with what `transformers` computes with the same numbers in float64:

    tokens   30 ids
    after    places among them
    logits   after each of these places
"""
import json
import math
import pathlib
import sys

import gguf
import numpy as np
import torch
import transformers as T

ARCHITECTURES = dict(llama="llama", llama_scaled="llama", llama_linear="llama", mistral="llama", qwen2="qwen2",
                     qwen3="qwen3", smollm3="smollm3", gemma3="gemma3", olmo2="olmo2", phi3="phi3", gpt_neox="gptneox",
                     gpt_neox_serial="gptneox", gpt2="gpt2")
COMMITTED = ["llama_scaled", "gemma3", "gpt_neox", "gpt2"]
AFTER = [0, 12, 29]


def permute(rows, n_head):
    """As llama.cpp's converter does."""
    return rows.reshape(n_head, 2, rows.shape[0] // n_head // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def rope_factors(rope, head):
    """As llama.cpp's converter does, with the context that the configuration has."""
    factors = []
    for i in range(0, head, 2):
        wave = 2 * math.pi * rope["rope_theta"] ** (i / head)
        context = rope["original_max_position_embeddings"]
        low, high = context / rope["low_freq_factor"], context / rope["high_freq_factor"]
        if wave < high:
            factors.append(1)
        elif wave > low:
            factors.append(rope["factor"])
        else:
            smooth = context / wave - rope["low_freq_factor"]
            smooth /= rope["high_freq_factor"] - rope["low_freq_factor"]
            factors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return factors


def small_gpt2():
    torch.manual_seed(1337)
    config = T.GPT2Config(vocab_size=31, n_positions=32, n_embd=8, n_layer=1, n_head=2, n_inner=12,
                          bos_token_id=None, eos_token_id=None)
    return T.GPT2LMHeadModel(config)


def write(path, name, model, config):
    architecture = ARCHITECTURES[name]
    writer = gguf.GGUFWriter(path, architecture)
    of = lambda *keys: next((getattr(config, key) for key in keys if getattr(config, key, None) is not None), None)
    layers, width = of("num_hidden_layers", "n_layer"), of("hidden_size", "n_embd")
    heads = of("num_attention_heads", "n_head")
    head = of("head_dim") or width // heads
    writer.add_block_count(layers)
    writer.add_context_length(of("max_position_embeddings", "n_positions"))
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(of("intermediate_size", "n_inner"))
    writer.add_head_count(heads)
    if architecture not in ("gptneox", "gpt2"):
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_key_length(head)
        writer.add_value_length(head)
    else:
        writer.add_layer_norm_eps(of("layer_norm_eps", "layer_norm_epsilon"))
    if architecture in ("llama", "smollm3"):
        writer.add_vocab_size(config.vocab_size)
    rope = getattr(config, "rope_parameters", None)
    if rope:
        rope = rope.get("full_attention", rope)
        writer.add_rope_freq_base(rope["rope_theta"])
        writer.add_rope_dimension_count(int(head * rope.get("partial_rotary_factor", 1)))
        if rope["rope_type"] == "linear":
            writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(rope["factor"])
        if rope["rope_type"] == "llama3":
            writer.add_tensor("rope_freqs.weight", np.array(rope_factors(rope, head), dtype=np.float32))
    if architecture == "gptneox":
        writer.add_parallel_residual(config.use_parallel_residual)
    if name in ("mistral", "phi3", "gemma3"):
        writer.add_sliding_window(config.sliding_window)
    if architecture == "gemma3":
        writer.add_sliding_window_pattern([kind == "sliding_attention" for kind in config.layer_types])
        local = config.rope_parameters["sliding_attention"]["rope_theta"]
        writer.add_float32("gemma3.rope.freq_base_swa", local)
        writer.add_attention_scale(config.query_pre_attn_scalar ** -0.5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(list("abcdefghijklmnopqrstuvwxyzABCDE"))
    writer.add_token_types([1] * 31)
    names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, architecture.upper()), layers)
    for theirs, rows in model.state_dict().items():
        if theirs == "lm_head.weight" and config.tie_word_embeddings and architecture != "gptneox":
            continue
        theirs = theirs.replace("lm_head", "embed_out") if architecture == "gptneox" else theirs
        if theirs.endswith((".attn.bias", ".attn.masked_bias")):
            continue
        ours = names.get_name(theirs, try_suffixes=(".weight", ".bias"))
        if architecture in ("llama", "smollm3") and ".q_proj." in theirs:
            rows = permute(rows, heads)
        if architecture in ("llama", "smollm3") and ".k_proj." in theirs:
            rows = permute(rows, config.num_key_value_heads)
        if architecture == "gemma3" and theirs.endswith("norm.weight"):
            rows = rows + 1
        if architecture == "gptneox" and "query_key_value" in theirs:
            rows = rows.reshape(heads, 3, head, *rows.shape[1:]).swapaxes(0, 1).reshape(rows.shape)
        if architecture == "gpt2" and theirs.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")):
            rows = rows.T
        kind = np.float32 if rows.dim() == 1 else np.float16
        writer.add_tensor(ours, rows.contiguous().numpy().astype(kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make(to, name):
    families = pathlib.Path(__file__).parent / "families"
    if name == "gpt2":
        model = small_gpt2()
    else:
        model = T.AutoModelForCausalLM.from_pretrained(families / name, attn_implementation="eager")
    model = model.float().eval()
    if name == "smollm3":
        # GGUF has rotary embeddings in all layers but every fourth.
        model.config.no_rope_layers = [1, 1, 1]
        for layer in model.model.layers:
            layer.self_attn.use_rope = 1
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.copy_(parameter.half().float())
    write(to / f"{name}.gguf", name, model, model.config)
    if name == "gemma3":
        # What is stored is 1 + w, rounded.
        with torch.no_grad():
            for theirs, parameter in model.named_parameters():
                if theirs.endswith("norm.weight"):
                    parameter.copy_((parameter + 1).double() - 1)
    torch.manual_seed(7)
    tokens = torch.randint(0, 31, (1, 30))
    with torch.no_grad():
        logits = model.double()(tokens).logits[0]
    rows = [[round(x, 7) for x in logits[place].tolist()] for place in AFTER]
    (to / f"{name}.json").write_text(json.dumps(dict(tokens=tokens[0].tolist(), after=AFTER, logits=rows)) + "\n")


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "gguf")
    for name in sys.argv[2:] or COMMITTED:
        make(folder, name)
