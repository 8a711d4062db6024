#include "model/files/weight_loader.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/files/mxfp4_folder.h"
#include "model/files/nf4_folder.h"
#include "model/files/slice_reader.h"
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

// The names, the first kMaxListed of them: "3 missing: a, b, c".
void AppendList(std::string& message, const std::vector<std::string>& items, const char* what) {
  if (items.empty()) return;
  const size_t shown = std::min(items.size(), kMaxListed);
  absl::StrAppend(&message, message.empty() ? "" : "; ", items.size(), " ", what, ": ",
                  absl::StrJoin(items.begin(), items.begin() + shown, ", "));
  if (shown < items.size()) absl::StrAppend(&message, ", ...");
}

// The embedding is a tied model's head: a head of its own in the files must hold the same values,
// or it would be dropped without a word.
absl::Status CheckTiedHead(const SafetensorsFolder& folder, const ModelSpec& model) {
  const std::string head = "lm_head.weight", table = model.embedding + ".weight";
  if (!folder.Contains(head)) return absl::OkStatus();
  const std::vector<int64_t> shape = {model.vocab_size, model.hidden_size};
  const int64_t rows = shape[0], step = std::max<int64_t>(1, kStagingElements / shape[1]);
  const auto is_wide = [&](const std::string& name) {
    const SafetensorsEntry* entry = folder.Find(name);
    return entry != nullptr && entry->dtype == SafetensorsDtype::kF64;
  };
  const at::ScalarType dtype = is_wide(head) || is_wide(table) ? at::kDouble : at::kFloat;
  for (int64_t row = 0; row < rows; row += step) {
    const auto load = [&](const std::string& name) {
      return LoadSlice(folder, name, shape, 0, row, std::min(step, rows - row), dtype, at::kCPU);
    };
    FT_ASSIGN_OR_RETURN(const at::Tensor of_head, load(head));
    FT_ASSIGN_OR_RETURN(const at::Tensor of_table, load(table));
    if (at::equal(of_head, of_table)) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        folder.PathOf(head), ": tensor '", head, "' differs from '", table,
        "' although tie_word_embeddings is true: set it to false in ", folder.path(),
        "/config.json to use the file's head, or take the tensor out to use the embedding"));
  }
  return absl::OkStatus();
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
  const SliceRuns slice = RunsOf(shape, dim, offset, extent);
  const at::ScalarType from = *FloatTypeOf(folder.Find(name)->dtype);
  if (from == destination.scalar_type() && destination.is_cpu()) {
    return ReadRuns(folder, name, slice, DtypeBytes(folder.Find(name)->dtype),
                    static_cast<char*>(destination.data_ptr()));
  }
  const at::Tensor flat = destination.view({-1});
  return ReadByPieces(folder, name, slice, from, destination.device(),
                      [&](int64_t first, const at::Tensor& host) {
                        flat.narrow(0, first, host.numel()).copy_(host, /*non_blocking=*/true);
                        return absl::OkStatus();
                      });
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
  for (const std::string& prefix : model.unread_prefixes) {
    for (const std::string& name : folder.Names()) {
      if (name.starts_with(prefix)) ignored.push_back(name);
    }
  }
  std::vector<TensorSpec> expected = ModelTensors(model);
  if (model.quantized) {
    FT_RETURN_IF_ERROR(ReadNf4Folder(folder, model).status());
    const std::vector<std::string> quantized = Nf4TensorNames(folder, model);
    const std::set<std::string> names(quantized.begin(), quantized.end());
    std::erase_if(expected, [&](const TensorSpec& t) { return names.contains(t.name); });
    ignored.insert(ignored.end(), quantized.begin(), quantized.end());
  }
  for (const TensorSpec& stack : Mxfp4Tensors(folder, model)) {
    FT_RETURN_IF_ERROR(CheckMxfp4Tensor(folder, stack.name, stack.shape));
    std::erase_if(expected, [&](const TensorSpec& t) { return t.name == stack.name; });
    for (std::string& name : Mxfp4TensorNames(stack.name)) ignored.push_back(std::move(name));
  }
  FT_RETURN_IF_ERROR(CheckTensors(folder, expected, ignored));
  return model.head.tied ? CheckTiedHead(folder, model) : absl::OkStatus();
}

}  // namespace fttrain
