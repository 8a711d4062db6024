#include "model/files/nf4_export.h"

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "model/files/nf4_folder.h"
#include "model/files/tensor_io.h"
#include "runtime/math/ceil_divide.h"
#include "runtime/process/check.h"

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

Nf4Export::Nf4Export(FolderWriter& writer, std::vector<int64_t> shape, const Nf4Options& options)
    : writer_(writer),
      shape_(shape),
      options_(options),
      stream_(std::move(shape), options, at::kCPU) {}

absl::Status Nf4Export::Append(const at::Tensor& values) {
  FT_ASSIGN_OR_RETURN(const at::Tensor codes, stream_.Add(values));
  return writer_.Append(codes.data_ptr(), codes.nbytes());
}

absl::Status Nf4Export::Finish() {
  const auto append = [&](const at::Tensor& tensor) {
    return writer_.Append(tensor.data_ptr(), tensor.nbytes());
  };
  float offset = 0;
  if (options_.double_quant) {
    FT_ASSIGN_OR_RETURN(const Nf4Scales scales, stream_.Scales());
    offset = scales.offset;
    FT_RETURN_IF_ERROR(append(scales.codes));
    FT_RETURN_IF_ERROR(append(Nf4CodeValues()));
    FT_RETURN_IF_ERROR(append(scales.groups));
    FT_RETURN_IF_ERROR(append(Nf4ScaleValues()));
  } else {
    FT_RETURN_IF_ERROR(append(stream_.absmax()));
    FT_RETURN_IF_ERROR(append(Nf4CodeValues()));
  }
  const std::string json = Nf4StateJson(shape_, options_, offset);
  return writer_.Append(json.data(), static_cast<int64_t>(json.size()));
}

}  // namespace fttrain
