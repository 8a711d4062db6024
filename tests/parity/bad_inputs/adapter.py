"""The PEFT adapter that a run starts from."""


from .case import BAD_FILE, Case, keys

CONFIG, TENSORS = "adapter_init/adapter_config.json", "adapter_init/adapter_model.safetensors"


CASES = [
    Case(
        "the adapter to start from has another rank",
        BAD_FILE,
        keys("adapter", r=9),
        r"\b9\b.*\b4\b|\b4\b.*\b9\b",
    ),
]
