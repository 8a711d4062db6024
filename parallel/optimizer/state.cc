#include "parallel/optimizer/state.h"

#include <ATen/ATen.h>
#include <c10/core/Event.h>

#include <algorithm>

#include "parallel/optimizer/adamw.h"
#include "runtime/math/ceil_divide.h"
#include "runtime/memory/current_stream.h"
#include "runtime/memory/host.h"
#include "runtime/memory/ledger.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

// Through the host at a time: long enough for the link, short enough that a part's copy hides
// behind the update of another. A multiple of a block of 8-bit moments.
constexpr int64_t kPartElements = int64_t{1} << 22;

}  // namespace

OwnedState::OwnedState(const FlatBuffer& flat, FlatRange owned, StatePlace place)
    : flat_(&flat), owned_(owned), place_(place) {
  const MemoryScope scope(MemoryCategory::kOptimizer);
  int64_t wide = 0, int8 = 0;
  for (const FlatSegment& segment : flat.segments) {
    const FlatRange mine = Intersect(segment.range, owned);
    if (mine.size() == 0) continue;
    int64_t& next = segment.int8_moments ? int8 : wide;
    segments_.push_back({mine, segment.weight_decay, segment.int8_moments, next});
    next += mine.size();
  }
  const at::ScalarType dtype = flat.gradients.scalar_type();
  exp_avg_ = Zeros(owned.size() - int8, dtype);
  exp_avg_sq_ = Zeros(owned.size() - int8, dtype);
  if (int8 > 0 && place == StatePlace::kDevice) {
    int8_ = ZeroInt8Moments(int8, flat.values.device());
  } else if (int8 > 0) {
    int8_ = {Zeros(int8, at::kByte), Zeros(int8, at::kByte), Zeros(int8 / kInt8Block, at::kFloat),
             Zeros(int8 / kInt8Block, at::kFloat)};
  }
  if (place == StatePlace::kHost || flat.values.scalar_type() != dtype) {
    master_ = Zeros(owned.size(), dtype);
  }
}

at::Tensor OwnedState::Zeros(int64_t n, at::ScalarType dtype) const {
  const c10::Device device = flat_->values.device();
  if (place_ == StatePlace::kHost) return EmptyOnHost({n}, dtype, device).zero_();
  return at::zeros({n}, at::TensorOptions().dtype(dtype).device(device));
}

at::Tensor OwnedState::MasterIn(FlatRange range) const {
  if (!master_.defined()) return flat_->ValuesIn(range);
  return master_.narrow(0, range.begin - owned_.begin, range.size());
}

void OwnedState::ReadMasters() {
  if (master_.defined()) master_.copy_(Values());
}

void OwnedState::WriteMasters() {
  if (master_.defined()) Values().copy_(master_);
}

void OwnedState::UpdatePart(const Segment& segment, FlatRange part, const at::Tensor& param,
                            const at::Tensor& gradients, const at::Tensor& rounded,
                            const at::Tensor& tables, const AdamWStep& step) {
  const int64_t begin = segment.moments + part.begin - segment.range.begin;
  if (segment.int8) {
    AdamWInt8Update(param, gradients, int8_.Narrow(begin, part.size()), rounded, tables, step);
  } else {
    AdamWUpdate(param, gradients, exp_avg_.narrow(0, begin, part.size()),
                exp_avg_sq_.narrow(0, begin, part.size()), rounded, step);
  }
}

void OwnedState::Update(AdamWStep step, double weight_decay, const at::Tensor& tables,
                        HostStaging& staging) {
  for (const Segment& segment : segments_) {
    step.weight_decay = segment.weight_decay ? weight_decay : 0.0;
    if (place_ == StatePlace::kHost && flat_->values.is_cuda()) {
      UpdateThroughHost(segment, tables, step, staging);
      continue;
    }
    const at::Tensor values = flat_->ValuesIn(segment.range);
    const bool has_master = master_.defined();
    const at::Tensor param = MasterIn(segment.range);
    const bool rounds = has_master && values.scalar_type() != param.scalar_type();
    UpdatePart(segment, segment.range, param, flat_->GradientsIn(segment.range),
               rounds ? values : at::Tensor(), tables, step);
    if (has_master && !rounds) values.copy_(param);
  }
}

std::vector<std::pair<StateKind, at::Tensor>> OwnedState::MomentsIn(const Segment& segment,
                                                                    FlatRange part) const {
  const int64_t begin = segment.moments + part.begin - segment.range.begin, size = part.size();
  if (!segment.int8) {
    return {{StateKind::kExpAvg, exp_avg_.narrow(0, begin, size)},
            {StateKind::kExpAvgSq, exp_avg_sq_.narrow(0, begin, size)}};
  }
  const int64_t block = begin / kInt8Block, blocks = CeilDivide(size, kInt8Block);
  return {{StateKind::kExpAvgCodes, int8_.exp_avg.narrow(0, begin, size)},
          {StateKind::kExpAvgSqCodes, int8_.exp_avg_sq.narrow(0, begin, size)},
          {StateKind::kExpAvgAbsmax, int8_.exp_avg_absmax.narrow(0, block, blocks)},
          {StateKind::kExpAvgSqAbsmax, int8_.exp_avg_sq_absmax.narrow(0, block, blocks)}};
}

absl::Status OwnedState::Visit(absl::FunctionRef<absl::Status(const StatePiece&)> visit) {
  for (const auto& [parameter, offset] : flat_->entries) {
    const ParamSlice& slice = parameter->slice;
    for (const Segment& segment : segments_) {  // a parameter is in one alone
      const FlatRange mine = Intersect({offset, offset + slice.LocalNumel()}, segment.range);
      if (mine.size() == 0) continue;
      const FlatRange of_slice{mine.begin - offset, mine.end - offset};
      FT_RETURN_IF_ERROR(visit({slice, of_slice, StateKind::kMaster, MasterIn(mine)}));
      for (const auto& [kind, values] : MomentsIn(segment, mine)) {
        FT_RETURN_IF_ERROR(visit({slice, of_slice, kind, values}));
      }
    }
  }
  return absl::OkStatus();
}

// All copies run on the current stream: gradients of part i + 1 before values of part i. When
// gradients of part i are there, so values of part i - 2 have gone, and their buffer is free; so it
// is from one segment to the next.
void OwnedState::UpdateThroughHost(const Segment& segment, const at::Tensor& tables,
                                   const AdamWStep& step, HostStaging& staging) {
  const c10::Device device = flat_->values.device();
  const at::ScalarType wide = master_.scalar_type(), narrow = flat_->values.scalar_type();
  const int64_t size = segment.range.size(), most = std::min(size, kPartElements);
  c10::Event arrived[2] = {c10::Event(device.type()), c10::Event(device.type())};
  auto& [gradients, rounded] = staging;
  const auto make_room = [&](at::Tensor& buffer, at::ScalarType dtype) {
    if (buffer.defined() && buffer.numel() >= most) return;
    // The copies of the segment before may still read it.
    if (buffer.defined()) CurrentStream(device).synchronize();
    const MemoryScope scope(MemoryCategory::kOptimizer);
    buffer = EmptyOnHost({most}, dtype, device);
  };
  for (int slot : {0, 1}) {
    make_room(gradients[slot], wide);
    if (narrow != wide) make_room(rounded[slot], narrow);
  }
  const int64_t parts = CeilDivide(size, most);
  const auto part = [&](int64_t i) {
    const int64_t begin = segment.range.begin + i * most;
    return FlatRange{begin, std::min(segment.range.end, begin + most)};
  };
  const auto fetch = [&](int64_t i) {
    gradients[i % 2].narrow(0, 0, part(i).size()).copy_(flat_->GradientsIn(part(i)), true);
    arrived[i % 2].record(CurrentStream(device));
  };
  fetch(0);
  for (int64_t i = 0; i < parts; ++i) {
    if (i + 1 < parts) fetch(i + 1);
    arrived[i % 2].synchronize();
    const int64_t n = part(i).size();
    const at::Tensor param = MasterIn(part(i));
    const at::Tensor out = narrow != wide ? rounded[i % 2].narrow(0, 0, n) : at::Tensor();
    UpdatePart(segment, part(i), param, gradients[i % 2].narrow(0, 0, n), out, tables, step);
    flat_->ValuesIn(part(i)).copy_(out.defined() ? out : param, /*non_blocking=*/true);
  }
}

}  // namespace fttrain
