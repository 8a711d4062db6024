// The words of a checkpoint for what a state piece is.
#pragma once

#include <c10/core/ScalarType.h>

#include <string>

#include "parallel/optimizer/state.h"

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

// As safetensors spells it.
inline std::string DtypeWord(at::ScalarType dtype) {
  if (dtype == at::kDouble) return "F64";
  return dtype == at::kByte ? "U8" : "F32";
}

}  // namespace fttrain
