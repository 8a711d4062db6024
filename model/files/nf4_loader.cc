#include "model/files/nf4_loader.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/files/nf4_folder.h"
#include "model/files/slice_reader.h"
#include "model/files/tensor_io.h"
#include "model/files/weight_loader.h"
#include "runtime/math/ceil_divide.h"
#include "runtime/memory/ledger.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

// Reads the whole of a tensor that the folder's quant state says is float32 or bytes.
absl::StatusOr<at::Tensor> ReadWhole(const SafetensorsFolder& folder, const std::string& name,
                                     at::ScalarType dtype) {
  const SafetensorsEntry* entry = folder.Find(name);
  at::Tensor host = at::empty({entry->size_bytes / static_cast<int64_t>(c10::elementSize(dtype))},
                              at::TensorOptions(dtype));
  FT_RETURN_IF_ERROR(ReadRuns(folder, name, {.run_elements = entry->size_bytes}, 1,
                              static_cast<char*>(host.data_ptr())));
  if (dtype == at::kFloat && !host.isfinite().all().item<bool>()) {
    return absl::DataLossError(absl::StrCat(folder.PathOf(name), ": tensor '", name,
                                            "' holds a value that is not finite"));
  }
  return host;
}

// Of a tensor with a value that is not finite, the error that names it. A GPU's scales say so once
// all are there; looking at each piece would wait for it.
absl::Status FindNotFinite(const SafetensorsFolder& folder, const std::string& name,
                           const std::vector<int64_t>& shape, const Nf4Options& options) {
  Nf4Stream stream(shape, options, at::kCPU);
  return ReadByPieces(
      folder, name, RunsOf(shape, -1, 0, 0), *FloatTypeOf(folder.Find(name)->dtype), at::kCPU,
      [&](int64_t, const at::Tensor& values) { return stream.Add(values).status(); });
}

}  // namespace

Nf4Stream::Nf4Stream(std::vector<int64_t> shape, const Nf4Options& options, c10::Device device)
    : shape_(std::move(shape)), options_(options) {
  const MemoryScope scope(MemoryCategory::kWorkspace);
  const int64_t elements = c10::multiply_integers(shape_);
  const int64_t blocks = CeilDivide(elements, options.block_size);
  absmax_ = at::empty({blocks}, at::TensorOptions(at::kFloat).device(device));
}

absl::StatusOr<at::Tensor> Nf4Stream::Add(const at::Tensor& values) {
  const MemoryScope scope(MemoryCategory::kWorkspace);
  const at::Tensor flat = values.view({-1});
  // As if the model had been loaded in that dtype first, which is what transformers does.
  const at::Tensor source = flat.to(options_.rounding);
  const int64_t count = source.numel(), block = options_.block_size;
  const int64_t blocks = CeilDivide(count, block), bytes = CeilDivide(count, 2);
  if (!codes_.defined() || codes_.numel() < bytes) {
    codes_ = at::empty({bytes}, source.options().dtype(at::kByte));
  }
  const at::Tensor codes = codes_.narrow(0, 0, bytes);
  const at::Tensor absmax = absmax_.narrow(0, next_element_ / block, blocks);
  QuantizeNf4Blocks(source, block, codes, absmax);
  if (source.is_cpu() && !absmax.isfinite().all().item<bool>()) {
    const at::Tensor bad = source.isfinite().logical_not().nonzero();
    // A float64 or a sum of finite values may still exceed float32; the block is then what is
    // known.
    const int64_t at = next_element_ + (bad.numel() > 0 ? bad[0].item<int64_t>() : 0);
    return absl::DataLossError(absl::StrCat("element ", at, " (row ", at / shape_[1], ", column ",
                                            at % shape_[1], ") is not finite"));
  }
  next_element_ += count;
  return codes;
}

absl::StatusOr<Nf4Scales> Nf4Stream::Scales() const {
  const at::Tensor absmax = absmax_.cpu();
  if (!absmax.isfinite().all().item<bool>()) {
    return absl::DataLossError("a value is not finite");
  }
  if (!options_.double_quant) return Nf4Scales{absmax, {}};
  if (std::isfinite(AbsmaxOffset(absmax))) return QuantizeAbsmax(absmax);
  return absl::DataLossError(absl::StrCat("the sum of the scales of its ", absmax.numel(),
                                          " blocks is beyond float32, as double quantisation "
                                          "forms it; double_quant false can store them"));
}

absl::Status LoadQuantizing(const SafetensorsFolder& folder, const std::string& name,
                            const std::vector<int64_t>& shape, const Nf4Matrix& slice) {
  Nf4Stream stream(shape, slice.layout.options, slice.bytes.device());
  const auto named = [&](const absl::Status& status) {
    return absl::Status(status.code(), absl::StrCat(folder.PathOf(name), ": tensor '", name,
                                                    "': ", status.message()));
  };
  FT_RETURN_IF_ERROR(CheckFloatTensor(folder, name, shape));
  const c10::Device device = slice.bytes.device();
  FT_RETURN_IF_ERROR(ReadByPieces(
      folder, name, RunsOf(shape, -1, 0, 0), *FloatTypeOf(folder.Find(name)->dtype), device,
      [&](int64_t first, const at::Tensor& host) {
        const absl::StatusOr<at::Tensor> codes = stream.Add(host.to(device, /*non_blocking=*/true));
        if (!codes.ok()) return named(codes.status());
        StoreNf4Codes(slice, first, host.numel(), *codes);
        return absl::OkStatus();
      }));
  const MemoryScope scope(MemoryCategory::kWorkspace);
  const absl::StatusOr<Nf4Scales> scales = stream.Scales();
  if (!scales.ok()) {
    const absl::Status found = FindNotFinite(folder, name, shape, slice.layout.options);
    return named(found.ok() ? scales.status() : found);
  }
  StoreNf4Scales(slice, *scales);
  return absl::OkStatus();
}

absl::Status LoadQuantized(const SafetensorsFolder& folder, const std::string& name,
                           const std::vector<int64_t>& shape, const Nf4Matrix& slice) {
  FT_ASSIGN_OR_RETURN(const Nf4State state, ReadNf4State(folder, name, shape));
  const MemoryScope scope(MemoryCategory::kWorkspace);
  const c10::Device device = slice.bytes.device();
  const Nf4Layout& layout = slice.layout;
  if (layout.elements() == 0) return absl::OkStatus();
  // Only what the slice spans: for rows that is the slice, for columns nearly everything.
  const int64_t begin = layout.first_element / 2;
  const int64_t end = (layout.RunBegin(layout.runs - 1) + layout.run_elements + 1) / 2;
  const SliceRuns spanned = {.run_elements = end - begin, .first_element = begin};
  FT_RETURN_IF_ERROR(ReadByPieces(
      folder, name, spanned, at::kByte, device, [&](int64_t at, const at::Tensor& host) {
        const int64_t first = 2 * (begin + at);
        StoreNf4Codes(slice, first, std::min(2 * host.numel(), layout.whole_elements - first),
                      host.to(device, /*non_blocking=*/true));
        return absl::OkStatus();
      }));
  const bool nested = state.options.double_quant;
  Nf4Scales scales;
  FT_ASSIGN_OR_RETURN(scales.codes,
                      ReadWhole(folder, name + ".absmax", nested ? at::kByte : at::kFloat));
  if (nested) {
    FT_ASSIGN_OR_RETURN(scales.groups, ReadWhole(folder, name + ".nested_absmax", at::kFloat));
    scales.offset = state.offset;
  }
  StoreNf4Scales(slice, scales);
  return absl::OkStatus();
}

absl::Status LoadNf4(const SafetensorsFolder& folder, const std::string& name,
                     const std::vector<int64_t>& shape, const Nf4Matrix& slice) {
  return IsNf4Tensor(folder, name) ? LoadQuantized(folder, name, shape, slice)
                                   : LoadQuantizing(folder, name, shape, slice);
}

}  // namespace fttrain
