// What a file has of a matrix in NF4.
#include <ATen/ATen.h>

#include "model/files/nf4_folder.h"
#include "model/files/tensor_io.h"
#include "model/nf4/math.h"
#include "runtime/files/json.h"
#include "runtime/math/ceil_divide.h"
#include "runtime/math/dynamic_map.h"

namespace fttrain {

std::string Nf4StateJson(const std::vector<int64_t>& shape, const Nf4Options& options,
                         float offset) {
  constexpr size_t kLongestNumber = 24;
  nlohmann::ordered_json json = {{"quant_type", "nf4"},
                                 {"blocksize", options.block_size},
                                 {"dtype", DtypeWord(options.rounding)},
                                 {"shape", shape}};
  if (!options.double_quant) return json.dump();
  json["nested_blocksize"] = kNf4Group;
  json["nested_dtype"] = "float32";
  json["nested_offset"] = 0;
  const size_t length = json.dump().size() + kLongestNumber;
  json["nested_offset"] = static_cast<double>(offset);
  std::string text = json.dump();
  text.resize(length, ' ');
  return text;
}

std::vector<SafetensorsWriter::Tensor> Nf4FileTensors(const std::string& weight,
                                                      const std::vector<int64_t>& shape,
                                                      const Nf4Options& options) {
  using Dtype = SafetensorsDtype;
  const int64_t elements = shape[0] * shape[1];
  const int64_t blocks = CeilDivide(elements, options.block_size);
  const auto json_bytes = static_cast<int64_t>(Nf4StateJson(shape, options, 0).size());
  std::vector<SafetensorsWriter::Tensor> tensors = {
      {weight, Dtype::kU8, {CeilDivide(elements, 2), 1}},
      {weight + ".absmax", options.double_quant ? Dtype::kU8 : Dtype::kF32, {blocks}},
      {weight + ".quant_map", Dtype::kF32, {16}}};
  if (options.double_quant) {
    tensors.push_back({weight + ".nested_absmax", Dtype::kF32, {CeilDivide(blocks, kNf4Group)}});
    tensors.push_back({weight + ".nested_quant_map", Dtype::kF32, {256}});
  }
  tensors.push_back({weight + kNf4StateKey, Dtype::kU8, {json_bytes}});
  return tensors;
}

at::Tensor Nf4CodeValues() {
  constexpr Nf4Table kTable = MakeNf4Table();
  return at::tensor(c10::ArrayRef<float>(kTable.values));
}

at::Tensor Nf4ScaleValues() {
  return at::tensor(c10::ArrayRef<float>(SignedDynamicMap().data(), 256));
}

}  // namespace fttrain
