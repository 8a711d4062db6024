// Keys and values of a document that is being written, layer by layer: what its next token attends
// to, so that no token is computed twice.
#pragma once

#include <map>
#include <string>

#include "model/kernels/decode_attention.h"

namespace fttrain {

// Of one document, on a rank: of its layers and its kv heads. Memory is booked as kSaved and grows
// with the document by halves.
class DocumentCache {
 public:
  // Appends `keys` (rotated) and `values`, [T, K, D], of the document's next T tokens in `layer`, a
  // name of its own. Returns what there is: with a window (else 0) what the last token sees, at
  // least.
  const KeysAndValues& Append(const std::string& layer, const at::Tensor& keys,
                              const at::Tensor& values, int64_t window);
  bool Knows(const std::string& layer) const { return layers_.count(layer) > 0; }

 private:
  std::map<std::string, KeysAndValues> layers_;
};

}  // namespace fttrain
