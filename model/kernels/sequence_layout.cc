#include "model/kernels/sequence_layout.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "runtime/memory/upload.h"

namespace fttrain {

SequenceLayout MakeSequenceLayout(std::vector<int32_t> cu_seqlens, c10::Device device) {
  TORCH_CHECK(cu_seqlens.size() >= 2 && cu_seqlens.front() == 0,
              "cu_seqlens must start with 0 and end one document at least; it has ",
              cu_seqlens.size(), " entries");
  SequenceLayout layout;
  std::vector<int64_t> positions;
  positions.reserve(static_cast<size_t>(std::max(0, cu_seqlens.back())));
  for (size_t d = 0; d + 1 < cu_seqlens.size(); ++d) {
    const int64_t length = int64_t{cu_seqlens[d + 1]} - cu_seqlens[d];
    TORCH_CHECK(length > 0 && cu_seqlens[d + 1] <= cu_seqlens.back(),
                "cu_seqlens must ascend: entry ", d + 1, " is ", cu_seqlens[d + 1], " after ",
                cu_seqlens[d]);
    layout.max_document_tokens = std::max(layout.max_document_tokens, length);
    for (int64_t i = 0; i < length; ++i) positions.push_back(i);
  }
  layout.positions = Upload(positions, device);
  layout.cu_seqlens_device = Upload(cu_seqlens, device);
  layout.cu_seqlens = std::move(cu_seqlens);
  return layout;
}

}  // namespace fttrain
