// How well a program uses a card: what the time of a step (step_time.h) assumes of its kernels. The
// defaults are this program's.
#pragma once

namespace fttrain {

struct Efficiencies {
  double streaming = 0.90;       // of the card's bandwidth, kernels that only read and write
  double dequantize = 0.85;      // of it, NF4 to bf16
  double launch_seconds = 0;     // in which the card waits for the program, of a layer each way
  bool fused = true;             // norms, residuals, rotary and adapters read what they must once
  bool logits_in_parts = true;   // else the head writes and reads logits of all rows in float32
  bool gathers_once = false;     // ZeRO 3 gathers a layer once each way of a step in any schedule
  double hidden_transfers = 0.9; // share of a pipeline's messages that passes while stages compute
};

// As the stack of transformers, PEFT and bitsandbytes: adapters by products of their own, kernels
// one after another, every weight read out by a slower kernel.
Efficiencies PeftLikeEfficiencies();

}  // namespace fttrain
