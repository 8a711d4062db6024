"""The model's folder and its config.json."""

import os
import shutil

from .case import BAD_FILE, MISSING, USAGE, Case, lfs_pointer, model_config, remove, replaced, write

CONFIG = "model/config.json"


def missing_model(folder, config):
    shutil.rmtree(folder / "model")


def hub_name_that_is_nowhere(folder, config):
    config["model"]["path"] = "no-such-org/tiny-model"


def link_to_itself(name):
    def spoil(folder, config):
        (folder / name).unlink()
        os.symlink((folder / name).name, folder / name)

    return spoil


FOLDER = [
    Case("the model folder is missing", MISSING, missing_model, r"model"),
    Case(
        "a model of the hub is in no cache",
        MISSING,
        hub_name_that_is_nowhere,
        r"no-such-org/tiny-model.*looked in.*hf download no-such-org/tiny-model --local-dir",
    ),
    Case(
        "the model folder is a file",
        USAGE,
        lambda folder, config: config["model"].update(path=str(folder / CONFIG)),
        r"model\.path .*config\.json is a file: give the model's folder",
    ),
]

CONFIG_JSON = [
    Case("config.json is missing", MISSING, remove(CONFIG), r"model/config\.json"),
    Case(
        "the config is a Git LFS pointer",
        BAD_FILE,
        lfs_pointer("config.json"),
        r"config\.json is a Git LFS pointer",
    ),
    Case(
        "config.json is a link to itself",
        BAD_FILE,
        link_to_itself(CONFIG),
        r"cannot open .*config\.json: Too many levels of symbolic links",
    ),
    Case("config.json is empty", BAD_FILE, write(CONFIG, ""), r"config\.json: .*line 1, column 1"),
    Case("config.json is a list", BAD_FILE, write(CONFIG, "[]"), r"config\.json: not a JSON obj"),
    Case(
        "config.json is not UTF-8",
        BAD_FILE,
        replaced(CONFIG, b'"llama"', b'"ll\xffama"'),
        r"config\.json: .*line \d+, column \d+.*UTF-8",
    ),
    Case(
        "config.json has a NUL",
        BAD_FILE,
        replaced(CONFIG, b'"llama"', b'"llama"\0'),
        r"config\.json: byte \d+: NUL in JSON text",
    ),
    Case(
        "config.json has a key twice",
        BAD_FILE,
        replaced(CONFIG, b'"llama"', b'"llama", "model_type": "mistral"'),
        r"config\.json: key 'model_type' appears twice",
    ),
    Case(
        "config.json is nested deeply",
        BAD_FILE,
        replaced(CONFIG, b'"llama"', b'"llama", "x": ' + b"[" * 100_000),
        r"config\.json: nested deeper than 32",
    ),
    Case(
        "the architecture is unknown",
        BAD_FILE,
        model_config(model_type="mamba", architectures=["MambaForCausalLM"]),
        r"mamba|MambaForCausalLM",
    ),
    Case(
        "the architecture is another family's",
        BAD_FILE,
        model_config(architectures=["Qwen2ForCausalLM"]),
        r"config\.json: 'architectures' is .*Qwen2ForCausalLM.*of llama only LlamaForCausalLM",
    ),
    Case(
        "a size is text",
        BAD_FILE,
        model_config(hidden_size="64"),
        r"config\.json: 'hidden_size' must be an integer",
    ),
    Case(
        "a size is missing",
        BAD_FILE,
        model_config(intermediate_size=None),
        r"config\.json: 'intermediate_size' is missing",
    ),
    Case(
        "a size is negative",
        BAD_FILE,
        model_config(vocab_size=-1),
        r"config\.json: 'vocab_size' is -1, must be in \[1, 2\^31\)",
    ),
    Case(
        "a size that no machine holds",
        BAD_FILE,
        model_config(vocab_size=2_000_000_000),
        r"/model: tensors do not fit: 2 of wrong shape or dtype: "
        r"model\.embed_tokens\.weight \[512, 64\] for \[2000000000, 64\], lm_head",
    ),
    Case(
        "there are too many layers",
        BAD_FILE,
        model_config(num_hidden_layers=2_147_483_647),
        r"config\.json: 'num_hidden_layers' exceeds 10000",
    ),
    Case(
        "heads that the key-value heads do not divide",
        BAD_FILE,
        model_config(num_key_value_heads=3),
        r"config\.json: 'num_key_value_heads' is 3, must divide num_attention_heads 8",
    ),
    Case(
        "an activation is unknown",
        BAD_FILE,
        model_config(hidden_act="gelu"),
        r"config\.json: 'hidden_act' 'gelu' is not supported \(silu and gelu_pytorch_tanh are\)",
    ),
    Case(
        "a rotary embedding is unknown",
        BAD_FILE,
        model_config(rope_scaling={"rope_type": "longrope"}),
        r"config\.json: rope_scaling: 'rope_type' 'longrope' is not supported \(default, linear",
    ),
    Case(
        "the weights are quantised otherwise",
        BAD_FILE,
        model_config(quantization_config={"quant_method": "gptq", "bits": 4}),
        r"quantization_config: 'quant_method' 'gptq' is not supported.*unquantized model",
    ),
    Case(
        "the text's end is beyond the vocabulary",
        BAD_FILE,
        model_config(eos_token_id=512),
        r"config\.json: 'eos_token_id' is 512, vocab_size is 512",
    ),
    Case(
        "a layer more than the files have",
        BAD_FILE,
        model_config(num_hidden_layers=4),
        r"/model: tensors do not fit: 9 missing: model\.layers\.3\.",
    ),
    Case(
        "a layer less than the files have",
        BAD_FILE,
        model_config(num_hidden_layers=2),
        r"/model: tensors do not fit: 9 unexpected: model\.layers\.2\.",
    ),
]


CASES = FOLDER + CONFIG_JSON
