// Model folders into other forms, on files, a piece of a matrix at a time: quantised to NF4, or
// with an adapter merged in. Memory: some MiB, the float32 scales of one matrix, and where a matrix
// is dequantised its 4-bit form.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/config/spec.h"
#include "model/files/adapter.h"
#include "model/files/folder_writer.h"
#include "model/nf4/nf4.h"
#include "runtime/files/safetensors.h"

namespace fttrain {

// A model folder, opened and checked: every tensor is there with its shape.
struct SourceFolder {
  std::string path;
  ModelSpec model;
  std::unique_ptr<SafetensorsFolder> files;
  std::optional<Nf4Options> nf4;  // of a folder that is quantised
};
absl::StatusOr<SourceFolder> OpenSource(const std::string& path);

// The dtype of the matrices that become NF4 of a folder that is not quantised, as quant states have
// it: F64 counts as float32. InvalidArgument if they differ.
absl::StatusOr<at::ScalarType> MatrixDtype(const SourceFolder& source, bool quantize_head);

enum class MergeBase { kOriginal, kDequantized };

struct Conversion {
  // Matrices that become NF4 on the way or in the output: their form, rounding included. Ignored
  // where the source is quantised, which keeps its own.
  Nf4Options nf4;
  bool quantize_head = false;
  bool write_nf4 = false;                 // else floating matrices
  MergeBase base = MergeBase::kOriginal;  // kDequantized: what an NF4 base of these makes of them
  std::string adapter;                    // folder; empty: none
  int64_t max_shard_bytes = FolderWriter::kShardBytes;
  // Called after each tensor of the source: how far the output is.
  std::function<void(const FolderWriter&)> progress = [](const FolderWriter&) {};
};

// What was written, for the report.
struct Converted {
  int64_t quantized_matrices = 0, quantized_parameters = 0, quantized_bytes = 0;
  int64_t adapted_matrices = 0;
  std::vector<std::string> dense;  // linear layers that stay floating, lm_head among them
};

// Writes `output`: nothing of it is there unless all went well. Merged: W + scale B A formed in
// float32 (float64 for F64), rounded to the source's dtype. A matrix without an adapter is copied,
// or quantised from its own values. generation_config.json is the base's with the ids at which the
// adapter's folder says that answers end (GenerationConfigWith). Errors name file and tensor:
// InvalidArgument where adapter and model do not fit, DataLoss for values that are not finite,
// ResourceExhausted for a full disk.
absl::StatusOr<Converted> ConvertFolder(const SourceFolder& source, const Conversion& conversion,
                                        const std::string& output);

}  // namespace fttrain
