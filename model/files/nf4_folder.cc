#include "model/files/nf4_folder.h"

#include <ATen/ATen.h>

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/files/tensor_io.h"
#include "model/nf4/math.h"
#include "runtime/files/json.h"
#include "runtime/math/ceil_divide.h"
#include "runtime/math/dynamic_map.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

constexpr const char* kKeys[] = {".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map",
                                 kNf4StateKey};
constexpr int64_t kMaxStateBytes = 64 << 10;

using Shape = std::vector<int64_t>;

// Reads and checks what belongs to one matrix. The first error stays.
class StateReader {
 public:
  StateReader(const SafetensorsFolder& folder, const std::string& weight, const Shape& shape)
      : folder_(folder), weight_(weight), shape_(shape) {}

  absl::StatusOr<Nf4State> Read() {
    Nf4State state;
    FT_RETURN_IF_ERROR(ReadState(state));
    const Nf4Options& options = state.options;
    const int64_t elements = shape_[0] * shape_[1];
    const int64_t blocks = CeilDivide(elements, options.block_size);
    CheckCodes(CeilDivide(elements, 2));
    using Dtype = SafetensorsDtype;
    Check(".absmax", options.double_quant ? Dtype::kU8 : Dtype::kF32, blocks);
    CheckMap(".quant_map", Nf4CodeValues());
    if (options.double_quant) {
      Check(".nested_absmax", Dtype::kF32, CeilDivide(blocks, kNf4Group));
      CheckMap(".nested_quant_map", Nf4ScaleValues());
    }
    if (!status_.ok()) return status_;
    return state;
  }

 private:
  void Fail(const std::string& tensor, const std::string& message) {
    if (!status_.ok()) return;
    status_ = absl::InvalidArgumentError(
        absl::StrCat(folder_.PathOf(weight_), ": tensor '", Printable(tensor), "' ", message));
  }

  absl::Status ReadState(Nf4State& state) {
    const std::string name = weight_ + kNf4StateKey;
    const SafetensorsEntry* entry = folder_.Find(name);
    if (entry == nullptr) return Fail(name, "is missing"), status_;
    if (entry->dtype != SafetensorsDtype::kU8 || entry->size_bytes > kMaxStateBytes) {
      return Fail(name, "is not the bytes of a quant state"), status_;
    }
    std::string text(entry->size_bytes, '\0');
    FT_RETURN_IF_ERROR(folder_.ReadBytes(name, 0, entry->size_bytes, text.data()));
    const std::string where =
        absl::StrCat(folder_.PathOf(name), ": tensor '", Printable(name), "'");
    FT_ASSIGN_OR_RETURN(const nlohmann::json json, ParseJsonObject(text, where));
    JsonKeys keys(json, where);
    ReadKeys(keys, state);
    return keys.status();
  }

  void ReadKeys(JsonKeys& keys, Nf4State& state) {
    Nf4Options& options = state.options;
    const std::string type = keys.Text("quant_type", "");
    if (type != "nf4") keys.Fail("quant_type", absl::StrCat("is '", Printable(type), "', not nf4"));
    options.block_size = keys.Int("blocksize", 1);
    const int64_t block = options.block_size;
    if (!IsNf4BlockSize(block)) {
      keys.Fail("blocksize", absl::StrCat("is ", block, ", not a power of two in [32, 4096]"));
    }
    const std::string dtype = keys.Text("dtype", "");
    options.rounding = dtype == "bfloat16"  ? at::kBFloat16
                       : dtype == "float16" ? at::kHalf
                                            : at::kFloat;
    if (DtypeWord(options.rounding) != dtype) {
      keys.Fail("dtype",
                absl::StrCat("is '", Printable(dtype), "', not float32, bfloat16, float16"));
    }
    const nlohmann::json* shape = keys.Find("shape");
    if (shape == nullptr || *shape != nlohmann::json(shape_)) {
      keys.Fail("shape",
                absl::StrCat("is ", shape == nullptr ? "missing" : Printable(shape->dump()),
                             ", the model's is [", absl::StrJoin(shape_, ", "), "]"));
    }
    options.double_quant =
        folder_.Contains(weight_ + ".nested_absmax") || keys.Find("nested_blocksize") != nullptr;
    if (!options.double_quant) return;
    if (keys.Int("nested_blocksize", 1) != kNf4Group) {
      keys.Fail("nested_blocksize", absl::StrCat("must be ", kNf4Group));
    }
    if (keys.Text("nested_dtype", "float32") != "float32") {
      keys.Fail("nested_dtype", "must be float32");
    }
    const nlohmann::json* offset = keys.Find("nested_offset");
    const bool is_number = offset != nullptr && offset->is_number();
    state.offset = is_number ? offset->get<float>() : 0;
    if (!is_number || !std::isfinite(state.offset)) {
      keys.Fail("nested_offset", "must be a finite number");
    }
  }

  // Null if absent.
  const SafetensorsEntry* Require(const std::string& name) {
    const SafetensorsEntry* entry = folder_.Find(name);
    if (entry == nullptr) Fail(name, "is missing");
    return entry;
  }

  void CheckCodes(int64_t bytes) {
    const SafetensorsEntry* entry = Require(weight_);
    if (entry != nullptr && entry->size_bytes != bytes) {
      Fail(weight_, absl::StrCat("has ", entry->size_bytes, " bytes; [",
                                 absl::StrJoin(shape_, ", "), "] in 4 bits has ", bytes));
    }
  }

  bool Check(const char* key, SafetensorsDtype dtype, int64_t elements) {
    const std::string name = weight_ + key;
    const SafetensorsEntry* entry = Require(name);
    if (entry == nullptr) return false;
    if (entry->dtype == dtype && entry->size_bytes == elements * DtypeBytes(dtype)) return true;
    Fail(name, absl::StrCat("is ", DtypeName(entry->dtype).data(), " [",
                            absl::StrJoin(entry->shape, ", "), "], expected ",
                            DtypeName(dtype).data(), " [", elements, "]"));
    return false;
  }

  void CheckMap(const char* key, const at::Tensor& expected) {
    const std::string name = weight_ + key;
    if (!Check(key, SafetensorsDtype::kF32, expected.numel())) return;
    const at::Tensor map = at::empty_like(expected);
    const absl::Status read = folder_.ReadBytes(name, 0, map.nbytes(), map.data_ptr());
    if (!read.ok() && status_.ok()) status_ = read;
    // Other versions compute the map with other roundings.
    const at::Tensor error = (map - expected).abs();
    if (!(error <= expected.abs() * 1e-5).all().item<bool>()) {
      Fail(name, "holds other values than NF4's: another data type?");
    }
  }

  const SafetensorsFolder& folder_;
  const std::string& weight_;
  const Shape& shape_;
  absl::Status status_;
};

bool Same(const Nf4Options& a, const Nf4Options& b) {
  return a.block_size == b.block_size && a.double_quant == b.double_quant &&
         a.rounding == b.rounding;
}

std::string Described(const Nf4Options& options) {
  return absl::StrCat("blocksize ", options.block_size, ", ",
                      options.double_quant ? "nested scales" : "float32 scales", ", dtype ",
                      DtypeWord(options.rounding));
}

bool HasNf4Experts(const SafetensorsFolder& folder, const ModelSpec& model) {
  for (const TensorSpec& matrix : LinearMatrices(model)) {
    if (matrix.role == LinearRole::kExpert && IsNf4Tensor(folder, matrix.name)) return true;
  }
  return false;
}

// As transformers 4 quantises it unless it is told not to.
absl::Status CheckRouters(const SafetensorsFolder& folder, const ModelSpec& model) {
  for (const TensorSpec& tensor : ModelTensors(model)) {
    if (tensor.role != LinearRole::kRouter || !IsNf4Tensor(folder, tensor.name)) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        folder.PathOf(tensor.name), ": tensor '", tensor.name,
        "' is in 4 bits: a router of experts is not computed from such; quantise without it"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckHeadCanBeNf4(const ModelSpec& model, const std::string& asked) {
  if (!model.head.tied) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(asked,
                   ": this model's head is its embedding table (tie_word_embeddings), which "
                   "is not quantised; leave it out"));
}

absl::StatusOr<at::ScalarType> MatrixDtype(const SafetensorsFolder& folder, const ModelSpec& model,
                                           bool quantize_head) {
  std::string first_name;
  at::ScalarType first = at::kFloat;
  for (const TensorSpec& matrix : LinearMatrices(model)) {
    if (matrix.module == kHeadModule && !quantize_head) continue;
    const SafetensorsEntry* entry = folder.Find(matrix.name);
    if (entry == nullptr || !FloatTypeOf(entry->dtype)) continue;
    const at::ScalarType dtype = *FloatTypeOf(entry->dtype);
    if (first_name.empty()) {
      first_name = matrix.name;
      first = dtype;
    }
    if (dtype == first) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        folder.path(), ": '", matrix.name, "' is ", DtypeWord(dtype), ", but '", first_name,
        "' is ", DtypeWord(first), ": matrices in 4 bits are made from one dtype"));
  }
  return first == at::kDouble ? at::kFloat : first;
}

bool IsNf4Tensor(const SafetensorsFolder& folder, const std::string& weight) {
  for (const char* key : kKeys) {
    if (folder.Contains(weight + key)) return true;
  }
  return false;
}

absl::StatusOr<Nf4State> ReadNf4State(const SafetensorsFolder& folder, const std::string& weight,
                                      const Shape& shape) {
  return StateReader(folder, weight, shape).Read();
}

absl::StatusOr<Nf4Folder> ReadNf4Folder(const SafetensorsFolder& folder, const ModelSpec& model) {
  Nf4Folder result;
  std::string first;
  FT_RETURN_IF_ERROR(CheckRouters(folder, model));
  result.experts = !HasExperts(model) || HasNf4Experts(folder, model);
  for (const TensorSpec& matrix : LinearMatrices(model)) {
    const std::string& weight = matrix.name;
    if (!IsNf4Tensor(folder, weight)) {
      const bool listed = result.experts || matrix.role != LinearRole::kExpert;
      if (listed) result.dense.push_back(matrix.module);
      continue;
    }
    FT_ASSIGN_OR_RETURN(const Nf4State state, ReadNf4State(folder, weight, matrix.shape));
    if (first.empty()) {
      first = weight;
      result.options = state.options;
    }
    if (!Same(state.options, result.options)) {
      return absl::InvalidArgumentError(absl::StrCat(
          folder.path(), ": '", weight, "' is quantised with ", Described(state.options), ", but '",
          first, "' with ", Described(result.options), ": one form for all is supported"));
    }
  }
  if (model.head.tied) result.dense.push_back(kHeadModule);
  if (!first.empty()) return result;
  return absl::InvalidArgumentError(
      absl::StrCat(folder.path(),
                   ": config.json has a quantization_config, but no matrix of the "
                   "files has a quant state"));
}

std::vector<std::string> Nf4TensorNames(const SafetensorsFolder& folder, const ModelSpec& model) {
  std::vector<std::string> names;
  for (const TensorSpec& matrix : LinearMatrices(model)) {
    if (!IsNf4Tensor(folder, matrix.name)) continue;
    names.push_back(matrix.name);
    for (const char* key : kKeys) names.push_back(matrix.name + key);
  }
  return names;
}

}  // namespace fttrain
