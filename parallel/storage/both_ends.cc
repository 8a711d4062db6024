#include "parallel/storage/both_ends.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "runtime/memory/ledger.h"

namespace fttrain {
namespace {

// What is received at a time: the table's gradient may be large.
constexpr int64_t kPieceBytes = int64_t{16} << 20;

void AddOthers(at::Tensor gradient, Communicator& pp) {
  MemoryScope scope(MemoryCategory::kCommunication);
  const bool first = pp.rank() == 0;
  const int peer = first ? pp.size() - 1 : 0;
  const int64_t numel = gradient.numel();
  const int64_t piece = kPieceBytes / gradient.element_size();
  const at::Tensor theirs = at::empty({std::min(piece, numel)}, gradient.options());
  for (int64_t begin = 0; begin < numel; begin += piece) {
    const int64_t count = std::min(piece, numel - begin);
    const at::Tensor mine = gradient.narrow(0, begin, count), other = theirs.narrow(0, 0, count);
    if (first) pp.Send(mine, peer);
    pp.Recv(other, peer);
    if (!first) pp.Send(mine, peer);
    mine.add_(other);
  }
}

}  // namespace

void SumOverBothEnds(const FlatBuffer& flat, Communicator& pp) {
  if (pp.size() == 1 || (pp.rank() > 0 && pp.rank() < pp.size() - 1)) return;
  for (const FlatBuffer::Entry& entry : flat.entries) {
    if (entry.parameter->placement.pp != AxisGradient::kPartial) continue;
    const int64_t begin = entry.offset, end = begin + entry.parameter->slice.LocalNumel();
    AddOthers(flat.GradientsIn(Intersect({begin, end}, flat.kept_gradients)), pp);
  }
}

}  // namespace fttrain
