#include "model/files/part_loader.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "model/files/mxfp4_folder.h"
#include "model/files/nf4_loader.h"
#include "model/files/slice_reader.h"
#include "model/files/tensor_io.h"
#include "model/files/weight_loader.h"
#include "model/matmul/tensor_rows.h"
#include "runtime/memory/ledger.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

TensorPart Part(const std::string& name) {
  std::optional<TensorPart> part = PartOfName(name);
  FT_CHECK(part.has_value() && !part->strides.empty() && part->strides.size() <= 2, name,
           " is no part of a tensor");
  return *std::move(part);
}

// Of a stacked matrix [out, in] of which `slice` is rows or columns.
absl::Status LoadMxfp4(const SafetensorsFolder& folder, const TensorPart& part,
                       const ParamSlice& slice, at::Tensor destination) {
  const int64_t matrix = part.shape[1] * part.shape[2];
  const int64_t step = part.strides[0], index = part.first / matrix;
  const int64_t offset = slice.dim == 0 ? slice.offset : 0;
  const int64_t first = part.first % matrix + offset * step;
  const int64_t rows = destination.size(0), in = part.shape[1];
  const int64_t at_once = std::max<int64_t>(1, LoadPieceBytes(at::kCPU) / (2 * in));
  for (int64_t row = 0; row < rows; row += at_once) {
    const int64_t count = std::min(at_once, rows - row);
    const at::Tensor values = at::empty({count, in}, at::TensorOptions(at::kBFloat16));
    FT_RETURN_IF_ERROR(
        ReadMxfp4(folder, part.tensor, part.shape, index, first + row * step, step, values));
    const bool columns = slice.dim == 1;
    destination.narrow(0, row, count)
        .copy_(columns ? values.narrow(1, slice.offset, slice.extent) : values);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<at::ScalarType> PartDtype(const SafetensorsFolder& folder, const std::string& name) {
  const TensorPart part = Part(name);
  if (part.shape.size() == 3 && IsMxfp4Tensor(folder, part.tensor)) return at::kBFloat16;
  FT_RETURN_IF_ERROR(CheckFloatTensor(folder, part.tensor, part.shape));
  return *FloatTypeOf(folder.Find(part.tensor)->dtype);
}

absl::Status LoadPartInto(const SafetensorsFolder& folder, const ParamSlice& slice,
                          at::Tensor destination) {
  const TensorPart whole = Part(slice.name);
  FT_ASSIGN_OR_RETURN(const at::ScalarType from, PartDtype(folder, slice.name));
  TORCH_CHECK(
      destination.sizes() == at::IntArrayRef(slice.LocalShape()) && destination.is_contiguous(),
      slice.name, ": the destination is ", destination.sizes());
  const MemoryScope scope(MemoryCategory::kWorkspace);
  if (destination.numel() == 0) return absl::OkStatus();
  if (folder.Find(whole.tensor) == nullptr) return LoadMxfp4(folder, whole, slice, destination);
  const TensorPart part = PartOfSlice(whole, slice);
  // Read as rows that are near in the file.
  const std::vector<int64_t> extents = slice.LocalShape();
  const size_t near =
      part.strides.size() == 2 && part.strides[0] < part.strides[1] ? 0 : part.strides.size() - 1;
  const at::Tensor columns = destination.dim() == 1 ? destination.unsqueeze(0)
                             : near == 0            ? destination.t()
                                                    : destination;
  const int64_t far_stride = part.strides.size() == 2 ? part.strides[1 - near] : 0;
  const int64_t run = (extents[near] - 1) * part.strides[near] + 1, rows = columns.size(0);
  const auto bytes = static_cast<int64_t>(c10::elementSize(from));
  const int64_t at_once = std::max<int64_t>(1, LoadPieceBytes(at::kCPU) / (run * bytes));
  const at::Tensor host = at::empty({std::min(at_once, rows), run}, at::TensorOptions(from));
  for (int64_t row = 0; row < rows; row += at_once) {
    const int64_t count = std::min(at_once, rows - row);
    const SliceRuns runs = {.runs = count,
                            .run_elements = run,
                            .first_element = part.first + row * far_stride,
                            .stride_elements = far_stride};
    FT_RETURN_IF_ERROR(
        ReadRuns(folder, part.tensor, runs, bytes, static_cast<char*>(host.data_ptr())));
    columns.narrow(0, row, count)
        .copy_(host.as_strided({count, extents[near]}, {run, part.strides[near]}));
  }
  return absl::OkStatus();
}

absl::Status LoadQuantizingPart(const SafetensorsFolder& folder, const ParamSlice& slice,
                                const Nf4Matrix& matrix) {
  FT_ASSIGN_OR_RETURN(const at::ScalarType from, PartDtype(folder, slice.name));
  const MemoryScope scope(MemoryCategory::kWorkspace);
  const at::Tensor values = at::empty(slice.global_shape, at::TensorOptions(from));
  FT_RETURN_IF_ERROR(LoadPartInto(folder, WholeParam(slice.name, slice.global_shape), values));
  const std::string& tensor = Part(slice.name).tensor;
  const auto named = [&](const absl::Status& status) {
    return absl::Status(status.code(), absl::StrCat(folder.path(), ": tensor '", slice.name,
                                                    "': ", status.message()));
  };
  if (!values.isfinite().all().item<bool>()) {
    return absl::DataLossError(absl::StrCat(folder.PathOf(tensor), ": tensor '", slice.name,
                                            "' holds a value that is not finite"));
  }
  const c10::Device device = matrix.bytes.device();
  Nf4Stream stream(slice.global_shape, matrix.layout.options, device);
  const at::Tensor flat = values.view({-1});
  // Whole blocks of every size.
  const int64_t piece = LoadPieceBytes(at::kCPU) / 8;
  for (int64_t begin = 0; begin < flat.numel(); begin += piece) {
    const int64_t count = std::min(piece, flat.numel() - begin);
    const absl::StatusOr<at::Tensor> codes = stream.Add(flat.narrow(0, begin, count).to(device));
    if (!codes.ok()) return named(codes.status());
    StoreNf4Codes(matrix, begin, count, *codes);
  }
  const absl::StatusOr<Nf4Scales> scales = stream.Scales();
  if (!scales.ok()) return named(scales.status());
  StoreNf4Scales(matrix, *scales);
  return absl::OkStatus();
}

}  // namespace fttrain
