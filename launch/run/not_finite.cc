#include "launch/run/not_finite.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace fttrain {
namespace {

constexpr int64_t kNothing = std::numeric_limits<int64_t>::min();

bool IsFinite(const at::Tensor& values) { return at::isfinite(values).all().item<bool>(); }

int RankOf(const Mesh& mesh) { return IndexIn(mesh.shape(), mesh.position(), kAllAxes); }

// A place in a step that sorts as the model computes: embedding, layers, head, microbatch by
// microbatch.
struct StepPlace {
  int64_t microbatch = 0, part = 0, rank = 0;
};

int64_t PartsOf(const Network& network) { return network.task.model.num_layers() + 2; }

// Larger for what comes first.
int64_t Code(const StepPlace& place, const Network& network) {
  const int64_t world = network.mesh->shape().world_size();
  return -((place.microbatch * PartsOf(network) + place.part) * world + place.rank);
}

StepPlace StepPlaceOf(int64_t code, const Network& network) {
  const int64_t world = network.mesh->shape().world_size(), at = -code / world;
  return {at / PartsOf(network), at % PartsOf(network), -code % world};
}

std::string PartText(int64_t part, const Network& network) {
  if (part == 0) return "the embedding";
  if (part == PartsOf(network) - 1) return "the loss";
  return absl::StrCat("layer ", part - 1);
}

// The rows of a microbatch, as files and lines.
std::string RowsText(Job& job, int64_t step, const StepPlace& place) {
  constexpr size_t kMost = 8;
  const Network& network = *job.network;
  const MeshShape& shape = network.mesh->shape();
  const int dp = IndexIn(shape, PositionOfRank(shape, static_cast<int>(place.rank)), kDataAxes);
  const Microbatch rows = job.rows->TrainMicrobatch(step, StepShapeOf(network.task, network.layout),
                                                    place.microbatch, dp);
  std::vector<std::string> sources;
  for (const int64_t example : rows.examples) {
    sources.push_back(job.rows->examples().SourceOf(static_cast<size_t>(example)));
  }
  const size_t all = sources.size();
  sources.resize(std::min(all, kMost));
  return absl::StrCat(absl::StrJoin(sources, ", "),
                      all > kMost ? absl::StrCat(" and ", all - kMost, " more") : "");
}

// The place of this rank's first output that is not finite.
int64_t FirstOutput(Job& job, std::vector<ModelBatch> batches) {
  const Network& network = *job.network;
  Transformer& model = *network.transformer;
  const int microbatches = static_cast<int>(batches.size());
  const int stages = network.links->num_stages();
  int64_t first = kNothing;
  model.InspectForwards([&](int part, int microbatch, const at::Tensor& out) {
    if (IsFinite(out)) return;
    const int64_t number = part == kEmbeddingPart ? 0
                           : part == kHeadPart    ? PartsOf(network) - 1
                                                  : part + 1;
    first = std::max(first, Code({microbatch, number, RankOf(*network.mesh)}, network));
  });
  model.BeginStep(std::move(batches), std::make_unique<TokenLoss>(1.0));
  const PipelineSchedule forwards(static_cast<size_t>(stages),
                                  ForwardsOnly(stages, model.num_chunks(), microbatches));
  RunSchedule(forwards, model, *network.links);
  model.InspectForwards(nullptr);
  return LargestOverMesh({first}, network)[0];
}

// The last of the model's parameters, which a backward comes to first, whose gradient is not
// finite, times the ranks, plus a rank that has it.
int64_t LastGradient(Job& job) {
  const Network& network = *job.network;
  std::set<std::string> names;
  for (const FlatBuffer& flat : network.store->buffers()) {
    const FlatRange owned = network.store->Owned(flat);
    for (const FlatBuffer::Entry& entry : flat.entries) {
      const FlatRange mine =
          Intersect(owned, {entry.offset, entry.offset + entry.parameter->slice.LocalNumel()});
      if (mine.size() > 0 && !IsFinite(flat.GradientsIn(mine))) {
        names.insert(entry.parameter->slice.name);
      }
    }
  }
  int64_t last = kNothing;
  const auto& declared = network.declared.all();
  for (size_t i = 0; i < declared.size(); ++i) {
    if (names.count(declared[i]->slice.name) == 0) continue;
    last = static_cast<int64_t>(i) * network.mesh->shape().world_size() + RankOf(*network.mesh);
  }
  return LargestOverMesh({last}, network)[0];
}

}  // namespace

std::string FindNotFinite(Job& job, int64_t step, std::vector<ModelBatch> batches) {
  const Network& network = *job.network;
  const int64_t gradient = LastGradient(job);
  const int64_t output = FirstOutput(job, std::move(batches));
  if (output != kNothing) {
    const StepPlace place = StepPlaceOf(output, network);
    return absl::StrCat("first in ", PartText(place.part, network), ", microbatch ",
                        place.microbatch, " of rank ", place.rank, " (", RowsText(job, step, place),
                        ")");
  }
  if (gradient == kNothing) return "in no part that can be found again";
  const int64_t world = network.mesh->shape().world_size();
  return absl::StrCat("all outputs are finite; first in the gradient of ",
                      network.declared.all()[static_cast<size_t>(gradient / world)]->slice.name,
                      ", rank ", gradient % world);
}

}  // namespace fttrain
