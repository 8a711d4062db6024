"""The model's folder and its config.json."""

import shutil

from .case import BAD_FILE, MISSING, Case, lfs_pointer, model_config


def missing_model(folder, config):
    shutil.rmtree(folder / "model")


def hub_name_that_is_nowhere(folder, config):
    config["model"]["path"] = "no-such-org/tiny-model"


FOLDER = [
    Case("the model folder is missing", MISSING, missing_model, r"model"),
    Case(
        "a model of the hub is in no cache",
        MISSING,
        hub_name_that_is_nowhere,
        r"no-such-org/tiny-model.*looked in.*hf download no-such-org/tiny-model --local-dir",
    ),
]

CONFIG_JSON = [
    Case(
        "the config is a Git LFS pointer",
        BAD_FILE,
        lfs_pointer("config.json"),
        r"config\.json is a Git LFS pointer",
    ),
    Case(
        "the architecture is unknown",
        BAD_FILE,
        model_config(model_type="mamba", architectures=["MambaForCausalLM"]),
        r"mamba|MambaForCausalLM",
    ),
]


CASES = FOLDER + CONFIG_JSON
