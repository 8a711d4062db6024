// The words of a checkpoint for what a state piece is.
#pragma once

#include <c10/core/ScalarType.h>

#include <string>

#include "model/files/tensor_io.h"
#include "parallel/optimizer/state.h"
#include "runtime/files/safetensors.h"

namespace fttrain {

inline std::string KindWord(StateKind kind) {
  switch (kind) {
    case StateKind::kMaster:
      return "master";
    case StateKind::kExpAvg:
      return "exp_avg";
    case StateKind::kExpAvgSq:
      return "exp_avg_sq";
    case StateKind::kExpAvgCodes:
      return "exp_avg_codes";
    case StateKind::kExpAvgSqCodes:
      return "exp_avg_sq_codes";
    case StateKind::kExpAvgAbsmax:
      return "exp_avg_absmax";
    case StateKind::kExpAvgSqAbsmax:
      return "exp_avg_sq_absmax";
  }
  return "";
}

// Elements of the parameter that one value of the kind stands for: those of a block for its scale.
inline int64_t ElementsPerValue(const std::string& kind) {
  const bool scale =
      kind == KindWord(StateKind::kExpAvgAbsmax) || kind == KindWord(StateKind::kExpAvgSqAbsmax);
  return scale ? kInt8Block : 1;
}

// Of a piece's values, as safetensors spells it.
inline std::string StoredDtype(at::ScalarType dtype) {
  return std::string(
      DtypeName(FloatDtypeOf(dtype).value_or(SafetensorsDtype::kU8)));  // codes are no floats
}

}  // namespace fttrain
