// Documents of a microbatch, back to back. An activation is [T, H]; a document never sees another.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace fttrain {

struct SequenceLayout {
  std::vector<int32_t> cu_seqlens;  // host, [documents + 1], first 0, last T, ascending
  at::Tensor cu_seqlens_device;     // int32 [documents + 1] on the model's device
  at::Tensor positions;             // int64 [T] on the model's device, restarting at 0 per document
  int64_t max_document_tokens = 0;

  int64_t tokens() const { return cu_seqlens.back(); }
  int64_t documents() const { return static_cast<int64_t>(cu_seqlens.size()) - 1; }
};

// Throws c10::Error unless cu_seqlens is as stated.
SequenceLayout MakeSequenceLayout(std::vector<int32_t> cu_seqlens, c10::Device device);

}  // namespace fttrain
