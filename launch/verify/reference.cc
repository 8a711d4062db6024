#include "launch/verify/reference.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "launch/plan/bytes.h"
#include "launch/run/numbers.h"
#include "runtime/process/check.h"

namespace fttrain {

std::string ToString(const Reference& reference) {
  const MeshShape& mesh = reference.layout.mesh;
  const std::string text = mesh.world_size() == 1 ? std::string("one rank")
                                                  : absl::StrCat("tp ", mesh.tp, " x pp ", mesh.pp);
  return text + (reference.keeps_memory ? " with the run's memory settings" : "");
}

absl::StatusOr<MeshShape> ParseReference(const std::string& text, int ranks) {
  MeshShape shape;
  for (absl::string_view part : absl::StrSplit(text, ',')) {
    const std::pair<absl::string_view, absl::string_view> words =
        absl::StrSplit(part, absl::MaxSplits('=', 1));
    int* const size = words.first == "tp" ? &shape.tp : words.first == "pp" ? &shape.pp : nullptr;
    if (size == nullptr || !absl::SimpleAtoi(words.second, size) || *size < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("--reference=", text, ": write sizes of at least 1, such as tp=2,pp=1"));
    }
  }
  if (int64_t{shape.tp} * shape.pp > ranks) {
    return absl::InvalidArgumentError(absl::StrCat("--reference=", text, ": ", shape.tp, " x ",
                                                   shape.pp, " ranks are more than the ", ranks,
                                                   " of this job"));
  }
  return shape;
}

Reference ReferenceOf(const Layout& run, int tp, int pp, bool keeps_memory) {
  Reference reference{{.mesh = {.tp = tp, .pp = pp, .dp = 1}, .device = run.device}, keeps_memory};
  if (!keeps_memory) return reference;
  reference.layout.recompute = run.recompute;
  reference.layout.activations = run.activations;
  reference.layout.embedding = run.embedding;
  reference.layout.frozen = run.frozen;
  reference.layout.state = run.state;
  return reference;
}

absl::StatusOr<Reference> ChooseReference(const Task& task, const Layout& run,
                                          const ParameterSet& declared, const Room& room,
                                          std::optional<MeshShape> asked) {
  std::string least;
  for (int size = 1; size <= room.ranks; ++size) {
    for (const bool keeps : {false, true}) {
      for (int tp = 1; tp <= size; ++tp) {
        if (size % tp != 0) continue;
        if (asked && (asked->tp != tp || asked->pp != size / tp)) continue;
        Reference reference = ReferenceOf(run, tp, size / tp, keeps);
        // The routers' loss is one of each microbatch.
        if (task.router_loss > 0) reference.layout.micro_batch_rows = run.micro_batch_rows;
        const absl::Status possible = CheckLayout(task, reference.layout);
        if (asked) FT_RETURN_IF_ERROR(possible);
        if (!possible.ok()) continue;
        const int64_t bytes =
            BytesOf(task, reference.layout, declared, room.host_is_apart).total() *
            (room.shared ? size : 1);
        if (bytes <= room.free_bytes || (asked && keeps)) return reference;
        least = absl::StrCat("; ", ToString(reference), " would take about ", InGib(bytes),
                             room.shared ? " together" : " a rank");
      }
    }
  }
  return absl::ResourceExhaustedError(absl::StrCat(
      "no layout of at most ", room.ranks, " ranks fits in the ", InGib(room.free_bytes),
      " of memory that are free, to compare this run with", least,
      ". Shorten data.sequence_len, verify a model of fewer layers, or force one with "
      "--reference=tp=T,pp=P"));
}

}  // namespace fttrain
