#include "launch/saving/saved_state.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "launch/saving/state_kinds.h"
#include "parallel/optimizer/int8_loops.h"
#include "runtime/math/ceil_divide.h"
#include "runtime/process/check.h"

namespace fttrain {

SavedState::SavedState(FileSystem& files, const Committed& checkpoint)
    : files_(files), checkpoint_(checkpoint) {
  for (const ManifestTensor& t : checkpoint.manifest.tensors) {
    tensors_[{t.name, t.kind}].push_back(&t);
  }
}

const SavedState::Tensors& SavedState::Of(const std::string& name, const std::string& kind) const {
  static const Tensors kNone;
  const auto found = tensors_.find({name, kind});
  return found == tensors_.end() ? kNone : found->second;
}

namespace {

bool IsOfSlice(const ManifestTensor& saved, const ParamSlice& slice) {
  if (saved.dim != slice.dim) return false;
  return slice.dim < 0 || (saved.offset == slice.offset && saved.extent == slice.extent);
}

}  // namespace

absl::Status SavedState::Lacks(const ParamSlice& slice, const std::string& kind) const {
  return absl::DataLossError(
      absl::StrCat(checkpoint_.path, ": it lacks some of '", kind, "' of '", slice.name, "'"));
}

// Reads [range] of a slice from the tensors that hold some of it, into `out`, contiguous, on the
// host. `unit`: elements of the slice that one of `out` stands for (a block's scale). False where
// the tensors do not hold all of it.
absl::StatusOr<bool> SavedState::ReadPart(const Tensors& saved, FlatRange range, int64_t unit,
                                          at::Tensor& out) const {
  auto* bytes = static_cast<char*>(out.data_ptr());
  const int64_t size = static_cast<int64_t>(out.element_size());
  int64_t next = range.begin;
  while (next < range.end) {
    const auto holds = [&](const ManifestTensor* t) { return t->begin <= next && next < t->end; };
    const auto found = std::find_if(saved.begin(), saved.end(), holds);
    // A block that begins inside another's is cut elsewhere.
    if (found == saved.end() || (next - (*found)->begin) % unit != 0) return false;
    const int64_t end = std::min(range.end, (*found)->end);
    if (end < range.end && (end - range.begin) % unit != 0) return false;
    const int64_t from = (next - (*found)->begin) / unit;
    const int64_t count = CeilDivide(end - next, unit);
    FT_RETURN_IF_ERROR(ReadRange(files_, checkpoint_, (*found)->file,
                                 (*found)->data_begin + from * size,
                                 bytes + (next - range.begin) / unit * size, count * size));
    next = end;
  }
  return true;
}

absl::Status SavedState::ReadWhole(const ParamSlice& slice, const std::string& kind,
                                   at::ScalarType dtype, at::Tensor& whole) {
  const int64_t unit = ElementsPerValue(kind);
  whole = at::empty(slice.global_shape, at::TensorOptions().dtype(dtype));
  // Slices of a tensor are along one dimension.
  std::map<std::tuple<int, int64_t, int64_t>, Tensors> slices;
  for (const ManifestTensor* t : Of(slice.name, kind)) {
    slices[{t->dim, t->offset, t->extent}].push_back(t);
  }
  int64_t covered = 0;
  for (const auto& [key, tensors] : slices) {
    const auto& [dim, offset, extent] = key;
    const ParamSlice part = dim < 0
                                ? WholeParam(slice.name, slice.global_shape)
                                : SlicedParam(slice.name, slice.global_shape, dim, offset, extent);
    const int64_t numel = part.LocalNumel();
    if (numel == 0) continue;
    at::Tensor local = at::empty({CeilDivide(numel, unit)}, whole.options());
    FT_ASSIGN_OR_RETURN(const bool all, ReadPart(tensors, {0, numel}, unit, local));
    if (!all) return Lacks(slice, kind);
    if (unit > 1) local = local.repeat_interleave(unit).narrow(0, 0, numel);
    part.PartOf(whole).copy_(local.view(part.LocalShape()));
    if (offset > covered) return Lacks(slice, kind);
    covered = std::max(covered, dim < 0 ? 1 : offset + extent);
  }
  const int dim = slices.empty() ? -1 : std::get<0>(slices.begin()->first);
  const int64_t wanted = dim < 0 ? 1 : slice.global_shape[dim];
  return covered >= wanted ? absl::OkStatus() : Lacks(slice, kind);
}

namespace {

// One block of codes whose elements have scales of their own, as one block has them.
template <bool kSigned>
float RequantiseBlock(uint8_t* codes, const float* scales, int64_t size) {
  const Int8Tables& tables = HostInt8Tables();
  float values[kInt8Block] = {};
  uint8_t out[kInt8Block];
  for (int64_t i = 0; i < size; ++i) {
    values[i] = (kSigned ? tables.exp_avg_map : tables.exp_avg_sq_map)[codes[i]] * scales[i];
  }
  const float absmax = Absmax(values);
  PortableInt8Loops::Quantize<kSigned>(
      values, kSigned ? tables.exp_avg_codes : tables.exp_avg_sq_codes, Scale(absmax), out);
  std::copy_n(out, size, codes);
  return absmax;
}

}  // namespace

// Codes with their scales, from blocks that were cut elsewhere.
absl::Status SavedState::ReadMoments(const StatePiece& piece) {
  const bool is_signed = piece.kind == StateKind::kExpAvgCodes;
  const StateKind scale_kind = is_signed ? StateKind::kExpAvgAbsmax : StateKind::kExpAvgSqAbsmax;
  at::Tensor all_codes, all_scales;
  FT_RETURN_IF_ERROR(ReadWhole(piece.slice, KindWord(piece.kind), at::kByte, all_codes));
  FT_RETURN_IF_ERROR(ReadWhole(piece.slice, KindWord(scale_kind), at::kFloat, all_scales));
  const int64_t size = piece.of_slice.size();
  const auto mine = [&](const at::Tensor& whole) {
    const at::Tensor part = piece.slice.PartOf(whole).reshape({-1});
    return part.narrow(0, piece.of_slice.begin, size).clone();
  };
  const at::Tensor codes = mine(all_codes), scales = mine(all_scales);
  at::Tensor of_blocks = at::empty({CeilDivide(size, kInt8Block)}, scales.options());
  for (int64_t begin = 0; begin < size; begin += kInt8Block) {
    const int64_t n = std::min(kInt8Block, size - begin);
    const float* scale = scales.const_data_ptr<float>() + begin;
    float* of_block = of_blocks.data_ptr<float>() + begin / kInt8Block;
    if (std::all_of(scale, scale + n, [&](float s) { return s == scale[0]; })) {
      *of_block = scale[0];
      continue;
    }
    uint8_t* code = codes.data_ptr<uint8_t>() + begin;
    *of_block =
        is_signed ? RequantiseBlock<true>(code, scale, n) : RequantiseBlock<false>(code, scale, n);
    ++requantised_blocks_;
  }
  piece.values.copy_(codes);
  scales_[{piece.slice.name, scale_kind, piece.of_slice.begin}] = of_blocks;
  return absl::OkStatus();
}

absl::Status SavedState::ReadInto(const StatePiece& piece) {
  const std::string kind = KindWord(piece.kind);
  const at::ScalarType dtype = piece.values.scalar_type();
  const auto scales = scales_.find({piece.slice.name, piece.kind, piece.of_slice.begin});
  if (scales != scales_.end()) {
    piece.values.copy_(scales->second);
    scales_.erase(scales);
    return absl::OkStatus();
  }
  Tensors of_this_slice;
  for (const ManifestTensor* t : Of(piece.slice.name, kind)) {
    if (t->global_shape != piece.slice.global_shape || t->dtype != StoredDtype(dtype)) {
      return absl::DataLossError(absl::StrCat(
          checkpoint_.path, ": its '", kind, "' of '", t->name, "' is ", t->dtype, " [",
          absl::StrJoin(t->global_shape, ", "), "], this run's is ", StoredDtype(dtype), " [",
          absl::StrJoin(piece.slice.global_shape, ", "), "]"));
    }
    if (IsOfSlice(*t, piece.slice)) of_this_slice.push_back(t);
  }
  at::Tensor values = at::empty(piece.values.sizes(), at::TensorOptions().dtype(dtype));
  FT_ASSIGN_OR_RETURN(const bool all,
                      ReadPart(of_this_slice, piece.of_slice, ElementsPerValue(kind), values));
  if (!all && dtype == at::kByte) return ReadMoments(piece);
  if (!all) {
    at::Tensor whole;
    FT_RETURN_IF_ERROR(ReadWhole(piece.slice, kind, dtype, whole));
    values = piece.slice.PartOf(whole).reshape({-1}).narrow(0, piece.of_slice.begin,
                                                            piece.of_slice.size());
  }
  piece.values.copy_(values);
  return absl::OkStatus();
}

absl::Status ReadState(Job& job, SavedState& saved, const Process& process) {
  const absl::Status read =
      job.optimizer->VisitState([&](const StatePiece& piece) { return saved.ReadInto(piece); });
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(read));
  job.optimizer->ParametersFromMasters();
  return absl::OkStatus();
}

}  // namespace fttrain
