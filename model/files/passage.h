// How one tensor of a model folder goes into another (convert_folder.h).
#pragma once

#include <c10/core/ScalarType.h>

#include <map>
#include <optional>
#include <string>

#include "model/config/spec.h"
#include "model/files/adapter.h"
#include "model/files/convert_folder.h"

namespace fttrain {

struct Passage {
  TensorSpec tensor;
  at::ScalarType dtype = at::kFloat;  // of its values
  bool adapted = false;
  bool from_nf4 = false, to_nf4 = false;  // 4 bits in the source, in the output
  bool from_mxfp4 = false;                // written in bfloat16
  // Of a tensor whose adapter is a parameter's of experts: the expert's linear; of a stack the
  // first's.
  std::optional<LinearSpec> expert = {};
  bool dequantized = false;  // its values are what NF4 makes of them
};

// `experts`: AdaptedExperts of the adapter.
Passage PassageOf(const TensorSpec& tensor, const SourceFolder& source,
                  const Conversion& conversion, const AdapterFolder& adapter,
                  const std::map<std::string, LinearSpec>& experts);

}  // namespace fttrain
