"""The config: its text and its keys."""

from .case import AT, USAGE, Case, keys, model_config


def too_many_epochs(folder, config):
    del config["train"]["max_steps"]
    config["train"]["num_epochs"] = 1e7


def warmup_beyond_the_epochs(folder, config):
    del config["train"]["max_steps"]
    config["train"]["num_epochs"] = 2
    config["schedule"]["warmup_steps"] = 100


KEYS = [
    Case(
        "a config key is misspelt",
        USAGE,
        keys("train", max_step=3),
        AT + r".*max_step\b.*max_steps",
    ),
    Case("a method is unknown", USAGE, keys("adapter", method="dora"), AT + r".*dora.*qlora"),
    Case(
        "a learning rate is negative",
        USAGE,
        keys("optimizer", learning_rate=-1.0),
        AT + r".*learning_rate",
    ),
    Case("too many epochs", USAGE, too_many_epochs, AT + r".*num_epochs.*below 1e\+06"),
    Case(
        "the warm-up is longer than the epochs",
        USAGE,
        warmup_beyond_the_epochs,
        AT + r".*warmup_steps' 100 is more than .* \d+ steps \(train\.num_epochs 2 = ",
    ),
    Case(
        "an example is longer than the model's positions",
        USAGE,
        model_config(max_position_embeddings=8),
        r"max_position_embeddings 8",
    ),
]


CASES = KEYS
