// Which part of the model each piece of a stage's work uses, as a list made from its schedule:
// whoever brings weights or activations ahead of their use reads there what comes next. Pure.
#pragma once

#include <string>
#include <vector>

#include "parallel/pipeline/schedule.h"

namespace fttrain {

// Layers [begin, end) of the model, a chunk of a stage; the model's first run has the embedding
// before them, the last the head after.
struct LayerRun {
  int begin = 0, end = 0;
  bool first = false, last = false;
};

// Parts of a model: its layers by index, and its ends.
constexpr int kEmbeddingPart = -2;
constexpr int kHeadPart = -1;

// A visit is one use of one part by one microbatch. Visits of a part between which no layer is used
// but the part itself (an end: but one layer) are a stretch, as at the turn from forward to
// backward, or where all microbatches go through one layer before the next: what the part needs is
// there from the first to the last of them.
struct Visit {
  using Pass = PipelineStep::Kind;
  int part = 0;
  Pass pass = Pass::kForward;
  int microbatch = 0;
  bool kept = true;                // as the step
  bool first = true, last = true;  // of its stretch
  bool shared = false;             // the stretch has a pass of several microbatches

  bool is_layer() const { return part >= 0; }
};

// The visits of a stage that holds `runs` as its chunks and does `steps`. `embedding_backward`: the
// embedding is trained, so the last backward of a microbatch visits it.
std::vector<Visit> VisitsOf(const std::vector<PipelineStep>& steps,
                            const std::vector<LayerRun>& runs, bool embedding_backward);

// "E.f0 0.f0 (1.f0 (H.f0 H.b0) 1.b0) 0.b0": brackets open at the first visit of a stretch of
// several and close at its last; a star is at the visits of a shared one.
std::string ToString(const std::vector<Visit>& visits);

}  // namespace fttrain
