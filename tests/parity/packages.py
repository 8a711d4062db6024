"""transformers and the packages it trains with, quiet and offline; without them the program says what to do."""

import os
import sys

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["HF_HUB_OFFLINE"] = "1"
# bitsandbytes compiles its CPU kernel anew for every shape, which takes longer than all that tests compute with it.
os.environ["TORCHDYNAMO_DISABLE"] = "1"

try:
    import bitsandbytes
    import peft
    import safetensors.torch
    import torch
    import transformers
except ImportError as missing:
    sys.exit(
        f"{missing}: run launch/setup.sh --with-tests, or configure with -DFTTRAIN_PYTHON=PROGRAM"
    )
