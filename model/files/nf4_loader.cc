#include "model/files/nf4_loader.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/files/nf4_folder.h"
#include "model/files/tensor_io.h"
#include "model/files/weight_loader.h"
#include "runtime/math/ceil_divide.h"
#include "runtime/memory/ledger.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

constexpr int64_t kReadGrain = int64_t{256} << 10;  // bytes a thread reads at least

// The threads that read a piece quantise it next, and mostly find it in their caches.
absl::Status ReadThreaded(const SafetensorsFolder& folder, const std::string& name, int64_t offset,
                          int64_t bytes, char* out) {
  std::mutex mutex;
  absl::Status first;
  at::parallel_for(0, bytes, kReadGrain, [&](int64_t begin, int64_t end) {
    const absl::Status status = folder.ReadBytes(name, offset + begin, end - begin, out + begin);
    if (status.ok()) return;
    const std::lock_guard lock(mutex);
    if (first.ok()) first = status;
  });
  return first;
}

at::Tensor HostBuffer(int64_t elements, at::ScalarType dtype, c10::Device device) {
  return at::empty({elements}, at::TensorOptions(dtype).pinned_memory(device.is_cuda()));
}

// Reads the whole of a tensor that the folder's quant state says is float32 or bytes.
absl::StatusOr<at::Tensor> ReadWhole(const SafetensorsFolder& folder, const std::string& name,
                                     at::ScalarType dtype) {
  const SafetensorsEntry* entry = folder.Find(name);
  at::Tensor host = at::empty({entry->size_bytes / static_cast<int64_t>(c10::elementSize(dtype))},
                              at::TensorOptions(dtype));
  FT_RETURN_IF_ERROR(
      ReadThreaded(folder, name, 0, entry->size_bytes, static_cast<char*>(host.data_ptr())));
  if (dtype == at::kFloat && !host.isfinite().all().item<bool>()) {
    return absl::DataLossError(absl::StrCat(folder.PathOf(name), ": tensor '", name,
                                            "' holds a value that is not finite"));
  }
  return host;
}

}  // namespace

absl::Status ReadPieces(
    const SafetensorsFolder& folder, const std::string& name, const std::vector<int64_t>& shape,
    c10::Device device,
    absl::FunctionRef<absl::Status(int64_t first_element, const at::Tensor& values)> take) {
  FT_RETURN_IF_ERROR(CheckFloatTensor(folder, name, shape));
  const MemoryScope scope(MemoryCategory::kWorkspace);
  const at::ScalarType dtype = *FloatTypeOf(folder.Find(name)->dtype);
  const int64_t element_bytes = static_cast<int64_t>(c10::elementSize(dtype));
  const int64_t total = c10::multiply_integers(shape);
  const int64_t most = std::min(total, kPieceElements);
  const at::Tensor host = HostBuffer(most, dtype, device);
  for (int64_t begin = 0; begin < total; begin += most) {
    const int64_t count = std::min(most, total - begin);
    FT_RETURN_IF_ERROR(ReadThreaded(folder, name, begin * element_bytes, count * element_bytes,
                                    static_cast<char*>(host.data_ptr())));
    // The copy to a device is waited for: the buffer is filled again next.
    FT_RETURN_IF_ERROR(take(begin, host.narrow(0, 0, count).to(device)));
  }
  return absl::OkStatus();
}

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
  if (!absmax.isfinite().all().item<bool>()) {
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
  if (!options_.double_quant) return Nf4Scales{absmax_, {}};
  const at::Tensor absmax = absmax_.cpu();
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
  FT_RETURN_IF_ERROR(ReadPieces(folder, name, shape, slice.bytes.device(),
                                [&](int64_t first, const at::Tensor& values) {
                                  const absl::StatusOr<at::Tensor> codes = stream.Add(values);
                                  if (!codes.ok()) return named(codes.status());
                                  StoreNf4Codes(slice, first, values.numel(), *codes);
                                  return absl::OkStatus();
                                }));
  const MemoryScope scope(MemoryCategory::kWorkspace);
  const absl::StatusOr<Nf4Scales> scales = stream.Scales();
  if (!scales.ok()) return named(scales.status());
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
  const int64_t most = std::min(end - begin, kStagingBytes);
  const at::Tensor host = HostBuffer(most, at::kByte, device);
  for (int64_t at = begin; at < end; at += most) {
    const int64_t bytes = std::min(most, end - at);
    FT_RETURN_IF_ERROR(ReadThreaded(folder, name, at, bytes, static_cast<char*>(host.data_ptr())));
    const int64_t elements = std::min(2 * bytes, layout.whole_elements - 2 * at);
    StoreNf4Codes(slice, 2 * at, elements, host.narrow(0, 0, bytes).to(device));
  }
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
