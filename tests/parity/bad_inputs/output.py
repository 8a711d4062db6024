"""Where a run's results and its frozen weights go."""

from pathlib import Path

from .case import CANNOT_CREATE, CANNOT_WRITE, USAGE, Case


def output_is_a_file(folder, config):
    Path(config["output_dir"]).write_text("")


def large_adapter(folder, config):
    config["adapter"].update(r=64)
    del config["adapter"]["init_from"]
    config["train"]["disk_full_wait"] = 0


def frozen_weights_on_disk(folder, config):
    config["parallel"].update(tensor=1)  # half a layer would fit
    config["memory"] = {"base_weights": "disk"}


def scratch_folder_below_a_file(folder, config):
    frozen_weights_on_disk(folder, config)
    config["memory"]["scratch_folder"] = str(folder / "rows.jsonl" / "scratch")


def model_among_the_results(folder, config):
    config["output_dir"] = str(folder)


# No file may grow beyond 64 KiB: what a full disk is to a program that writes 700 KiB.
FULL_DISK = ("--mca", "btl", "self,tcp")  # shared memory is a file too
FULL_DISK += ("bash", "-c", 'trap "" XFSZ; ulimit -f 64; exec "$@"', "bash")

CASES = [
    Case("the output folder is a file", CANNOT_CREATE, output_is_a_file, r"/out\b"),
    Case(
        "the model is a result that would move",
        USAGE,
        model_among_the_results,
        r"model\.path .*/model is a result in output_dir .*choose another output_dir",
    ),
    Case(
        "the disk is full when the adapter is written",
        CANNOT_WRITE,
        large_adapter,
        r"adapter_model\.safetensors.*|.*/adapter\b",
        wrapper=FULL_DISK,
    ),
    Case(
        "the disk is full when the frozen weights go there",
        CANNOT_WRITE,
        frozen_weights_on_disk,
        r"memory\.base_weights disk: .*bytes in .*/out\b.*File too large.*scratch_folder",
        wrapper=FULL_DISK,
    ),
    Case(
        "the folder for frozen weights cannot be made",
        CANNOT_WRITE,
        scratch_folder_below_a_file,
        r"memory\.scratch_folder .*rows\.jsonl/scratch: .*Not a directory",
    ),
]
