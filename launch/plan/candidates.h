// The layouts of a task that a rig could run, as a list: every cut of the model over the cards,
// with those levers of memory that it may need, and the time of a step. Pure.
#pragma once

#include <string>
#include <vector>

#include "launch/plan/footprint.h"
#include "launch/plan/search_space.h"
#include "launch/plan/step_time.h"

namespace fttrain {

struct Candidate {
  Layout layout;
  MomentStorage moments = MomentStorage::kGradientDtype;
  std::vector<RankBytes> estimate = {};  // by stage, without what no ledger sees
  double fullness = 0;                   // by the estimate, of the fullest stage or host; 1: full
  StepTime time = {};                    // without its stages
  // Seconds of a step, in which a lever counts half a percent: it must pay for being there.
  double cost = 0;
};

// Of each host's memory, on a rig of equal hosts over which all stages' ranks are spread.
double HostBytes(const MeshShape& mesh, const std::vector<RankBytes>& by_stage, const Rig& rig);

struct Candidates {
  // The cheapest first. Left out are those that need far more than there is, and, of those that
  // surely fit, what pulls levers without need.
  std::vector<Candidate> all;
  std::vector<Candidate> smallest;  // of each mesh that which is least full
};
Candidates MakeCandidates(const SearchSpace& space);

}  // namespace fttrain
