#include "parallel/optimizer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "parallel/adamw.h"
#include "parallel/adamw_int8.h"
#include "parallel/both_ends.h"
#include "parallel/flat_parameters.h"
#include "parallel/sum_of_squares.h"
#include "runtime/memory_ledger.h"

namespace fttrain {
namespace {

// What a rank owns of a segment. Its moments begin at `moments` in the buffer's arrays of their
// storage.
struct OwnedSegment {
  FlatRange range;
  bool weight_decay;
  bool int8;
  int64_t moments;
};

// A flat buffer and the optimizer state of the range that this rank owns.
struct OwnedBuffer {
  FlatBuffer flat;
  FlatRange owned;
  std::vector<OwnedSegment> segments;
  at::Tensor master;  // [owned] float32; undefined where the values are their own masters
  at::Tensor exp_avg, exp_avg_sq;  // gradients' dtype: what is owned and not in 8 bits
  Int8Moments int8;                // of the owned elements of segments with 8-bit moments

  at::Tensor OwnedValues() const { return flat.values.narrow(0, owned.begin, owned.size()); }
  at::Tensor OwnedGradients() const { return flat.gradients.narrow(0, owned.begin, owned.size()); }
};

OwnedBuffer AllocateState(FlatBuffer flat, FlatRange owned) {
  MemoryScope scope(MemoryCategory::kOptimizer);
  const auto options = flat.gradients.options();
  OwnedBuffer buffer{.flat = std::move(flat),
                     .owned = owned,
                     .segments = {},
                     .master = {},
                     .exp_avg = {},
                     .exp_avg_sq = {},
                     .int8 = {}};
  int64_t wide = 0, int8 = 0;
  for (const FlatSegment& segment : buffer.flat.segments) {
    const FlatRange mine = Intersect(segment.range, owned);
    if (mine.size() == 0) continue;
    int64_t& next = segment.int8_moments ? int8 : wide;
    buffer.segments.push_back({mine, segment.weight_decay, segment.int8_moments, next});
    next += mine.size();
  }
  buffer.exp_avg = at::zeros({owned.size() - int8}, options);
  buffer.exp_avg_sq = at::zeros({owned.size() - int8}, options);
  if (int8 > 0) buffer.int8 = ZeroInt8Moments(int8, options.device());
  if (buffer.flat.values.scalar_type() != buffer.flat.gradients.scalar_type()) {
    buffer.master = at::zeros({owned.size()}, options);
  }
  return buffer;
}

// Updates the owned values of one segment; `tables` as AdamWInt8Update wants them.
void UpdateSegment(const OwnedBuffer& buffer, const OwnedSegment& segment, const at::Tensor& tables,
                   const AdamWStep& step) {
  const int64_t begin = segment.range.begin, size = segment.range.size();
  const at::Tensor values = buffer.flat.values.narrow(0, begin, size);
  const at::Tensor gradients = buffer.flat.gradients.narrow(0, begin, size);
  const bool has_master = buffer.master.defined();
  const at::Tensor param =
      has_master ? buffer.master.narrow(0, begin - buffer.owned.begin, size) : values;
  const at::Tensor rounded = has_master ? values : at::Tensor();
  if (segment.int8) {
    AdamWInt8Update(param, gradients, buffer.int8.Narrow(segment.moments, size), rounded, tables,
                    step);
  } else {
    AdamWUpdate(param, gradients, buffer.exp_avg.narrow(0, segment.moments, size),
                buffer.exp_avg_sq.narrow(0, segment.moments, size), rounded, step);
  }
}

// The slice's place in `flat`, which holds the whole parameter from `offset` on.
at::Tensor PlaceInGlobal(const at::Tensor& flat, int64_t offset, const Parameter& parameter) {
  const ParamSlice& slice = parameter.slice;
  const at::Tensor whole = flat.narrow(0, offset, slice.GlobalNumel()).view(slice.global_shape);
  return slice.dim < 0 ? whole : whole.narrow(slice.dim, slice.offset, slice.extent);
}

// kShared: each holder puts its part at the slice's place in zeros of the global shape, so that one
// all_reduce over the whole axis sums exactly the holders of each slice, without a communicator for
// them.
void SumSharedOverTp(const FlatBuffer& flat, Communicator& tp) {
  std::vector<std::pair<const Parameter*, int64_t>> places;
  int64_t numel = 0;
  for (const FlatBuffer::Entry& entry : flat.entries) {
    if (entry.parameter->tp_gradient != TpGradient::kShared) continue;
    places.emplace_back(entry.parameter, numel);
    numel += entry.parameter->slice.GlobalNumel();
  }
  if (places.empty()) return;
  MemoryScope scope(MemoryCategory::kCommunication);
  const at::Tensor whole = at::zeros({numel}, flat.gradients.options());
  for (const auto& [parameter, offset] : places) {
    PlaceInGlobal(whole, offset, *parameter).copy_(parameter->grad);
  }
  tp.AllReduce(whole);
  for (const auto& [parameter, offset] : places) {
    parameter->grad.copy_(PlaceInGlobal(whole, offset, *parameter));
  }
}

void SumOverTp(const FlatBuffer& flat, Communicator& tp) {
  if (tp.size() == 1) return;
  const FlatRange partial = flat.RangeOf(TpGradient::kPartial);
  if (partial.size() > 0) tp.AllReduce(flat.gradients.narrow(0, partial.begin, partial.size()));
  SumSharedOverTp(flat, tp);
}

// Under ZeRO 1 the sum comes back into the owned range of the buffer that held this rank's own
// gradients, so what is alive afterwards is that buffer alone.
void SumOverDp(const OwnedBuffer& buffer, Communicator& dp, int zero_stage) {
  if (dp.size() == 1) return;
  if (zero_stage == 0) {
    dp.AllReduce(buffer.flat.gradients);
    return;
  }
  MemoryScope scope(MemoryCategory::kCommunication);
  const at::Tensor shard = at::empty({buffer.owned.size()}, buffer.flat.gradients.options());
  dp.ReduceScatter(buffer.flat.gradients, shard);
  buffer.OwnedGradients().copy_(shard);
}

// Whether this rank of its stage is the one that counts the parameter in the norm of the whole
// model.
bool CountsInNorm(const Parameter& parameter, const Mesh& mesh) {
  if (parameter.on_both_ends && mesh.pp().rank() > 0) return false;
  const Communicator& tp = mesh.tp();
  const ParamSlice& slice = parameter.slice;
  if (parameter.tp_gradient == TpGradient::kOwned) return true;
  if (parameter.tp_gradient != TpGradient::kShared || slice.dim < 0) return tp.rank() == 0;
  const int64_t whole = slice.global_shape[static_cast<size_t>(slice.dim)];
  const int64_t holders = slice.extent * tp.size() / whole;
  return tp.rank() % holders == 0;
}

// The counted part of the buffer as few maximal ranges; the gaps between parameters are zeros.
std::vector<FlatRange> CountedRanges(const FlatBuffer& flat, const Mesh& mesh) {
  std::vector<FlatRange> ranges;
  bool open = false;
  for (size_t i = 0; i < flat.entries.size(); ++i) {
    const auto& [parameter, begin] = flat.entries[i];
    const int64_t end = i + 1 < flat.entries.size() ? flat.entries[i + 1].offset : flat.numel();
    const bool counts = CountsInNorm(*parameter, mesh);
    if (counts && open) ranges.back().end = end;
    if (counts && !open) ranges.push_back({begin, end});
    open = counts;
  }
  return ranges;
}

void CheckShared(const Parameter& parameter, int tp_size) {
  if (parameter.tp_gradient != TpGradient::kShared || parameter.slice.dim < 0) return;
  const ParamSlice& slice = parameter.slice;
  const int64_t whole = slice.global_shape[static_cast<size_t>(slice.dim)];
  TORCH_CHECK(
      slice.extent > 0 && whole % slice.extent == 0 && tp_size % (whole / slice.extent) == 0,
      slice.name, ": slices of ", slice.extent, " of ", whole,
      " cannot be held by equal groups of the ", tp_size, " tp ranks");
}

}  // namespace

struct Optimizer::State {
  const Mesh& mesh;
  OptimizerOptions options;
  c10::Device device;
  std::vector<OwnedBuffer> buffers;
  at::Tensor int8_tables;  // undefined without 8-bit moments
  int64_t steps = 0;
};

Optimizer::Optimizer(ParameterSet& set, const Mesh& mesh, c10::Device device,
                     const OptimizerOptions& options)
    : state_(new State{
          .mesh = mesh, .options = options, .device = device, .buffers = {}, .int8_tables = {}}) {
  TORCH_CHECK(options.zero_stage == 0 || options.zero_stage == 1, "zero_stage ", options.zero_stage,
              " is not 0 or 1");
  for (const Parameter* parameter : set.Trainable()) CheckShared(*parameter, mesh.tp().size());
  const int dp_size = mesh.dp().size();
  for (FlatBuffer& flat : AllocateParameters(set, dp_size, device, options.moments)) {
    const FlatRange owned = options.zero_stage == 1 ? flat.Shard(dp_size, mesh.dp().rank())
                                                    : FlatRange{0, flat.numel()};
    state_->buffers.push_back(AllocateState(std::move(flat), owned));
  }
  if (options.moments == MomentStorage::kInt8) {
    MemoryScope scope(MemoryCategory::kWorkspace);
    state_->int8_tables = MakeInt8Tables(device);
  }
}

Optimizer::~Optimizer() = default;

void Optimizer::MastersFromParameters() {
  for (const OwnedBuffer& buffer : state_->buffers) {
    if (buffer.master.defined()) buffer.master.copy_(buffer.OwnedValues());
  }
}

void Optimizer::ZeroGradients() {
  for (const OwnedBuffer& buffer : state_->buffers) buffer.flat.gradients.zero_();
}

void Optimizer::SyncGradients() {
  for (const OwnedBuffer& buffer : state_->buffers) {
    SumOverTp(buffer.flat, state_->mesh.tp());
    SumOverBothEnds(buffer.flat, state_->mesh.pp());
    SumOverDp(buffer, state_->mesh.dp(), state_->options.zero_stage);
  }
}

double Optimizer::GradientNorm() {
  const Mesh& mesh = state_->mesh;
  at::Tensor total = at::zeros({}, at::TensorOptions().dtype(at::kDouble).device(state_->device));
  for (const OwnedBuffer& buffer : state_->buffers) {
    for (const FlatRange counted : CountedRanges(buffer.flat, mesh)) {
      const FlatRange mine = Intersect(counted, buffer.owned);
      if (mine.size() == 0) continue;
      total.add_(SumOfSquares(buffer.flat.gradients.narrow(0, mine.begin, mine.size())));
    }
  }
  mesh.tp().AllReduce(total);
  mesh.pp().AllReduce(total);
  // Under ZeRO 0 every dp rank has already counted everything.
  if (state_->options.zero_stage == 1) mesh.dp().AllReduce(total);
  return std::sqrt(total.item<double>());
}

void Optimizer::Step(double learning_rate, double grad_scale) {
  const OptimizerOptions& options = state_->options;
  ++state_->steps;
  AdamWStep step{.step = state_->steps,
                 .learning_rate = learning_rate,
                 .beta1 = options.beta1,
                 .beta2 = options.beta2,
                 .eps = options.eps,
                 .grad_scale = grad_scale};
  for (const OwnedBuffer& buffer : state_->buffers) {
    for (const OwnedSegment& segment : buffer.segments) {
      step.weight_decay = segment.weight_decay ? options.weight_decay : 0.0;
      UpdateSegment(buffer, segment, state_->int8_tables, step);
    }
    Communicator& dp = state_->mesh.dp();
    if (options.zero_stage == 1 && dp.size() > 1) {
      MemoryScope scope(MemoryCategory::kCommunication);
      dp.AllGather(buffer.OwnedValues().clone(), buffer.flat.values);
    }
  }
}

double ClipCoefficient(double norm, double max_norm) {
  return max_norm == 0.0 ? 1.0 : std::min(1.0, max_norm / (norm + 1e-6));
}

}  // namespace fttrain
