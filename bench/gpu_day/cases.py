"""What half A trains, as data: recorded cases, features alone, layouts of two ranks."""

import models

STEPS = 8
FULL = {"adapter": {"method": "none"}, "optimizer.learning_rate": 1e-3}
QLORA = {"adapter.method": "qlora"}
METHODS = {"lora": {}, "qlora": QLORA, "full": FULL}
VARIANTS = {  # recorded too, since they compute something else
    "llama lora dropout": ("llama", {"adapter.dropout": 0.1}),
    "llama full int8": ("llama", {**FULL, "optimizer.state": "int8"}),
    "llama qlora float scales": (
        "llama",
        {**QLORA, "adapter.quantization": {"double_quant": False, "lm_head": True}},
    ),
}
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]


def how_of(family, method):
    """PEFT knows no module of an expert: "all-linear" of such a model is refused."""
    experts = "num_experts" in models.FAMILIES[family] and method != "full"
    return {**METHODS[method], **({"adapter.target_modules": ATTENTION} if experts else {})}


CASES = {
    **{f"{family} {m}": (family, how_of(family, m)) for family in models.FAMILIES for m in METHODS},
    **VARIANTS,
}
LAYER_MAJOR = {"parallel.pipeline_schedule": "layer_major"}
ALONE = {  # feature -> (case, changes)
    "recompute smart": ("llama lora", {"memory.recompute": "smart"}),
    "recompute full": ("llama qlora", {"memory.recompute": "full"}),
    "activations on the host": ("llama lora", {"memory.activations": "host"}),
    "activations on the host, recompute": (
        "llama full",
        {"memory.activations": "host", "memory.recompute": "smart"},
    ),
    "weights on the host": ("llama lora", {"memory.base_weights": "host"}),
    "weights on the host, layer major": (
        "llama qlora",
        {"memory.base_weights": "host", **LAYER_MAJOR},
    ),
    "weights on disk, layer major": ("llama lora", {"memory.base_weights": "disk", **LAYER_MAJOR}),
    "embedding on the host": ("llama lora", {"memory.embedding": "host"}),
    "optimizer on the host": ("llama full", {"optimizer.device": "host"}),
    "layer major": ("qwen2 full", LAYER_MAJOR),
    "int8 moments on the host": ("llama full int8", {"optimizer.device": "host"}),
}
DP, PP = (
    {"train.gradient_accumulation_steps": 1},
    {"train.micro_batch_size": 1, "train.gradient_accumulation_steps": 4},
)
TP = {"parallel.tensor": 2}
TWO = {
    "tp 2": ("qwen2 lora", TP),
    "tp 2 without sequence parallel": ("llama qlora", {**TP, "parallel.sequence_parallel": False}),
    "tp 2 of an odd vocabulary": ("llama-tied full", TP),
    "pp 2": ("llama lora", {**PP, "parallel.pipeline": 2}),
    "pp 2, both ends one matrix": ("llama-tied full", {**PP, "parallel.pipeline": 2}),
    "pp 2 interleaved": (
        "qwen3 qlora",
        {
            **PP,
            "parallel.pipeline": 2,
            "parallel.pipeline_schedule": "interleaved",
            "parallel.chunks_per_stage": 2,
        },
    ),
    "pp 2 gpipe, uneven": (
        "mistral lora",
        {
            **PP,
            "parallel.pipeline": 2,
            "parallel.pipeline_schedule": "gpipe",
            "parallel.layers_per_stage": [3, 1],
        },
    ),
    **{f"dp 2 zero {z}": ("llama full", {**DP, "parallel.zero_stage": z}) for z in range(4)},
    "dp 2 zero 3 of LoRA, weights on the host": (
        "llama qlora",
        {**DP, "parallel.zero_stage": 3, "memory.base_weights": "host"},
    ),
    "dp 2 zero 2, optimizer on the host": (
        "llama full",
        {**DP, "parallel.zero_stage": 2, "optimizer.device": "host"},
    ),
}


def base_config(device):
    return {
        "adapter": {"method": "lora", "r": 8, "alpha": 16, "target_modules": "all-linear"},
        "data": {"sequence_len": 96, "packing": False, "shuffle": False},
        "train": {
            "max_steps": STEPS,
            "micro_batch_size": 2,
            "gradient_accumulation_steps": 2,
            "seed": 5,
        },
        "optimizer": {"learning_rate": 5e-3, "max_grad_norm": 1.0, "weight_decay": 0.01},
        "schedule": {"name": "cosine", "warmup_steps": 1},
        "precision": {"compute": "bf16"},
        "device": device,
    }
