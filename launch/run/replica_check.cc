#include "launch/run/replica_check.h"

#include <ATen/ATen.h>

#include <map>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "launch/exit_code.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

int64_t SumOfWords(const at::Tensor& values) {
  const at::Tensor bytes = values.contiguous().view({-1}).view(at::kByte);
  const bool words = bytes.numel() % 4 == 0 && bytes.storage_offset() % 4 == 0;
  return (words ? bytes.view(at::kInt) : bytes).sum(at::kLong).item<int64_t>();
}

}  // namespace

std::string SumsOf(Job& job) {
  std::vector<std::string> lines;
  const auto add = [&](const ParamSlice& slice, FlatRange range, const std::string& kind,
                       const at::Tensor& values) {
    if (values.numel() == 0) return;
    lines.push_back(absl::StrCat(slice.name, " [", slice.dim, ":", slice.offset, ":", slice.extent,
                                 "][", range.begin, ":", range.end, "] ", kind, "\t",
                                 SumOfWords(values)));
  };
  for (const auto& p : job.network->parameters.all()) {
    if (p->value.defined()) add(p->slice, {0, p->slice.LocalNumel()}, "value", p->value);
  }
  const absl::Status visited = job.optimizer->VisitState([&](const StatePiece& piece) {
    add(piece.slice, piece.of_slice, absl::StrCat("state ", static_cast<int>(piece.kind)),
        piece.values);
    return absl::OkStatus();
  });
  FT_CHECK(visited.ok(), visited.ToString());
  return absl::StrJoin(lines, "\n");
}

absl::Status CheckReplicas(Job& job, int64_t steps_done, const Process& process) {
  if (process.world_size() == 1) return absl::OkStatus();
  std::map<std::string, std::map<std::string, std::vector<int>>> ranks_of;  // by what, by sum
  const std::vector<std::string> all = process.GatherStrings(SumsOf(job));
  for (int rank = 0; rank < process.world_size(); ++rank) {
    for (absl::string_view line : absl::StrSplit(all[static_cast<size_t>(rank)], '\n')) {
      const std::pair<std::string, std::string> parts =
          absl::StrSplit(line, absl::MaxSplits('\t', 1));
      ranks_of[parts.first][parts.second].push_back(rank);
    }
  }
  int64_t differ = 0;
  std::string first;
  for (const auto& [what, sums] : ranks_of) {
    if (sums.size() < 2) continue;
    if (++differ > 1) continue;
    std::vector<std::string> groups;
    for (const auto& [sum, ranks] : sums) {
      groups.push_back(absl::StrCat("ranks ", absl::StrJoin(ranks, ", "), " have ", sum));
    }
    first = absl::StrCat(what, ": ", absl::StrJoin(groups, "; "));
  }
  if (differ == 0) return absl::OkStatus();
  return WithExitCode(
      absl::DataLossError(absl::StrCat("after step ", steps_done, " replicas differ in ", differ,
                                       " of ", ranks_of.size(), " tensors, first in ", first,
                                       " (sums of words). A rank's memory or arithmetic is at "
                                       "fault: look at its host, and go on "
                                       "from the checkpoint before")),
      kExitReplicaMismatch);
}

}  // namespace fttrain
