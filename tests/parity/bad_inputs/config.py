"""The config: its text and its keys."""

from .case import AT, MISSING, USAGE, Case, in_turn, keys, model_config, nothing


def without(section):
    return lambda folder, config: config.pop(section)


def fresh_adapter(**values):
    """An adapter that starts from no file."""

    def spoil(folder, config):
        del config["adapter"]["init_from"]
        config["adapter"].update(values)

    return spoil


def source(**values):
    return lambda folder, config: config["data"]["train"][0].update(values)


def too_many_epochs(folder, config):
    del config["train"]["max_steps"]
    config["train"]["num_epochs"] = 1e7


def warmup_beyond_the_epochs(folder, config):
    del config["train"]["max_steps"]
    config["train"]["num_epochs"] = 2
    config["schedule"]["warmup_steps"] = 100


def no_length(folder, config):
    del config["train"]["max_steps"]


def instead(old, new):
    """The config's text with `new` in place of `old`."""

    def change(text):
        if old not in text:
            raise ValueError(f"the config has no {old!r}")
        return text.replace(old, new, 1)

    return change


def text(content):
    return lambda old: content


TEXT = [
    Case("the config is missing", MISSING, nothing, r"/no\.yaml: No such", config_name="no.yaml"),
    Case(
        "the config is a folder", USAGE, nothing, r"model: is a folder, not", config_name="model"
    ),
    Case(
        "the config is empty",
        USAGE,
        nothing,
        r"run\.yaml: is empty: see configs/",
        config_text=text(b""),
    ),
    Case(
        "the config is a list",
        USAGE,
        nothing,
        r"run\.yaml:1: the file must be a map of sections .*not a list",
        config_text=text(b"- model\n"),
    ),
    Case(
        "the config ends in a bracket",
        USAGE,
        nothing,
        r"run\.yaml:\d+: YAML syntax",
        config_text=lambda old: old.rstrip().removesuffix(b"}"),
    ),
    Case(
        "the config is indented with tabs",
        USAGE,
        nothing,
        r"run\.yaml:2: YAML syntax: .*tab: use spaces",
        config_text=text(b"model:\n\tpath: x\n"),
    ),
    Case(
        "the config is nested deeply",
        USAGE,
        nothing,
        r"run\.yaml:1: YAML syntax: nested too deeply",
        config_text=text(b"model: " + b"[" * 3000),
    ),
    Case(
        "the config is not UTF-8",
        USAGE,
        nothing,
        r"run\.yaml:\d+: byte 0xff is not UTF-8",
        config_text=instead(b"cosine", b"cos\xffine"),
    ),
    Case(
        "the config has a control character",
        USAGE,
        nothing,
        r"run\.yaml:\d+: control character 0x1b",
        config_text=instead(b"cosine", b"\x1b[31m"),
    ),
    Case(
        "a key of the config stands twice",
        USAGE,
        nothing,
        AT + r"key 'seed' appears twice, first on line \d+",
        config_text=instead(b'"seed": 5', b'"seed": 5, "seed": 6'),
    ),
]

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
    Case(
        "a learning rate is no number",
        USAGE,
        keys("optimizer", learning_rate=float("nan")),
        AT + r"'optimizer\.learning_rate' must be a finite number, not 'NaN'",
    ),
    Case(
        "a number is quoted",
        USAGE,
        keys("train", seed="5"),
        AT + r"""'train\.seed' must be a whole number, not "5": remove the quotes""",
    ),
    Case(
        "a number is beyond 32 bits",
        USAGE,
        keys("data", sequence_len=5_000_000_000),
        AT + r"'data\.sequence_len' is too large: '5000000000'",
    ),
    Case(
        "a share is one",
        USAGE,
        keys("optimizer", beta2=1.0),
        AT + r"'optimizer\.beta2' must be .*below 1",
    ),
    Case(
        "a switch is a number",
        USAGE,
        keys("data", shuffle=1),
        AT + r"'data\.shuffle' must be true or false, not '1'",
    ),
    Case(
        "a section is a word",
        USAGE,
        lambda folder, config: config.update(adapter="lora"),
        AT + r"'adapter' is a section: write adapter: \{method: lora\}",
    ),
    Case(
        "a path is a list",
        USAGE,
        keys("model", path=["a"]),
        AT + r"'model\.path' must be a single value, not a list",
    ),
    Case(
        "a key has another program's name",
        USAGE,
        keys("adapter", lora_alpha=8),
        AT + r"'lora_alpha' is adapter\.alpha here",
    ),
    Case(
        "there is no model", USAGE, without("model"), r"'model\.path' is missing: the folder of a"
    ),
    Case("there is no output folder", USAGE, without("output_dir"), r"'output_dir' is missing"),
    Case(
        "there are no data",
        USAGE,
        keys("data", train=[]),
        AT + r"'data\.train' is missing or empty: write train: \[\{path: FILE\}\]",
    ),
    Case(
        "a length is missing",
        USAGE,
        no_length,
        AT + r"'train\.max_steps' or 'train\.num_epochs' is missing",
    ),
    Case(
        "there are two lengths",
        USAGE,
        keys("train", num_epochs=1),
        AT + r"'train\.max_steps' and 'train\.num_epochs' exclude each other: remove one",
    ),
    Case("too many epochs", USAGE, too_many_epochs, AT + r".*num_epochs.*below 1e\+06"),
    Case(
        "the warm-up is longer than the steps",
        USAGE,
        keys("schedule", warmup_steps=4),
        AT + r"'schedule\.warmup_steps' 4 exceeds train\.max_steps 3",
    ),
    Case(
        "the warm-up is longer than the epochs",
        USAGE,
        warmup_beyond_the_epochs,
        AT + r".*warmup_steps' 100 is more than .* \d+ steps \(train\.num_epochs 2 = ",
    ),
    Case(
        "held-out rows are said twice",
        USAGE,
        keys("data", eval=[{"path": "rows.jsonl"}], eval_fraction=0.1),
        AT + r"'data\.eval_fraction' and 'data\.eval' both say what is held out: remove one",
    ),
    Case(
        "evaluations of nothing",
        USAGE,
        keys("train", eval_steps=2),
        AT + r"'train\.eval_steps' needs something to evaluate: give data\.eval",
    ),
    Case(
        "a day that never was",
        USAGE,
        keys("data", date="2024-02-30"),
        AT + r"'data\.date' must be a day written YYYY-MM-DD, not '2024-02-30'",
    ),
    Case(
        "prompts are learnt in each turn's example",
        USAGE,
        keys("data", turns="each", train_on="prompt"),
        AT + r"'data\.turns' each .*'data\.train_on' prompt.*again: choose one of the two",
    ),
    Case(
        "a field that the rows' format lacks",
        USAGE,
        source(fields={"messages": "dialog"}),
        r"data\.train\[0\]\.fields: 'messages' is no key of format tokens: its are .*input_ids",
    ),
    Case(
        "a template that nobody knows",
        USAGE,
        in_turn(source(format="messages"), keys("data", chat_template="chatlm")),
        r"data\.chat_template: there is no chat template chatlm: auto, .*chatml",
    ),
    Case(
        "what may change is misspelt",
        USAGE,
        keys("train", allow_changed=["optimizer.learning_rat"]),
        AT + r"'train\.allow_changed': 'optimizer\.learning_rat' .*'optimizer\.learning_rate'\?",
    ),
    Case(
        "a module stands twice",
        USAGE,
        keys("adapter", target_modules=["q_proj", "q_proj"]),
        AT + r"'adapter\.target_modules' has 'q_proj' twice",
    ),
    Case(
        "a module that the model lacks",
        USAGE,
        fresh_adapter(target_modules=["q_proj", "c_attn"]),
        r"adapter: target_modules c_attn is no linear module .*choose from q_proj, k_proj",
    ),
    Case(
        "a layer that the model lacks",
        USAGE,
        fresh_adapter(layers_to_transform=[1, 3]),
        r"adapter: layers_to_transform 3: the model has 3 layers, the first is 0",
    ),
    Case(
        "a regular expression is broken",
        USAGE,
        fresh_adapter(target_modules="(q_proj"),
        r"adapter: .*\(q_proj",
    ),
    Case(
        "a rank where all weights are trained",
        USAGE,
        lambda folder, config: config.update(adapter={"method": "none", "r": 4}),
        AT + r"'adapter\.r' has no meaning with adapter\.method none",
    ),
    Case(
        "four bits without qlora",
        USAGE,
        keys("adapter", quantization={"type": "nf4"}),
        AT + r"'adapter\.quantization' needs adapter\.method qlora",
    ),
    Case(
        "a block that is no power of two",
        USAGE,
        keys("adapter", method="qlora", quantization={"block_size": 96}),
        AT + r"'adapter\.quantization\.block_size' must be a power of two, not 96",
    ),
    Case(
        "an example is longer than the model's positions",
        USAGE,
        model_config(max_position_embeddings=8),
        r"max_position_embeddings 8",
    ),
]


CASES = TEXT + KEYS
