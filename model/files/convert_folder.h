// Model folders into other forms, on files, a piece of a matrix at a time: quantised to NF4, or
// with an adapter merged in. Memory: some MiB, the float32 scales of one matrix, and where a matrix
// is dequantised its 4-bit form.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/config/spec.h"
#include "model/files/adapter.h"
#include "model/files/folder_writer.h"
#include "model/files/update_share.h"
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

enum class MergeBase { kOriginal, kDequantized };

// What was written, for the report.
struct Converted {
  int64_t quantized_matrices = 0, quantized_parameters = 0, quantized_bytes = 0;
  int64_t adapted_matrices = 0;
  std::vector<std::string> dense;  // linear layers that stay floating, lm_head among them
  // What is left of the adapter's update, in all and of each adapted matrix: (module, share).
  UpdateShare update;
  std::vector<std::pair<std::string, UpdateShare>> updates;
};

struct Conversion {
  // Matrices that become NF4 on the way or in the output: their form, rounding included. Ignored
  // where the source is quantised, which keeps its own.
  Nf4Options nf4;
  bool quantize_head = false;
  bool quantize_experts = true;           // never stacked ones, of which files have no form in NF4
  bool write_nf4 = false;                 // else floating matrices
  MergeBase base = MergeBase::kOriginal;  // kDequantized: what an NF4 base of these makes of them
  std::string adapter;                    // folder; empty: none
  int64_t max_shard_bytes = FolderWriter::kShardBytes;
  // Called after each tensor of the source: how far the output is.
  std::function<void(const FolderWriter&)> progress = [](const FolderWriter&) {};
  // Called when all is written, before anything is seen of it: an error is that of ConvertFolder.
  std::function<absl::Status(const Converted&)> accept = [](const Converted&) {
    return absl::OkStatus();
  };
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
