// Rows of a model's matrix that are the same to the bit: those of an output head that training
// never reached, as reserved tokens' may be. Between such tokens no adapter can tell: their logits
// are equal whatever comes in.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/config/spec.h"
#include "runtime/files/safetensors.h"

namespace fttrain {

struct EqualRows {
  int64_t row = 0;
  bool zero = false;            // all of it
  std::vector<int64_t> others;  // equal rows, ascending, the first kMostOthers
  int64_t others_in_all = 0;
  static constexpr size_t kMostOthers = 8;
};

// Of `rows` of the head (a tied one is the embedding) those that are zero or equal to another row
// of it, in their order. Nothing of a head in NF4, whose rows have lost what tells them apart, nor
// of one that is missing or of another shape, which loading refuses. Reads the head's tensor once,
// by whole rows through kStagingBytes of memory (70B: 2 GB of bfloat16, about a second from the
// page cache, where loading then finds it). With all of ATen's threads; one process calls it.
absl::StatusOr<std::vector<EqualRows>> FindEqualHeadRows(const SafetensorsFolder& files,
                                                         const ModelSpec& model,
                                                         const std::vector<int64_t>& rows);

}  // namespace fttrain
