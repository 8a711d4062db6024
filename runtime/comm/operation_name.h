// What operations between ranks are called where they are told of, by watchdogs and in errors. .cc
// files of runtime/ only.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstddef>

namespace fttrain {

enum class Collective { kAllReduce, kAllGather, kReduceScatter, kSend, kRecv, kAllToAll };

// The place of a dtype among those that communicators take; 5 of any other.
inline int DtypeNumber(c10::ScalarType dtype) {
  switch (dtype) {
    case c10::ScalarType::Double:
      return 0;
    case c10::ScalarType::Float:
      return 1;
    case c10::ScalarType::BFloat16:
      return 2;
    case c10::ScalarType::Long:
      return 3;
    case c10::ScalarType::Byte:
      return 4;
    default:
      return 5;
  }
}

// "all_reduce of float32": a literal, so that telling of it is a store.
inline const char* OperationName(Collective operation, int dtype) {
  static constexpr const char* kNames[6][6] = {
      {"all_reduce of float64", "all_reduce of float32", "all_reduce of bfloat16",
       "all_reduce of int64", "all_reduce of uint8", "all_reduce"},
      {"all_gather of float64", "all_gather of float32", "all_gather of bfloat16",
       "all_gather of int64", "all_gather of uint8", "all_gather"},
      {"reduce_scatter of float64", "reduce_scatter of float32", "reduce_scatter of bfloat16",
       "reduce_scatter of int64", "reduce_scatter of uint8", "reduce_scatter"},
      {"send of float64", "send of float32", "send of bfloat16", "send of int64", "send of uint8",
       "send"},
      {"recv of float64", "recv of float32", "recv of bfloat16", "recv of int64", "recv of uint8",
       "recv"},
      {"all_to_all of float64", "all_to_all of float32", "all_to_all of bfloat16",
       "all_to_all of int64", "all_to_all of uint8", "all_to_all"}};
  return kNames[static_cast<size_t>(operation)][dtype];
}
inline const char* OperationName(Collective operation, c10::ScalarType dtype) {
  return OperationName(operation, DtypeNumber(dtype));
}

}  // namespace fttrain
