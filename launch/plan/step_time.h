// How long a step of a task takes in a layout on a rig, by arithmetic: products by the rate of the
// card, what moves by the bandwidth of what it moves through, and the pipeline's schedule played
// through. Pure.
#pragma once

#include <string>
#include <vector>

#include "launch/plan/efficiencies.h"
#include "launch/plan/layout.h"
#include "launch/plan/rig.h"

namespace fttrain {

// One visit of a stage in time, for a chart.
struct StageSpan {
  bool forward = true;
  int chunk = 0, microbatch = 0;
  double begin = 0, end = 0;  // seconds from the step's begin
};

struct StepTime {
  double seconds = 0;
  double tokens = 0;  // of a step, all replicas
  // Shares of the step, of the stage that is busy longest: what is left to 1 is products and
  // attention that no lever takes away, and kernels that only read and write.
  double bubble = 0;         // waiting for other stages
  double communication = 0;  // collectives and transfers that nothing hides
  double dequantize = 0;     // NF4 to bf16, that nothing hides
  double recompute = 0;
  double host_copies = 0;  // streamed weights, activations, optimizer state; that nothing hides
  double optimizer = 0;
  double mfu = 0;     // useful products and attention over the cards' peaks
  std::string bound;  // what most of the step waits for, in words: "products of the cards", ...
  std::vector<std::vector<StageSpan>> stages;  // of one replica's stages; also of a single one
  double TokensPerSecond() const { return seconds > 0 ? tokens / seconds : 0; }
};

// `layout.mesh.world_size()` is the rig's number of cards, rank by rank. Rows are full. A layout
// that CheckLayout refuses, and one whose rows do not divide (StepShapeOf), is a bug of the caller.
StepTime TimeOf(const Task& task, const Layout& layout, const Rig& rig,
                const Efficiencies& efficiencies = {});

}  // namespace fttrain
