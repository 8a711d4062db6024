#include "parallel/pipeline/visits.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace fttrain {
namespace {

using Pass = Visit::Pass;

void AddForward(const LayerRun& run, int microbatch, bool kept, std::vector<Visit>& visits) {
  if (run.first) visits.push_back({kEmbeddingPart, Pass::kForward, microbatch, kept});
  for (int layer = run.begin; layer < run.end; ++layer) {
    visits.push_back({layer, Pass::kForward, microbatch, kept});
  }
  if (run.last) visits.push_back({kHeadPart, Pass::kForward, microbatch, kept});
}

void AddBackward(const LayerRun& run, int microbatch, bool embedding_backward,
                 std::vector<Visit>& visits) {
  if (run.last) visits.push_back({kHeadPart, Pass::kBackward, microbatch});
  for (int layer = run.end; layer-- > run.begin;) {
    visits.push_back({layer, Pass::kBackward, microbatch});
  }
  if (run.first && embedding_backward) {
    visits.push_back({kEmbeddingPart, Pass::kBackward, microbatch});
  }
}

constexpr size_t kNone = static_cast<size_t>(-1);

// The visit before visit i in its stretch.
size_t Previous(const std::vector<Visit>& visits, size_t i) {
  int between = visits[i].is_layer() ? visits[i].part : kEmbeddingPart;  // the one layer allowed
  for (size_t j = i; j-- > 0;) {
    if (visits[j].part == visits[i].part) return j;
    if (!visits[j].is_layer()) continue;
    if (between == kEmbeddingPart) between = visits[j].part;
    if (visits[j].part != between) return kNone;
  }
  return kNone;
}

// Microbatches of each pass in a stretch.
struct Stretch {
  int forward = 0, backward = 0;
};

std::string NameOf(const Visit& visit) {
  const std::string part = visit.part == kEmbeddingPart ? "E"
                           : visit.part == kHeadPart    ? "H"
                                                        : absl::StrCat(visit.part);
  return absl::StrCat(part, visit.pass == Pass::kForward ? ".f" : ".b", visit.microbatch);
}

}  // namespace

std::vector<Visit> VisitsOf(const std::vector<PipelineStep>& steps,
                            const std::vector<LayerRun>& runs, bool embedding_backward) {
  std::vector<Visit> visits;
  for (const PipelineStep& step : steps) {
    const LayerRun& run = runs.at(static_cast<size_t>(step.chunk));
    for (const int microbatch : step.microbatches) {
      if (step.kind == PipelineStep::Kind::kBackward) {
        AddBackward(run, microbatch, embedding_backward, visits);
      } else {
        AddForward(run, microbatch, step.kept, visits);
      }
    }
  }
  std::vector<Stretch> stretches;
  std::vector<size_t> stretch_of(visits.size());
  for (size_t i = 0; i < visits.size(); ++i) {
    const size_t previous = Previous(visits, i);
    visits[i].first = previous == kNone;
    if (previous != kNone) visits[previous].last = false;
    stretch_of[i] = previous == kNone ? stretches.size() : stretch_of[previous];
    if (previous == kNone) stretches.emplace_back();
    Stretch& stretch = stretches[stretch_of[i]];
    ++(visits[i].pass == Pass::kForward ? stretch.forward : stretch.backward);
  }
  for (size_t i = 0; i < visits.size(); ++i) {
    const Stretch& stretch = stretches[stretch_of[i]];
    visits[i].shared = std::max(stretch.forward, stretch.backward) > 1;
  }
  return visits;
}

std::string ToString(const std::vector<Visit>& visits) {
  std::string text;
  for (const Visit& visit : visits) {
    absl::StrAppend(&text, text.empty() ? "" : " ", visit.first && !visit.last ? "(" : "",
                    visit.shared ? "*" : "", NameOf(visit), !visit.first && visit.last ? ")" : "");
  }
  return text;
}

}  // namespace fttrain
