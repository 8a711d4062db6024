// A model folder whose matrices are stored as NF4 in bitsandbytes' form. Beside NAME.weight, the
// codes as bytes (or the same bytes under a floating dtype, bnb_4bit_quant_storage), stand
//   NAME.weight.absmax         float32 [blocks], or uint8 codes with double quantisation
//   NAME.weight.quant_map      float32 [16]
//   NAME.weight.nested_absmax, NAME.weight.nested_quant_map   float32 [groups], [256]
//   NAME.weight.quant_state.bitsandbytes__nf4                 uint8, the bytes of a JSON object
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/config/spec.h"
#include "model/nf4/nf4.h"
#include "runtime/files/safetensors.h"

namespace fttrain {

inline constexpr char kNf4StateKey[] = ".quant_state.bitsandbytes__nf4";
inline constexpr char kHeadModule[] = "lm_head";

// InvalidArgument if the head is the embedding table, which is never quantised. `asked`: the key or
// flag that asks for a quantised head, for the message.
absl::Status CheckHeadCanBeNf4(const ModelSpec& model, const std::string& asked);

// The dtype of the matrices that become NF4 of a folder that is not quantised, as quant states have
// it: codes are made from the files' own values, whatever computes with them, and a dequantised
// value is rounded to this dtype. F64 counts as float32. InvalidArgument if they differ. Of what is
// not there, or is no number, CheckModelTensors tells.
absl::StatusOr<at::ScalarType> MatrixDtype(const SafetensorsFolder& folder, const ModelSpec& model,
                                           bool quantize_head);

struct Nf4Folder {
  Nf4Options options;  // the same for every quantised matrix
  // Linear layers that are not quantised; a tied lm_head is one. Without experts where `experts` is
  // false: none of theirs is quantised.
  std::vector<std::string> dense;
  bool experts = true;
};
// Which modules are quantised, by the tensors, and how. Reads and checks every quant state and
// every map. Errors name file, tensor and key: InvalidArgument for a missing or wrong one, or for
// matrices that do not agree.
absl::StatusOr<Nf4Folder> ReadNf4Folder(const SafetensorsFolder& folder, const ModelSpec& model);

// Names of all that belongs to quantised matrices, for CheckTensors.
std::vector<std::string> Nf4TensorNames(const SafetensorsFolder& folder, const ModelSpec& model);

// One quantised matrix of the folder; checks it alone. `shape` is [out, in].
struct Nf4State {
  Nf4Options options;
  float offset = 0;
};
absl::StatusOr<Nf4State> ReadNf4State(const SafetensorsFolder& folder, const std::string& weight,
                                      const std::vector<int64_t>& shape);
bool IsNf4Tensor(const SafetensorsFolder& folder, const std::string& weight);

// What a file declares for the matrix `weight` of [out, in], in the order of the list above.
std::vector<SafetensorsWriter::Tensor> Nf4FileTensors(const std::string& weight,
                                                      const std::vector<int64_t>& shape,
                                                      const Nf4Options& options);
// The text of the quant state; its length does not depend on the offset, because files declare it
// before that is known.
std::string Nf4StateJson(const std::vector<int64_t>& shape, const Nf4Options& options,
                         float offset);

// float32 [16]: the value of each code. float32 [256]: of each scale's code.
at::Tensor Nf4CodeValues();
at::Tensor Nf4ScaleValues();

}  // namespace fttrain
