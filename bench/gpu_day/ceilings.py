"""What the card can do: copies within it and over the bus, and products of bfloat16 matrices.
Prints one JSON line."""

import json

import torch


def seconds(body, sets):
    """Of one call: events around twenty or more, going through `sets` sets of tensors; the median
    of five."""
    calls = max(20, sets)
    for i in range(sets):
        body(i)
    times = []
    for _ in range(5):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for i in range(calls):
            body(i % sets)
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) * 1e-3 / calls)
    return sorted(times)[2]


def main():
    megabytes, found = 256, {}
    tensors = [
        torch.empty(megabytes << 19, dtype=torch.bfloat16, device="cuda").normal_()
        for _ in range(4)
    ]
    size = tensors[0].nbytes
    found["copy_gb_s"] = 2e-9 * size / seconds(lambda i: tensors[i].copy_(tensors[i - 1]), 4)
    host = torch.empty(size // 2, dtype=torch.bfloat16, pin_memory=True)
    found["host_to_device_gb_s"] = (
        1e-9 * size / seconds(lambda i: tensors[i].copy_(host, non_blocking=True), 2)
    )
    found["device_to_host_gb_s"] = (
        1e-9 * size / seconds(lambda i: host.copy_(tensors[i], non_blocking=True), 2)
    )
    for tokens, inner, outer in ((8192, 8192, 8192), (4096, 4096, 14336), (2048, 4096, 4096)):
        a = [torch.randn(tokens, inner, dtype=torch.bfloat16, device="cuda") for _ in range(4)]
        b = [torch.randn(outer, inner, dtype=torch.bfloat16, device="cuda") for _ in range(4)]
        time = seconds(lambda i: a[i] @ b[i].T, 4)
        found[f"gemm_{tokens}x{inner}x{outer}_tflop_s"] = 2e-12 * tokens * inner * outer / time
    print(json.dumps({name: float(f"{value:.4g}") for name, value in found.items()}))


if __name__ == "__main__":
    main()
