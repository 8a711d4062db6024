"""stage_of_70b.py FTTRAIN CONFIG FOLDER: an NF4 folder of a model of that config.json.

One random layer is quantised by `fttrain quantize`; the others are that one under their own names.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import torch

import models


def main():
    fttrain, folder = sys.argv[1], Path(sys.argv[3])
    config, one = json.loads(Path(sys.argv[2]).read_text()), folder.with_name("stage-one-layer")
    layers = config["num_hidden_layers"]
    models.write_model(
        one,
        {**config, "num_hidden_layers": 1},
        device="cuda" if torch.cuda.is_available() else "cpu",
    )
    quantised = folder.with_name("stage-quantised")
    subprocess.run([fttrain, "quantize", f"--model={one}", f"--output={quantised}"], check=True)
    folder.mkdir()
    written = json.loads((quantised / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**written, "num_hidden_layers": layers}))
    files = {}
    for source in sorted(quantised.glob("*.safetensors")):
        for layer in range(layers):
            target = f"layer-{layer}-{source.name}"

            def rename(name, layer=layer):
                if "layers.0." not in name:
                    return name if layer == 0 else None
                return name.replace("layers.0.", f"layers.{layer}.")

            files[target] = models.renamed_copy(source, folder / target, rename)
    models.write_index(folder, files)
    shutil.rmtree(one)
    shutil.rmtree(quantised)


if __name__ == "__main__":
    main()
