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
  // least, and where tokens were before, what all T see.
  const KeysAndValues& Append(const std::string& layer, const at::Tensor& keys,
                              const at::Tensor& values, int64_t window);
  bool Knows(const std::string& layer) const { return layers_.count(layer) > 0; }
  // Forgets all but the first `tokens`, so that others may follow them. False, and nothing is
  // changed, where a window has forgotten what the next one would see.
  bool CutTo(int64_t tokens);

 private:
  struct Layer {
    KeysAndValues kept;
    int64_t tokens = 0, window = 0;  // tokens: of the document
  };
  std::map<std::string, Layer> layers_;
};

}  // namespace fttrain
