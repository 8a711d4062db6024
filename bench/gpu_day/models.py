"""Random models, rows of tokens and configs of runs, with torch and the standard library alone.

Weights are whole numbers of a seeded generator times a power of two: every machine writes the same
bytes.
"""

import ctypes
import hashlib
import json
import random
import struct
from pathlib import Path

import torch

TINY = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 512,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "torch_dtype": "bfloat16",
}
# Which trap each carries: grouped queries; one matrix for both ends, of an odd size; a window;
# biases; norms of the heads; experts; capped scores and logits, norms behind blocks.
FAMILIES = {
    "llama": {"architectures": ["LlamaForCausalLM"], "model_type": "llama"},
    "llama-tied": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "tie_word_embeddings": True,
        "vocab_size": 1003,
    },
    "mistral": {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "sliding_window": 24,
    },
    "qwen2": {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "use_sliding_window": False,
    },
    "qwen3": {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "use_sliding_window": False,
    },
    "qwen3-moe": {
        "architectures": ["Qwen3MoeForCausalLM"],
        "model_type": "qwen3_moe",
        "use_sliding_window": False,
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 128,
        "norm_topk_prob": True,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    },
    "gemma2": {
        "architectures": ["Gemma2ForCausalLM"],
        "model_type": "gemma2",
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "query_pre_attn_scalar": 32,
        "sliding_window": 24,
        "hidden_activation": "gelu_pytorch_tanh",
        "tie_word_embeddings": True,
    },
}
GEOMETRY_8B = {
    **TINY,
    **FAMILIES["llama"],
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "rope_theta": 500000.0,
}
GEOMETRY_70B = {
    **GEOMETRY_8B,
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_attention_heads": 64,
    "vocab_size": 64128,  # the half of the head that one of two stages would have
}
# Qwen3-30B-A3B, of which a layer is 1.2 GB.
GEOMETRY_30B_A3B = {
    **TINY,
    **FAMILIES["qwen3-moe"],
    "hidden_size": 2048,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 768,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "rope_theta": 1000000.0,
}


def end_shapes(config):
    hidden, vocab = config["hidden_size"], config["vocab_size"]
    shapes = {"model.embed_tokens.weight": (vocab, hidden), "model.norm.weight": (hidden,)}
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (vocab, hidden)
    return shapes


def layer_shapes(config, layer):
    hidden, ffn, dim = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    q, kv = config["num_attention_heads"] * dim, config["num_key_value_heads"] * dim
    prefix = f"model.layers.{layer}."
    linears = {
        "self_attn.q_proj": (q, hidden),
        "self_attn.k_proj": (kv, hidden),
        "self_attn.v_proj": (kv, hidden),
        "self_attn.o_proj": (hidden, q),
    }
    mlps = ["mlp"]
    if "num_experts" in config:
        ffn = config["moe_intermediate_size"]
        linears["mlp.gate"] = (config["num_experts"], hidden)
        mlps = [f"mlp.experts.{i}" for i in range(config["num_experts"])]
    for mlp in mlps:
        linears[f"{mlp}.gate_proj"] = linears[f"{mlp}.up_proj"] = (ffn, hidden)
        linears[f"{mlp}.down_proj"] = (hidden, ffn)
    shapes = {f"{prefix}{name}.weight": shape for name, shape in linears.items()}
    norms = ["input_layernorm", "post_attention_layernorm"]
    if config["model_type"] == "gemma2":
        norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
    for norm in norms:
        shapes[f"{prefix}{norm}.weight"] = (hidden,)
    if config["model_type"] == "qwen2":
        for name in "qkv":
            shapes[f"{prefix}self_attn.{name}_proj.bias"] = linears[f"self_attn.{name}_proj"][:1]
    if config["model_type"] in ("qwen3", "qwen3_moe"):
        for name in "qk":
            shapes[f"{prefix}self_attn.{name}_norm.weight"] = (dim,)
    return shapes


def weight(name, shape, generator, device):
    """bfloat16: uniform, of the size that keeps activations as they are; norms about 1."""
    numbers = torch.randint(-128, 128, shape, generator=generator, device=device, dtype=torch.int16)
    if "norm" in name:
        return 1.0 + numbers.to(torch.bfloat16) / 1024
    fan_in = shape[-1] if len(shape) > 1 else shape[0]
    scale = 2.0 ** -(6 + round((fan_in.bit_length() - 1) / 2))
    return numbers.to(torch.bfloat16) * scale


def write_header(file, header):
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(struct.pack("<Q", len(text)) + text)


def write_safetensors(path, tensors):
    header, position = {"__metadata__": {"format": "pt"}}, 0
    for name, value in tensors.items():
        end = position + 2 * value.numel()
        header[name] = {
            "dtype": "BF16",
            "shape": list(value.shape),
            "data_offsets": [position, end],
        }
        position = end
    with open(path, "wb") as file:
        write_header(file, header)
        for value in tensors.values():
            host = value.cpu().contiguous()
            file.write((ctypes.c_char * (2 * host.numel())).from_address(host.data_ptr()))


def renamed_copy(source, target, rename):
    """A safetensors file with the tensors that `rename` gives a name (not None), under that name.
    Returns the names."""
    with open(source, "rb") as file, open(target, "wb") as copy:
        size = struct.unpack("<Q", file.read(8))[0]
        header, position, spans = {"__metadata__": {"format": "pt"}}, 0, []
        for name, entry in json.loads(file.read(size)).items():
            if name == "__metadata__" or rename(name) is None:
                continue
            begin, end = entry["data_offsets"]
            spans.append((8 + size + begin, end - begin))
            header[rename(name)] = {**entry, "data_offsets": [position, position + end - begin]}
            position += end - begin
        write_header(copy, header)
        for begin, left in spans:
            file.seek(begin)
            while left:
                block = file.read(min(left, 64 << 20))
                copy.write(block)
                left -= len(block)
    return [name for name in header if name != "__metadata__"]


def write_index(folder, files):
    """files: {file name: [tensor names]}."""
    weight_map = {name: file for file, names in files.items() for name in names}
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def write_model(folder, config, seed=1, device="cpu"):
    """A Hugging Face folder: a file for both ends, one for the first layer, and copies of it under
    the other layers' names."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    generator = torch.Generator(device=device).manual_seed(seed)
    fill = lambda shapes: {n: weight(n, s, generator, device) for n, s in shapes.items()}
    ends, first = fill(end_shapes(config)), fill(layer_shapes(config, 0))
    write_safetensors(folder / "ends.safetensors", ends)
    write_safetensors(folder / "layer-0.safetensors", first)
    files = {"ends.safetensors": list(ends), "layer-0.safetensors": list(first)}
    for layer in range(1, config["num_hidden_layers"]):
        name = f"layer-{layer}.safetensors"
        rename = lambda n, layer=layer: n.replace("layers.0.", f"layers.{layer}.")
        files[name] = renamed_copy(folder / "layer-0.safetensors", folder / name, rename)
    write_index(folder, files)


def fewer_layers(folder, source, layers):
    """The same model with its first layers alone, by links to the files of `source`."""
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads((source / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": layers}))
    index = json.loads((source / "model.safetensors.index.json").read_text())
    files = {}
    for name, file in index["weight_map"].items():
        if not file.startswith("layer-") or int(file[6 : file.index(".")]) < layers:
            files.setdefault(file, []).append(name)
    for file in files:
        (folder / file).symlink_to((source / file).resolve())
    write_index(folder, files)


def write_rows(path, lengths, vocab, seed=3):
    """A row a length. Ids follow a rule with noise: there is something to learn. A few leading ones
    have no target."""
    draw = random.Random(seed)
    lines = []
    for length in lengths:
        ids = [draw.randrange(vocab)]
        while len(ids) < length:
            ids.append((7 * ids[-1] + 3) % vocab if draw.random() < 0.75 else draw.randrange(vocab))
        masked = draw.randrange(length // 4)
        lines.append(json.dumps({"input_ids": ids, "labels": [-100] * masked + ids[masked:]}))
    path.write_text("\n".join(lines) + "\n")


def digest(folder):
    found = hashlib.sha256()
    for file in sorted(Path(folder).glob("*")):
        found.update(file.name.encode() + b"\0" + file.read_bytes())
    return found.hexdigest()[:16]


def merged(base, changes):
    """`changes`: {"train.max_steps": 3, ...} put into a copy of a nested config."""
    config = json.loads(json.dumps(base))
    for key, value in changes.items():
        *sections, last = key.split(".")
        at = config
        for section in sections:
            at = at.setdefault(section, {})
        at[last] = value
    return config


def metrics(folder):
    lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if "loss" in row]
