"""capped.py MIB COMMAND ...: runs a command while a card has no more than so much free memory; the
rest is held here."""

import subprocess
import sys

import torch


def main():
    wanted = int(sys.argv[1]) << 20
    torch.zeros(1, device="cuda")
    free, _ = torch.cuda.mem_get_info()
    if free < wanted:
        sys.exit(f"the card has {free >> 20} MiB free, not {sys.argv[1]}")
    held = torch.empty(free - wanted, dtype=torch.uint8, device="cuda")
    free, _ = torch.cuda.mem_get_info()
    print(f"capped: {held.numel() >> 20} MiB held, {free >> 20} MiB free", flush=True)
    sys.exit(subprocess.run(sys.argv[2:]).returncode)


if __name__ == "__main__":
    main()
