"""beside_peft.py MODEL TOKENS ...: steps of transformers + PEFT, LoRA of rank 16 on every linear.
Prints one JSON line {tokens: seconds}."""

import json
import sys
import time

import peft
import torch
import transformers


def main():
    model = transformers.AutoModelForCausalLM.from_pretrained(
        sys.argv[1], dtype=torch.bfloat16
    ).cuda()
    model.config.use_cache = False
    lora = peft.LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    model = peft.get_peft_model(model, lora).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)
    found = {}
    for tokens in map(int, sys.argv[2:]):
        ids = torch.randint(0, model.config.vocab_size, (1, tokens), device="cuda")
        times = []
        for _ in range(6):
            start = time.perf_counter()
            loss = model(input_ids=ids, labels=ids).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            loss.item()
            torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        found[tokens] = sorted(times[2:])[1]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
