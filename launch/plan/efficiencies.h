// How well a program uses a card: what the time of a step (step_time.h) assumes of its kernels. The
// defaults are this program's on a GPU.
#pragma once

namespace fttrain {

struct Efficiencies {
  // Shares of a card's bandwidth.
  double streaming = 0.90;   // kernels that only read and write
  double dequantize = 0.85;  // NF4 to bf16
  // Of dequantising, beside products: while one matrix is multiplied the next is expanded
  // (model/nf4/ahead.h), which takes some of the card all the same.
  double dequantize_hidden = 0.7;
  double launch_seconds = 0;          // that a card waits for the program, of a layer each way
  double issue_seconds = 5e-6;        // assumed of a host, to launch a kernel: experts have many
  double collective_seconds = 30e-6;  // of any collective, before its bytes
  // Copies and collectives of other streams pass while a card computes. On a CPU the same cores do
  // both.
  bool beside = true;

  // What other stacks do otherwise.
  bool fused = true;                // adapters' products add to their linear's; norms take the sum
  bool logits_in_parts = true;      // else logits of all rows are written and read in float32
  bool whole_layers_again = false;  // recompute repeats a layer's last product too
};

}  // namespace fttrain
