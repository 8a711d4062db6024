"""The arithmetic of ranks, heads, layers and microbatches."""

from .case import AT, USAGE, Case, in_turn, keys, model_config, nothing

CASES = [
    Case(
        "tensor parallel 3 does not divide 8 heads",
        USAGE,
        keys("parallel", tensor=3),
        r"\b3\b.*heads.*\b8\b|heads.*\b8\b.*\b3\b",
        ranks=3,
    ),
    Case(
        "3 ranks are not a multiple of tensor parallel 2",
        USAGE,
        nothing,
        r"\b3\b.*\b2\b|\b2\b.*\b3\b",
        ranks=3,
    ),
    Case(
        "1 rank, but tensor parallel 2", USAGE, nothing, r"\b1\b.*\b2\b|\b2\b.*\b1\b", ranks=1
    ),
    Case(
        "a tensor and a pipeline axis, 2 ranks",
        USAGE,
        keys("parallel", pipeline=2),
        AT + r".*tensor 2 x parallel\.pipeline 2 = 4 must divide the number of ranks, 2; "
        r"use 'mpirun -np 4 fttrain .*' \(1 replica\) or parallel\.tensor 1 on these 2 ranks",
    ),
    Case(
        "tensor parallel 2 does not divide the MLP",
        USAGE,
        model_config(intermediate_size=111),
        r"parallel\.tensor 2 .*intermediate size 111 / 2 leaves 1\. Sizes that fit: 1$",
    ),
    Case(
        "tensor parallel 2 and three key-value heads",
        USAGE,
        model_config(num_attention_heads=6, num_key_value_heads=3, head_dim=8),
        r"neither 3 key-value heads / 2 nor 2 / 3 is whole\. Sizes that fit: 1$",
    ),
    Case(
        "more runs of layers than layers",
        USAGE,
        keys(
            "parallel",
            tensor=1,
            pipeline=2,
            pipeline_schedule="interleaved",
            chunks_per_stage=2,
        ),
        r"pipeline 2 x chunks_per_stage 2 = 4 runs of layers, but the model has only 3 layers",
    ),
    Case(
        "chunks without the interleaved schedule",
        USAGE,
        keys("parallel", tensor=1, pipeline=2, chunks_per_stage=2),
        AT + r"'parallel\.chunks_per_stage' 2 is for .*interleaved, not 1f1b",
    ),
    Case(
        "an odd number of interleaved microbatches",
        USAGE,
        in_turn(
            model_config(num_hidden_layers=4),
            keys("train", gradient_accumulation_steps=3),
            keys(
                "parallel",
                tensor=1,
                pipeline=2,
                pipeline_schedule="interleaved",
                chunks_per_stage=2,
            ),
        ),
        r"groups of 2 \(stages\), and 3 is no multiple.*gradient_accumulation_steps to 4",
    ),
    Case(
        "layers for one stage of two",
        USAGE,
        keys("parallel", tensor=1, pipeline=2, layers_per_stage=[3]),
        AT + r"'parallel\.layers_per_stage' has 1 numbers, but .* = 2 runs of layers",
    ),
    Case(
        "layers that do not add up",
        USAGE,
        keys("parallel", tensor=1, pipeline=2, layers_per_stage=[1, 1]),
        r"parallel\.layers_per_stage.*\b2\b.*\b3\b",
    ),
    Case(
        "layer by layer over a pipeline",
        USAGE,
        keys("parallel", tensor=1, pipeline=2, pipeline_schedule="layer_major"),
        AT + r"'parallel\.pipeline_schedule' layer_major .*use 1f1b or interleaved",
    ),
    Case(
        "a microbatch of too many tokens",
        USAGE,
        in_turn(keys("train", micro_batch_size=100_000), keys("data", sequence_len=100_000)),
        AT + r".*100000 x data\.sequence_len 100000 = 10000000000 tokens exceeds 2147483647",
    ),
    Case(
        "a tied table on the host",
        USAGE,
        in_turn(model_config(tie_word_embeddings=True), keys("memory", embedding="host")),
        r"'memory\.embedding' host: this model's embedding table is also its output head",
    ),
]
