#include "model/files/mxfp4_folder.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/files/slice_reader.h"
#include "runtime/math/bf16.h"
#include "runtime/memory/ledger.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

constexpr int64_t kBlock = 32;  // values that share a scale
// By code; the upper eight are these, negative.
constexpr float kValues[] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};

// bfloat16 of each code with one scale.
std::array<Bf16, 16> ScaledValues(uint8_t scale) {
  std::array<Bf16, 16> scaled;
  for (size_t code = 0; code < 16; ++code) {
    const float value = code < 8 ? kValues[code] : -kValues[code - 8];
    scaled[code] = Bf16FromFloat(std::ldexp(value, static_cast<int>(scale) - 127));
  }
  return scaled;
}

// Of every scale.
const std::array<std::array<Bf16, 16>, 256>& Table() {
  static const auto table = [] {
    std::array<std::array<Bf16, 16>, 256> all;
    for (size_t scale = 0; scale < all.size(); ++scale) {
      all[scale] = ScaledValues(static_cast<uint8_t>(scale));
    }
    return all;
  }();
  return table;
}

// Rows of codes [row, in / 2] and scales [row, in / 32], the first and each step-th, into rows [n,
// in].
void Decode(const at::Tensor& codes, const at::Tensor& scales, int64_t step, at::Tensor values) {
  const int64_t in = values.size(1);
  const auto* const code = codes.const_data_ptr<uint8_t>();
  const auto* const scale = scales.const_data_ptr<uint8_t>();
  auto* const out = static_cast<Bf16*>(values.mutable_data_ptr());
  const auto& table = Table();
  at::parallel_for(0, values.size(0), 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const uint8_t* const mine = code + row * step * (in / 2);
      for (int64_t i = 0; i < in; ++i) {
        const auto& scaled = table[scale[row * step * (in / kBlock) + i / kBlock]];
        const uint8_t both = mine[i / 2];
        out[row * in + i] = scaled[i % 2 == 0 ? both & 15 : both >> 4];
      }
    }
  });
}

absl::Status CheckPart(const SafetensorsFolder& folder, const std::string& name,
                       const std::vector<int64_t>& shape) {
  const SafetensorsEntry* entry = folder.Find(name);
  const std::string where = absl::StrCat(folder.PathOf(name), ": tensor '", Printable(name), "' ");
  if (entry == nullptr) return absl::NotFoundError(absl::StrCat(where, "is not there"));
  if (entry->dtype == SafetensorsDtype::kU8 && entry->shape == shape) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      where, "is ", DtypeName(entry->dtype).data(), " [", absl::StrJoin(entry->shape, ", "),
      "], expected U8 [", absl::StrJoin(shape, ", "), "]"));
}

}  // namespace

bool IsMxfp4Tensor(const SafetensorsFolder& folder, std::string_view tensor) {
  for (const std::string& name : Mxfp4TensorNames(std::string(tensor))) {
    if (folder.Contains(name)) return true;
  }
  return false;
}

std::vector<std::string> Mxfp4TensorNames(const std::string& tensor) {
  return {tensor + "_blocks", tensor + "_scales"};
}

std::vector<TensorSpec> Mxfp4Tensors(const SafetensorsFolder& folder, const ModelSpec& model) {
  std::vector<TensorSpec> tensors;
  if (!model.mxfp4) return tensors;
  for (TensorSpec& tensor : ModelTensors(model)) {
    const bool stacked = tensor.role == LinearRole::kExpert && tensor.shape.size() == 3;
    if (stacked && IsMxfp4Tensor(folder, tensor.name)) tensors.push_back(std::move(tensor));
  }
  return tensors;
}

absl::Status CheckMxfp4Tensor(const SafetensorsFolder& folder, const std::string& tensor,
                              const std::vector<int64_t>& shape) {
  if (shape.at(1) % kBlock != 0) {
    return absl::InvalidArgumentError(absl::StrCat(folder.PathOf(tensor + "_blocks"), ": tensor '",
                                                   tensor, "' in MXFP4 has rows of ", shape[1],
                                                   ", which are no whole blocks of ", kBlock));
  }
  const int64_t blocks = shape[1] / kBlock;
  FT_RETURN_IF_ERROR(
      CheckPart(folder, tensor + "_blocks", {shape[0], shape[2], blocks, kBlock / 2}));
  return CheckPart(folder, tensor + "_scales", {shape[0], shape[2], blocks});
}

absl::Status ReadMxfp4(const SafetensorsFolder& folder, const std::string& tensor,
                       const std::vector<int64_t>& shape, int64_t index, int64_t first,
                       int64_t step, at::Tensor values) {
  FT_RETURN_IF_ERROR(CheckMxfp4Tensor(folder, tensor, shape));
  const int64_t in = shape[1], rows = values.size(0);
  TORCH_CHECK(values.scalar_type() == at::kBFloat16 && values.is_contiguous() && values.is_cpu() &&
                  values.dim() == 2 && values.size(1) == in && rows > 0 && index < shape[0] &&
                  first + (rows - 1) * step < shape[2],
              tensor, ": ", values.toString(), " ", values.sizes(), " of ", shape);
  const MemoryScope scope(MemoryCategory::kWorkspace);
  const int64_t at_once = std::max<int64_t>(1, LoadPieceBytes(at::kCPU) / (step * in / 2));
  for (int64_t row = 0; row < rows; row += at_once) {
    const int64_t count = std::min(at_once, rows - row), spanned = (count - 1) * step + 1;
    const int64_t begin = index * shape[2] + first + row * step;
    const auto read = [&](const std::string& name, int64_t width) -> absl::StatusOr<at::Tensor> {
      at::Tensor bytes = at::empty({spanned, width}, at::TensorOptions(at::kByte));
      FT_RETURN_IF_ERROR(ReadRuns(folder, name,
                                  {.run_elements = spanned * width, .first_element = begin * width},
                                  1, static_cast<char*>(bytes.data_ptr())));
      return bytes;
    };
    FT_ASSIGN_OR_RETURN(const at::Tensor codes, read(tensor + "_blocks", in / 2));
    FT_ASSIGN_OR_RETURN(const at::Tensor scales, read(tensor + "_scales", in / kBlock));
    Decode(codes, scales, step, values.narrow(0, row, count));
  }
  return absl::OkStatus();
}

}  // namespace fttrain
