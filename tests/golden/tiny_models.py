"""Tiny random models, adapters and token rows for the parity tests, from seeds, with numpy alone.

Nothing here is stored in the repository: numpy keeps the streams of RandomState as they are for
good, so every machine writes the same bytes (parity.json records a digest of each case, and the
tests check it). A case is a Hugging Face folder, a PEFT adapter to start from, and rows of token
ids with labels.
"""

import hashlib
import json
import zlib
from pathlib import Path

import numpy as np

STEPS_LORA, STEPS_FULL = 20, 10
ROWS_PER_STEP = 4
ROW_TOKENS = (12, 48)  # shortest and longest
LORA_RANK, LORA_ALPHA = 4, 8
ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
FUSED_LINEAR = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
ATTENTION_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj"]
LATENT_LINEAR = ["q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"]
HALF_FUSED_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_up_proj", "down_proj"]

COMMON = {
    "hidden_size": 64,
    "intermediate_size": 112,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 512,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "torch_dtype": "float32",
}

GEMMA = {
    **{k: v for k, v in COMMON.items() if k != "hidden_act"},
    "hidden_activation": "gelu_pytorch_tanh",
    "head_dim": 32,
    "sliding_window": 10,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "pad_token_id": None,
}

LATENT = {
    **COMMON,
    "num_key_value_heads": 4,
    "kv_lora_rank": 20,
    "qk_nope_head_dim": 12,
    "qk_rope_head_dim": 8,
    "moe_intermediate_size": 40,
    "first_k_dense_replace": 1,
    "attention_bias": False,
    "rope_theta": 10000.0,
    "rope_scaling": {
        "type": "yarn",
        "factor": 4.0,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 64,
        "beta_fast": 8,
        "beta_slow": 1,
    },
    "pad_token_id": None,
}

# name -> (config.json, shards of the checkpoint, stored type, LoRA targets, rank-stabilised scale)
CASES = {
    # Eight query heads on two key heads; frequencies rescaled within reach of the rows; three
    # shards.
    "llama_grouped": (
        {
            **COMMON,
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "num_attention_heads": 8,
            "attention_bias": False,
            "mlp_bias": False,
            "rope_theta": 10000.0,
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 4.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            },
        },
        3,
        "F32",
        ALL_LINEAR,
        False,
    ),
    # One matrix for embedding and head, with a vocabulary that neither two nor four ranks divide.
    "llama_tied": (
        {
            **COMMON,
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "num_key_value_heads": 4,
            "attention_bias": False,
            "mlp_bias": False,
            "vocab_size": 1003,
            "tie_word_embeddings": True,
            "rope_theta": 50000.0,
            "rope_scaling": None,
        },
        1,
        "F32",
        ["q_proj", "v_proj"],
        False,
    ),
    # A window shorter than most rows, heads wider than hidden / heads.
    "mistral": (
        {
            **COMMON,
            "architectures": ["MistralForCausalLM"],
            "model_type": "mistral",
            "head_dim": 24,
            "sliding_window": 10,
            "rope_theta": 10000.0,
        },
        2,
        "F32",
        ALL_LINEAR,
        False,
    ),
    # Biases on q, k and v; weights stored in 16 bits.
    "qwen2": (
        {
            **COMMON,
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "rope_theta": 1000000.0,
            "use_sliding_window": False,
            "sliding_window": None,
            "max_window_layers": 3,
            "rms_norm_eps": 1e-6,
        },
        1,
        "BF16",
        ALL_LINEAR,
        False,
    ),
    # Frequencies stretched within reach of the rows, cosines and sines scaled.
    "qwen2_yarn": (
        {
            **COMMON,
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "rope_theta": 20000.0,
            "rope_scaling": {
                "type": "yarn",
                "factor": 4.0,
                "original_max_position_embeddings": 64,
                "beta_fast": 8,
            },
            "pad_token_id": None,
        },
        1,
        "F32",
        ALL_LINEAR,
        False,
    ),
    # Norms on each query and key head; the other spelling of the rotary base; rank-stabilised LoRA.
    "qwen3": (
        {
            **{k: v for k, v in COMMON.items() if k != "torch_dtype"},
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            "head_dim": 32,
            "attention_bias": False,
            "tie_word_embeddings": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
            "dtype": "float32",
            "use_sliding_window": False,
            "sliding_window": None,
            "max_window_layers": 3,
            "rms_norm_eps": 1e-6,
        },
        1,
        "F32",
        ALL_LINEAR,
        True,
    ),
    # Soft caps that bite, windows in every other layer, norms before and behind blocks.
    "gemma2": (
        {
            **GEMMA,
            "architectures": ["Gemma2ForCausalLM"],
            "model_type": "gemma2",
            "rope_theta": 10000.0,
            "query_pre_attn_scalar": 20,
            "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 4.0,
        },
        1,
        "F32",
        ALL_LINEAR,
        False,
    ),
    # Two rotary bases, one of them scaled; one kv head, which two ranks share.
    "gemma3": (
        {
            **GEMMA,
            "architectures": ["Gemma3ForCausalLM"],
            "model_type": "gemma3_text",
            "num_key_value_heads": 1,
            "rope_theta": 100000.0,
            "rope_local_base_freq": 10000.0,
            "rope_scaling": {"rope_type": "linear", "factor": 4.0},
            "query_pre_attn_scalar": 40,
            "sliding_window_pattern": 3,
        },
        1,
        "F32",
        ALL_LINEAR,
        False,
    ),
    # Norms behind blocks alone; those of q and k over all heads.
    "olmo2": (
        {
            **COMMON,
            "architectures": ["Olmo2ForCausalLM"],
            "model_type": "olmo2",
            "rope_theta": 500000.0,
            "pad_token_id": None,
        },
        1,
        "F32",
        ALL_LINEAR,
        False,
    ),
    # Four multipliers, a tied head.
    "granite": (
        {
            **COMMON,
            "architectures": ["GraniteForCausalLM"],
            "model_type": "granite",
            "tie_word_embeddings": True,
            "rope_theta": 10000.0,
            "embedding_multiplier": 6.0,
            "logits_scaling": 0.5,
            "residual_multiplier": 0.6,
            "attention_multiplier": 0.15,
        },
        1,
        "F32",
        ALL_LINEAR,
        False,
    ),
    # The middle layer does not turn.
    "smollm3": (
        {
            **COMMON,
            "architectures": ["SmolLM3ForCausalLM"],
            "model_type": "smollm3",
            "tie_word_embeddings": True,
            "rope_theta": 5000000.0,
            "no_rope_layers": [1, 0, 1],
            "use_sliding_window": False,
            "pad_token_id": None,
        },
        1,
        "F32",
        ALL_LINEAR,
        False,
    ),
    # Half of each head turns, in neighbouring pairs; four norms; gate and up in one matrix.
    "glm4": (
        {
            **COMMON,
            "architectures": ["Glm4ForCausalLM"],
            "model_type": "glm4",
            "head_dim": 16,
            "attention_bias": True,
            "rope_theta": 10000.0,
            "pad_token_id": None,
        },
        1,
        "F32",
        HALF_FUSED_LINEAR,
        False,
    ),
    # One LayerNorm a layer, blocks side by side; the last layer has neither window nor rotation.
    "cohere2": (
        {
            **{k: v for k, v in COMMON.items() if k != "rms_norm_eps"},
            "architectures": ["Cohere2ForCausalLM"],
            "model_type": "cohere2",
            "tie_word_embeddings": True,
            "layer_norm_eps": 1e-5,
            "logit_scale": 0.6,
            "sliding_window": 10,
            "sliding_window_pattern": 3,
            "rope_theta": 50000.0,
            "pad_token_id": None,
        },
        1,
        "F32",
        ALL_LINEAR,
        False,
    ),
    # q, k and v in one matrix; of half of each head frequencies divided by the long factors, as
    # every row is longer than the original context.
    "phi3": (
        {
            **COMMON,
            "architectures": ["Phi3ForCausalLM"],
            "model_type": "phi3",
            "rope_theta": 20000.0,
            "original_max_position_embeddings": 8,
            "partial_rotary_factor": 0.5,
            "rope_scaling": {
                "type": "longrope",
                "short_factor": [1.0, 1.1, 1.25, 1.6],
                "long_factor": [1.2, 2.0, 5.0, 8.0],
            },
            "sliding_window": 24,
            "pad_token_id": None,
        },
        1,
        "F32",
        FUSED_LINEAR,
        False,
    ),
    # Two of four experts a token, in every layer, by the names of the hub.
    "mixtral": (
        {
            **COMMON,
            "architectures": ["MixtralForCausalLM"],
            "model_type": "mixtral",
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "rope_theta": 1000000.0,
            "sliding_window": None,
        },
        2,
        "F32",
        ATTENTION_LINEAR,
        False,
    ),
    # Three of six experts a token, with their bare probabilities; the middle layer has none.
    "qwen3_moe": (
        {
            **COMMON,
            "architectures": ["Qwen3MoeForCausalLM"],
            "model_type": "qwen3_moe",
            "head_dim": 32,
            "rope_theta": 500000.0,
            "num_experts": 6,
            "num_experts_per_tok": 3,
            "moe_intermediate_size": 40,
            "mlp_only_layers": [1],
            "decoder_sparse_step": 1,
            "norm_topk_prob": False,
            "use_sliding_window": False,
            "pad_token_id": None,
        },
        1,
        "F32",
        ATTENTION_LINEAR,
        False,
    ),
    # Queries without a latent; cos, sin and scores scaled; two of three groups of experts, by the
    # best of each; two shared experts; the first layer dense.
    "deepseek_v2": (
        {
            **LATENT,
            "architectures": ["DeepseekV2ForCausalLM"],
            "model_type": "deepseek_v2",
            "q_lora_rank": None,
            "v_head_dim": 16,
            "n_routed_experts": 6,
            "n_shared_experts": 2,
            "topk_method": "group_limited_greedy",
            "n_group": 3,
            "topk_group": 2,
            "num_experts_per_tok": 3,
            "routed_scaling_factor": 1.5,
            "norm_topk_prob": False,
            "rope_scaling": {**LATENT["rope_scaling"], "mscale_all_dim": 0.7},
        },
        1,
        "F32",
        ["q_proj", *LATENT_LINEAR[2:]],
        False,
    ),
    # Latents of queries too; experts by corrected sigmoids, of two of four groups by the two best
    # of each; the checkpoint has a layer more, which predicts a token further ahead.
    "deepseek_v3": (
        {
            **LATENT,
            "architectures": ["DeepseekV3ForCausalLM"],
            "model_type": "deepseek_v3",
            "q_lora_rank": 24,
            "v_head_dim": 10,
            "n_routed_experts": 8,
            "n_shared_experts": 1,
            "n_group": 4,
            "topk_group": 2,
            "num_experts_per_tok": 3,
            "routed_scaling_factor": 2.5,
            "norm_topk_prob": True,
            "num_nextn_predict_layers": 1,
        },
        2,
        "F32",
        LATENT_LINEAR,
        False,
    ),
    # Sinks; windows in the first and the last layer; biases everywhere; two of four experts a token,
    # in one tensor a matrix, whose gate and up meet their limits; a yarn ramp of no whole pairs.
    "gpt_oss": (
        {
            **COMMON,
            "architectures": ["GptOssForCausalLM"],
            "model_type": "gpt_oss",
            "head_dim": 24,
            "intermediate_size": 40,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "swiglu_limit": 0.75,
            "attention_bias": True,
            "sliding_window": 10,
            "rope_theta": 150000.0,
            "rope_scaling": {
                "rope_type": "yarn",
                "factor": 8.0,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "original_max_position_embeddings": 32,
                "truncate": False,
            },
            "pad_token_id": None,
        },
        2,
        "F32",
        ATTENTION_LINEAR,
        False,
    ),
}


def stream(case, name):
    """One random stream per tensor: values do not depend on the order of anything."""
    return np.random.RandomState(zlib.crc32(f"{case}/{name}".encode()))


# model_type -> (block, gate, up and down of an expert)
EXPERT_NAMES = {
    "mixtral": ("block_sparse_moe", "w1", "w3", "w2"),
    "qwen3_moe": ("mlp", "gate_proj", "up_proj", "down_proj"),
    "deepseek_v2": ("mlp", "gate_proj", "up_proj", "down_proj"),
    "deepseek_v3": ("mlp", "gate_proj", "up_proj", "down_proj"),
}


def expert_shapes(config, layer):
    """{module: (out, in)} of a layer's router and experts; empty where it has none."""
    if config["model_type"] not in EXPERT_NAMES or layer in config.get("mlp_only_layers", []):
        return {}
    if layer < config.get("first_k_dense_replace", 0):
        return {}
    block, gate, up, down = EXPERT_NAMES[config["model_type"]]
    hidden, ffn = (
        config["hidden_size"],
        config.get("moe_intermediate_size", config["intermediate_size"]),
    )
    experts = next(
        config[key]
        for key in ("num_experts", "num_local_experts", "n_routed_experts")
        if key in config
    )
    shapes = {f"{block}.gate": (experts, hidden)}
    for expert in range(experts):
        prefix = f"{block}.experts.{expert}."
        shapes |= {prefix + gate: (ffn, hidden), prefix + up: (ffn, hidden)}
        shapes |= {prefix + down: (hidden, ffn)}
    shared = ffn * config.get("n_shared_experts", 0)
    if shared > 0:
        prefix = f"{block}.shared_experts."
        shapes |= {prefix + gate: (shared, hidden), prefix + up: (shared, hidden)}
        shapes |= {prefix + down: (hidden, shared)}
    return shapes


def latent_shapes(config):
    """{module: (out, in)} of multi-head latent attention."""
    hidden, heads, q_rank = (
        config["hidden_size"],
        config["num_attention_heads"],
        config["q_lora_rank"],
    )
    nope, rope, v, rank = (
        config[key]
        for key in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "kv_lora_rank")
    )
    queries = {"self_attn.q_proj": (heads * (nope + rope), hidden)}
    if q_rank:
        queries = {
            "self_attn.q_a_proj": (q_rank, hidden),
            "self_attn.q_b_proj": (heads * (nope + rope), q_rank),
        }
    return {
        **queries,
        "self_attn.kv_a_proj_with_mqa": (rank + rope, hidden),
        "self_attn.kv_b_proj": (heads * (nope + v), rank),
        "self_attn.o_proj": (hidden, heads * v),
    }


def linear_shapes(config):
    """{module: (out, in)} of one decoder layer, of one without experts."""
    hidden, ffn, heads = (
        config["hidden_size"],
        config["intermediate_size"],
        config["num_attention_heads"],
    )
    head_dim = config.get("head_dim", hidden // heads)
    q, kv = heads * head_dim, config["num_key_value_heads"] * head_dim
    qkv = {
        "self_attn.q_proj": (q, hidden),
        "self_attn.k_proj": (kv, hidden),
        "self_attn.v_proj": (kv, hidden),
    }
    gate_up = {"mlp.gate_proj": (ffn, hidden), "mlp.up_proj": (ffn, hidden)}
    if config["model_type"] == "phi3":
        qkv = {"self_attn.qkv_proj": (q + 2 * kv, hidden)}
    if config["model_type"] in ("phi3", "glm4"):
        gate_up = {"mlp.gate_up_proj": (2 * ffn, hidden)}
    attention = {**qkv, "self_attn.o_proj": (hidden, q)}
    if "kv_lora_rank" in config:
        attention = latent_shapes(config)
    return {**attention, **gate_up, "mlp.down_proj": (hidden, ffn)}


def stacked_expert_shapes(config):
    """{tensor: shape} of a gpt_oss layer's router and experts."""
    hidden, ffn = config["hidden_size"], config["intermediate_size"]
    experts = config["num_local_experts"]
    return {
        "mlp.router.weight": (experts, hidden),
        "mlp.router.bias": (experts,),
        "mlp.experts.gate_up_proj": (experts, hidden, 2 * ffn),
        "mlp.experts.gate_up_proj_bias": (experts, 2 * ffn),
        "mlp.experts.down_proj": (experts, ffn, hidden),
        "mlp.experts.down_proj_bias": (experts, hidden),
    }


NORMS = ("input_layernorm", "post_attention_layernorm")
GEMMA_NORMS = (*NORMS, "pre_feedforward_layernorm", "post_feedforward_layernorm")
# The norms of a layer, where a family does not have NORMS.
LAYER_NORMS = {
    "gemma2": GEMMA_NORMS,
    "gemma3_text": GEMMA_NORMS,
    "olmo2": ("post_attention_layernorm", "post_feedforward_layernorm"),
    "glm4": (*NORMS, "post_self_attn_layernorm", "post_mlp_layernorm"),
    "cohere2": ("input_layernorm",),
}


def weight_shapes(config):
    hidden, vocab = config["hidden_size"], config["vocab_size"]
    shapes = {"model.embed_tokens.weight": (vocab, hidden)}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        experts = expert_shapes(config, layer)
        linears = linear_shapes(config)
        stacked = config["model_type"] == "gpt_oss"
        if experts or stacked:
            linears = {name: linears[name] for name in linears if "mlp" not in name} | experts
        for module, shape in linears.items():
            shapes[f"{prefix}{module}.weight"] = shape
            biases = config["model_type"] in ("qwen2", "glm4")
            if biases and module[-6] in "qkv" and "self_attn" in module:
                shapes[f"{prefix}{module}.bias"] = shape[:1]
            if stacked:
                shapes[f"{prefix}{module}.bias"] = shape[:1]
        if experts and config["model_type"] == "deepseek_v3":
            bias = f"{prefix}mlp.gate.e_score_correction_bias"
            shapes[bias] = experts["mlp.gate"][:1]
        if "kv_lora_rank" in config:
            shapes[f"{prefix}self_attn.kv_a_layernorm.weight"] = (config["kv_lora_rank"],)
            if config["q_lora_rank"]:
                shapes[f"{prefix}self_attn.q_a_layernorm.weight"] = (config["q_lora_rank"],)
        if stacked:
            shapes[f"{prefix}self_attn.sinks"] = (config["num_attention_heads"],)
            shapes |= {f"{prefix}{n}": s for n, s in stacked_expert_shapes(config).items()}
        for norm in LAYER_NORMS.get(config["model_type"], NORMS):
            shapes[f"{prefix}{norm}.weight"] = (hidden,)
        if config["model_type"] in ("qwen3", "qwen3_moe", "gemma3_text"):
            for norm in ("q_norm", "k_norm"):
                shapes[f"{prefix}self_attn.{norm}.weight"] = (config["head_dim"],)
        if config["model_type"] == "olmo2":
            for side in "qk":
                width = linear_shapes(config)[f"self_attn.{side}_proj"][:1]
                shapes[f"{prefix}self_attn.{side}_norm.weight"] = width
    shapes["model.norm.weight"] = (hidden,)
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (vocab, hidden)
    return shapes


def unread_shapes(config):
    """Of what files have beside the model: layers that predict tokens further ahead."""
    shapes, hidden = {}, config["hidden_size"]
    for i in range(config.get("num_nextn_predict_layers", 0)):
        prefix = f"model.layers.{config['num_hidden_layers'] + i}."
        shapes[f"{prefix}eh_proj.weight"] = (hidden, 2 * hidden)
        shapes[f"{prefix}enorm.weight"] = (hidden,)
        shapes[f"{prefix}shared_head.head.weight"] = (config["vocab_size"], hidden)
    return shapes


def random_weight(case, name, shape):
    values = stream(case, name).standard_normal(shape)
    if "norm" in name:
        return (1.0 + 0.1 * values).astype(np.float32)
    latents = ("q_a_proj", "q_b_proj", "kv_a_proj", "kv_b_proj")
    scale = (
        0.1
        if name.endswith((".bias", "proj_bias"))
        else 0.2
        if any(part in name for part in latents)
        else 0.16
        if "q_proj" in name or "k_proj" in name
        else 0.09
    )
    if name.endswith("sinks"):
        scale = 0.7
    return (scale * values).astype(np.float32)


def to_bfloat16_bits(values):
    """Round to nearest even, as uint16 patterns."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


NUMBERS = {"F32": "<f4", "F16": "<f2"}


def write_safetensors(path, tensors, dtype="F32"):
    header, position, blobs = {"__metadata__": {"format": "pt"}}, 0, []
    for name, values in tensors.items():
        as_numbers = NUMBERS.get(dtype)
        blob = (values.astype(as_numbers) if as_numbers else to_bfloat16_bits(values)).tobytes()
        header[name] = {
            "dtype": dtype,
            "shape": list(values.shape),
            "data_offsets": [position, position + len(blob)],
        }
        position += len(blob)
        blobs.append(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    Path(path).write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blobs))


def read_safetensors(path, others="refuse"):
    """{name: float32 array} of a file's F32 and F16 tensors; it may have others to "skip"."""
    data = Path(path).read_bytes()
    size = int.from_bytes(data[:8], "little")
    header, base = json.loads(data[8 : 8 + size]), 8 + size
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        if entry["dtype"] not in NUMBERS:
            if others == "skip":
                continue
            raise ValueError(f"{path}: {name} is {entry['dtype']}")
        begin, end = (base + offset for offset in entry["data_offsets"])
        flat = np.frombuffer(data[begin:end], NUMBERS[entry["dtype"]]).astype("f4")
        tensors[name] = flat.reshape(entry["shape"])
    return tensors


def write_json(path, content):
    Path(path).write_text(json.dumps(content, indent=1) + "\n")


def write_tokenizer(folder):
    """A byte-level tokenizer without merges: 256 byte tokens, then two added ones."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in printable}
    for n, byte in enumerate(b for b in range(256) if b not in letters):
        letters[byte] = chr(256 + n)
    vocab = {letters[byte]: byte for byte in range(256)}
    flags = {
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }
    added = [
        {"id": 256 + i, "content": token, **flags}
        for i, token in enumerate(["<|im_start|>", "<|im_end|>"])
    ]
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }
    write_json(
        folder / "tokenizer.json",
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added,
            "normalizer": None,
            "pre_tokenizer": byte_level,
            "post_processor": None,
            "decoder": byte_level,
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "vocab": vocab,
                "merges": [],
            },
        },
    )
    template = (
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + "
        "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": "<|im_end|>",
            "clean_up_tokenization_spaces": False,
            "chat_template": template,
        },
    )


def write_model(case, folder, dtype=None):
    """In the case's dtype, or another: F32, F16 or BF16."""
    config, shards, own_dtype, _, _ = CASES[case]
    dtype = dtype or own_dtype
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config)
    write_tokenizer(folder)
    shapes = weight_shapes(config) | unread_shapes(config)
    names = list(shapes)
    weights = {name: random_weight(case, name, shape) for name, shape in shapes.items()}
    if shards == 1:
        write_safetensors(folder / "model.safetensors", weights, dtype)
        return
    weight_map, per_shard = {}, -(-len(names) // shards)
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = names[shard * per_shard : (shard + 1) * per_shard]
        write_safetensors(folder / file, {name: weights[name] for name in part}, dtype)
        weight_map.update(dict.fromkeys(part, file))
    total = sum(value.nbytes for value in weights.values())
    write_json(
        folder / "model.safetensors.index.json",
        {"metadata": {"total_size": total}, "weight_map": weight_map},
    )


def write_adapter(case, folder):
    """What LoRA runs start from: A as PEFT draws it, B not zero, so that A learns at once."""
    config, _, _, targets, rslora = CASES[case]
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for layer in range(config["num_hidden_layers"]):
        for module, (rows, columns) in linear_shapes(config).items():
            if module.split(".")[1] not in targets:
                continue
            prefix = f"base_model.model.model.layers.{layer}.{module}."
            a, b = prefix + "lora_A.weight", prefix + "lora_B.weight"
            bound = columns**-0.5
            tensors[a] = (
                stream(case, a).uniform(-bound, bound, (LORA_RANK, columns)).astype(np.float32)
            )
            tensors[b] = (0.05 * stream(case, b).standard_normal((rows, LORA_RANK))).astype(
                np.float32
            )
    write_safetensors(folder / "adapter_model.safetensors", tensors)
    write_json(
        folder / "adapter_config.json",
        {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": None,
            "r": LORA_RANK,
            "lora_alpha": LORA_ALPHA,
            "lora_dropout": 0.0,
            "target_modules": targets,
            "bias": "none",
            "fan_in_fan_out": False,
            "inference_mode": True,
            "use_rslora": rslora,
        },
    )


def token_rows(case):
    """STEPS_LORA x ROWS_PER_STEP rows. Ids follow a rule with noise: there is something to learn.

    Lengths differ, and so does the number of leading positions without a target: every
    micro-batch weighs differently.
    """
    random, vocab = stream(case, "rows"), CASES[case][0]["vocab_size"]
    rows = []
    for _ in range(STEPS_LORA * ROWS_PER_STEP):
        length = int(random.randint(ROW_TOKENS[0], ROW_TOKENS[1] + 1))
        ids = [int(random.randint(0, vocab))]
        for _ in range(length - 1):
            follows = random.randint(0, 4) > 0
            ids.append((7 * ids[-1] + 3) % vocab if follows else int(random.randint(0, vocab)))
        masked = int(random.randint(0, length // 2))
        rows.append({"input_ids": ids, "labels": [-100] * masked + ids[masked:]})
    return rows


def write_rows(path, rows):
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_case(case, folder):
    """folder/model, folder/adapter_init, folder/rows.jsonl; returns the digest of their bytes."""
    folder = Path(folder)
    write_model(case, folder / "model")
    write_adapter(case, folder / "adapter_init")
    write_rows(folder / "rows.jsonl", token_rows(case))
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            digest.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
