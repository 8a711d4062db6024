#include "model/files/weight_loader.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/files/nf4_folder.h"
#include "model/files/tensor_io.h"
#include "runtime/memory/ledger.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

constexpr size_t kMaxListed = 20;

std::string ShapeText(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

// A slice of a row-major tensor: `runs` pieces of run_elements, the first at first_element,
// stride_elements apart. Together, in order, they are the slice, row-major.
struct Runs {
  int64_t runs = 1;
  int64_t run_elements = 0;
  int64_t first_element = 0;
  int64_t stride_elements = 0;
};

Runs RunsOf(const std::vector<int64_t>& shape, int dim, int64_t offset, int64_t extent) {
  const auto product = [&](size_t begin, size_t end) {
    return std::accumulate(shape.begin() + begin, shape.begin() + end, int64_t{1},
                           std::multiplies<>());
  };
  if (dim < 0) return {1, product(0, shape.size()), 0, 0};
  const int64_t inner = product(dim + 1, shape.size());
  return {product(0, dim), extent * inner, offset * inner, shape[dim] * inner};
}

// Reads elements [begin, begin + count) of the slice, counted in the slice, into `out`.
absl::Status ReadElements(const SafetensorsFolder& folder, std::string_view name, const Runs& slice,
                          int64_t element_bytes, int64_t begin, int64_t count, char* out) {
  while (count > 0) {
    const int64_t run = begin / slice.run_elements, within = begin % slice.run_elements;
    const int64_t piece = std::min(count, slice.run_elements - within);
    const int64_t at = slice.first_element + run * slice.stride_elements + within;
    FT_RETURN_IF_ERROR(folder.ReadBytes(name, at * element_bytes, piece * element_bytes, out));
    begin += piece;
    count -= piece;
    out += piece * element_bytes;
  }
  return absl::OkStatus();
}

// The names, the first kMaxListed of them: "3 missing: a, b, c".
void AppendList(std::string& message, const std::vector<std::string>& items, const char* what) {
  if (items.empty()) return;
  const size_t shown = std::min(items.size(), kMaxListed);
  absl::StrAppend(&message, message.empty() ? "" : "; ", items.size(), " ", what, ": ",
                  absl::StrJoin(items.begin(), items.begin() + shown, ", "));
  if (shown < items.size()) absl::StrAppend(&message, ", ...");
}

}  // namespace

absl::Status CheckFloatTensor(const SafetensorsFolder& folder, std::string_view name,
                              const std::vector<int64_t>& shape) {
  const SafetensorsEntry* entry = folder.Find(name);
  const std::string where = absl::StrCat(folder.PathOf(name), ": tensor '", Printable(name), "' ");
  if (entry == nullptr) return absl::NotFoundError(absl::StrCat(where, "is not there"));
  if (entry->shape != shape) {
    return absl::InvalidArgumentError(absl::StrCat(where, "has shape ", ShapeText(entry->shape),
                                                   ", expected ", ShapeText(shape)));
  }
  if (!FloatTypeOf(entry->dtype)) {
    return absl::InvalidArgumentError(absl::StrCat(
        where, "has dtype ", DtypeName(entry->dtype).data(), ", expected F64, F32, F16 or BF16"));
  }
  return absl::OkStatus();
}

absl::StatusOr<at::Tensor> LoadSlice(const SafetensorsFolder& folder, std::string_view name,
                                     const std::vector<int64_t>& shape, int dim, int64_t offset,
                                     int64_t extent, at::ScalarType to, at::Device device) {
  // Before allocating: a wrong shape in a file must not cost memory.
  FT_RETURN_IF_ERROR(CheckFloatTensor(folder, name, shape));
  std::vector<int64_t> local = shape;
  if (dim >= 0) local.at(dim) = extent;
  at::Tensor result;
  {
    const MemoryScope scope(MemoryCategory::kWeights);
    result = at::empty(local, at::TensorOptions().dtype(to).device(device));
  }
  FT_RETURN_IF_ERROR(LoadSliceInto(folder, name, shape, dim, offset, extent, result));
  return result;
}

absl::Status LoadSliceInto(const SafetensorsFolder& folder, std::string_view name,
                           const std::vector<int64_t>& shape, int dim, int64_t offset,
                           int64_t extent, at::Tensor destination) {
  FT_RETURN_IF_ERROR(CheckFloatTensor(folder, name, shape));
  TORCH_CHECK(dim < static_cast<int>(shape.size()), name, ": no dimension ", dim);
  TORCH_CHECK(dim < 0 || (offset >= 0 && extent >= 0 && offset <= shape[dim] - extent), name,
              ": slice [", offset, ", +", extent, ") exceeds dimension ", dim);
  std::vector<int64_t> local = shape;
  if (dim >= 0) local[dim] = extent;
  TORCH_CHECK(destination.sizes() == at::IntArrayRef(local) && destination.is_contiguous(), name,
              ": the destination must be contiguous and ", ShapeText(local), ", is ",
              destination.sizes());
  const Runs slice = RunsOf(shape, dim, offset, extent);
  const at::ScalarType from = *FloatTypeOf(folder.Find(name)->dtype);
  const int64_t element_bytes = DtypeBytes(folder.Find(name)->dtype);
  const int64_t total = destination.numel();
  if (from == destination.scalar_type() && destination.is_cpu()) {
    return ReadElements(folder, name, slice, element_bytes, 0, total,
                        static_cast<char*>(destination.data_ptr()));
  }
  const MemoryScope scope(MemoryCategory::kWorkspace);
  const int64_t most = std::min(total, kStagingBytes / element_bytes);
  const at::Tensor staging = at::empty({most}, at::TensorOptions().dtype(from));
  const at::Tensor flat = destination.view({-1});
  for (int64_t begin = 0; begin < total; begin += most) {
    const int64_t count = std::min(most, total - begin);
    FT_RETURN_IF_ERROR(ReadElements(folder, name, slice, element_bytes, begin, count,
                                    static_cast<char*>(staging.data_ptr())));
    flat.narrow(0, begin, count).copy_(staging.narrow(0, 0, count));
  }
  return absl::OkStatus();
}

absl::Status CheckTensors(const SafetensorsFolder& folder, const std::vector<TensorSpec>& expected,
                          const std::vector<std::string>& ignored) {
  std::vector<std::string> missing, wrong, unexpected;
  std::set<std::string, std::less<>> known(ignored.begin(), ignored.end());
  for (const TensorSpec& tensor : expected) {
    known.insert(tensor.name);
    const SafetensorsEntry* entry = folder.Find(tensor.name);
    if (entry == nullptr) {
      missing.push_back(Printable(tensor.name));
    } else if (entry->shape != tensor.shape) {
      wrong.push_back(absl::StrCat(Printable(tensor.name), " ", ShapeText(entry->shape), " for ",
                                   ShapeText(tensor.shape)));
    } else if (!FloatTypeOf(entry->dtype)) {
      wrong.push_back(absl::StrCat(Printable(tensor.name), " ", DtypeName(entry->dtype).data()));
    }
  }
  for (const std::string& name : folder.Names()) {
    // Old files carry a cached copy of the rotary frequencies, which the config implies.
    if (!known.contains(name) && !name.ends_with(".rotary_emb.inv_freq")) {
      unexpected.push_back(Printable(name));
    }
  }
  std::string message;
  AppendList(message, missing, "missing");
  AppendList(message, wrong, "of wrong shape or dtype");
  AppendList(message, unexpected, "unexpected");
  if (message.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(folder.path(), ": tensors do not fit: ", message));
}

absl::Status CheckModelTensors(const SafetensorsFolder& folder, const ModelSpec& model) {
  std::vector<std::string> ignored;
  if (model.head.tied) ignored.push_back("lm_head.weight");
  std::vector<TensorSpec> expected = ModelTensors(model);
  if (model.quantized) {
    FT_RETURN_IF_ERROR(ReadNf4Folder(folder, model).status());
    const std::vector<std::string> quantized = Nf4TensorNames(folder, model);
    const std::set<std::string> names(quantized.begin(), quantized.end());
    std::erase_if(expected, [&](const TensorSpec& t) { return names.contains(t.name); });
    ignored.insert(ignored.end(), quantized.begin(), quantized.end());
  }
  return CheckTensors(folder, expected, ignored);
}

}  // namespace fttrain
