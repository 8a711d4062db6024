// How long a pipeline's stage works on a microbatch, and at a step's end: counts by the rates of
// its card, what is sent and copied by its links. What passes beside the work costs only what it
// takes longer. Pure.
#pragma once

#include <vector>

#include "launch/plan/counts.h"
#include "launch/plan/links.h"

namespace fttrain {

// Seconds, by what takes them; nothing is in two parts.
struct Parts {
  double work = 0;       // products, attention, and gaps between layers
  double streaming = 0;  // kernels that only read and write
  double dequantize = 0;
  double recompute = 0;  // whatever is done again
  double communication = 0;
  double host_copies = 0;
  double optimizer = 0;
  double Total() const {
    return work + streaming + dequantize + recompute + communication + host_copies + optimizer;
  }
};
Parts operator+(const Parts& a, const Parts& b);
Parts operator*(double times, const Parts& parts);

// What all stages of a layout share.
struct StepCounts {
  std::vector<LayerCounts> layers;
  std::vector<GroupBytes> bytes;  // of layers
  Counts head;
  LayerCounts embedding;
  GroupBytes head_bytes, embedding_bytes;
  int microbatches = 1;
  // Of those, how many pass a layer before the next: they share what is brought for it.
  int together = 1;
};
StepCounts CountStep(const Task& task, const Layout& layout, const Efficiencies& efficiencies);

struct StageTime {
  std::vector<Parts> forward, backward;  // of each chunk, of a microbatch
  Parts end;                             // after the last backward
};
// Of a stage whose ranks have `card`. `counts`: CountStep's.
StageTime TimeOfStage(int stage, const Task& task, const Layout& layout, const StepCounts& counts,
                      const Card& card, const Links& links, const Efficiencies& efficiencies);

}  // namespace fttrain
