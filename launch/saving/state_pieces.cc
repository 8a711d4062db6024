#include "launch/saving/state_pieces.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "launch/saving/state_kinds.h"
#include "runtime/math/ceil_divide.h"
#include "runtime/memory/host.h"
#include "runtime/memory/ledger.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

using Ranges = std::vector<FlatRange>;  // of one slice, in any order

// What of a tensor's kind a slice is of, in words that are equal on all ranks.
std::string SliceKey(const ManifestTensor& t) {
  return absl::StrCat(t.name, "|", t.kind, "|", t.dim, "|", t.offset, "|", t.extent);
}

ManifestTensor Describe(const StatePiece& piece) {
  ManifestTensor out;
  out.name = piece.slice.name;
  out.kind = KindWord(piece.kind);
  out.dtype = StoredDtype(piece.values.scalar_type());
  out.global_shape = piece.slice.global_shape;
  out.dim = piece.slice.dim;
  out.offset = piece.slice.dim < 0 ? 0 : piece.slice.offset;
  out.extent = piece.slice.dim < 0 ? 0 : piece.slice.extent;
  out.begin = piece.of_slice.begin;
  out.end = piece.of_slice.end;
  out.numel = piece.values.numel();
  return out;
}

// What is left of `range`, ascending.
Ranges Without(FlatRange range, Ranges taken) {
  std::sort(taken.begin(), taken.end(), [](FlatRange a, FlatRange b) { return a.begin < b.begin; });
  Ranges left;
  for (const FlatRange& t : taken) {
    if (t.begin > range.begin) {
      const FlatRange before{range.begin, std::min(range.end, t.begin)};
      if (before.size() > 0) left.push_back(before);
    }
    range.begin = std::max(range.begin, std::min(range.end, t.end));
  }
  if (range.size() > 0) left.push_back(range);
  return left;
}

// Ranges that ranks below this one have on its disk, by slice.
std::map<std::string, Ranges> RangesBelow(const std::vector<SavedPiece>& mine, const Disk& disk,
                                          const Process& process) {
  std::vector<std::string> lines;
  for (const SavedPiece& piece : mine) {
    lines.push_back(absl::StrCat(SliceKey(piece.what), " ", piece.what.begin, " ", piece.what.end));
  }
  std::map<std::string, Ranges> below;
  const std::vector<std::string> of_ranks = process.GatherStrings(absl::StrJoin(lines, "\n"));
  for (const int rank : disk.ranks) {
    if (rank == process.rank()) break;
    for (absl::string_view line : absl::StrSplit(of_ranks[rank], '\n', absl::SkipEmpty())) {
      const std::vector<std::string> words = absl::StrSplit(line, ' ');
      FlatRange range;
      FT_CHECK(words.size() == 3 && absl::SimpleAtoi(words[1], &range.begin) &&
                   absl::SimpleAtoi(words[2], &range.end),
               std::string(line));
      below[words[0]].push_back(range);
    }
  }
  return below;
}

SavedPiece PartOf(const SavedPiece& piece, FlatRange range) {
  const int64_t unit = ElementsPerValue(piece.what.kind);
  SavedPiece part = piece;
  part.what.begin = range.begin;
  part.what.end = range.end;
  part.what.numel = CeilDivide(range.size(), unit);
  part.values = piece.values.narrow(0, (range.begin - piece.what.begin) / unit, part.what.numel);
  return part;
}

}  // namespace

std::vector<SavedPiece> PiecesToSave(Job& job, const Disk& disk, const Process& process) {
  std::vector<SavedPiece> mine;
  const absl::Status visited = job.optimizer->VisitState([&](const StatePiece& piece) {
    mine.push_back({Describe(piece), piece.values});
    return absl::OkStatus();
  });
  FT_CHECK(visited.ok(), visited.ToString());
  const std::map<std::string, Ranges> below = RangesBelow(mine, disk, process);
  std::vector<SavedPiece> out;
  for (const SavedPiece& piece : mine) {
    const auto taken = below.find(SliceKey(piece.what));
    const FlatRange range{piece.what.begin, piece.what.end};
    for (const FlatRange left : Without(range, taken == below.end() ? Ranges{} : taken->second)) {
      out.push_back(PartOf(piece, left));
    }
  }
  return out;
}

std::vector<SavedPiece> CopiesOnHost(const std::vector<SavedPiece>& pieces) {
  const MemoryScope scope(MemoryCategory::kOptimizer);
  std::vector<SavedPiece> out;
  for (const SavedPiece& piece : pieces) {
    // Pageable: pinning takes longer than what pinned copies gain.
    const at::Tensor copy =
        EmptyOnHost(piece.values.sizes(), piece.values.scalar_type(), c10::Device(c10::kCPU));
    copy.copy_(piece.values);
    out.push_back({piece.what, copy});
  }
  return out;
}

}  // namespace fttrain
