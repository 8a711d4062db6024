#include "launch/commands/conversion_flags.h"

#include <chrono>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "launch/exit_code.h"
#include "model/files/nf4_folder.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace fs = std::filesystem;

absl::Status CheckConversion(const CommandLine& line, const Process& process) {
  if (process.world_size() > 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", line.command, "' runs in one process, here are ", process.world_size(),
                     " ranks: leave out mpirun"));
  }
  if (line.Has("model") && line.Has("output")) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("'", line.command, "' needs --model=FOLDER and --output=FOLDER"));
}

absl::Status CheckNewFolder(const std::string& output, const std::string& model) {
  std::error_code error;
  const std::string shown = Printable(output);
  if (fs::equivalent(output, model, error)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--output ", shown, " is the folder of --model: choose another"));
  }
  if (!fs::exists(fs::symlink_status(output, error))) return absl::OkStatus();
  if (!fs::is_directory(output, error)) {
    return absl::InvalidArgumentError(absl::StrCat("--output ", shown, " is not a folder"));
  }
  const bool is_empty = fs::is_empty(output, error);
  if (error) {
    return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot read --output ", shown));
  }
  if (is_empty) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--output ", shown, " is not empty: choose a new folder"));
}

bool HasFormFlags(const CommandLine& line) {
  return line.Has("block_size") || line.Has("double_quant") || line.Has("lm_head");
}

absl::Status ParseForm(const CommandLine& line, const ModelSpec& model, Conversion& conversion) {
  FT_ASSIGN_OR_RETURN(conversion.nf4.block_size,
                      line.Number<int64_t>("block_size", IsNf4BlockSize, "32, 64, 128, ... 4096"));
  const std::string double_quant = line.Get("double_quant");
  if (double_quant != "true" && double_quant != "false") {
    return absl::InvalidArgumentError("--double_quant must be true or false");
  }
  conversion.nf4.double_quant = double_quant == "true";
  conversion.quantize_head = line.Has("lm_head");
  return conversion.quantize_head ? CheckHeadCanBeNf4(model, "--lm_head") : absl::OkStatus();
}

absl::StatusOr<Converted> Convert(const SourceFolder& source, Conversion conversion,
                                  const std::string& output) {
  static constexpr std::chrono::seconds kBetweenLines(5);
  auto last = std::chrono::steady_clock::now();
  conversion.progress = [&last](const FolderWriter& writer) {
    const auto now = std::chrono::steady_clock::now();
    if (now - last < kBetweenLines) return;
    last = now;
    const double gib = 1 << 30;
    LogInfo(absl::StrFormat("written    %d of %d tensors, %.1f of %.1f GiB", writer.next(),
                            writer.tensors().size(),
                            static_cast<double>(writer.written_bytes()) / gib,
                            static_cast<double>(writer.total_bytes()) / gib));
  };
  return FromFile(ConvertFolder(source, conversion, output));
}

std::string Described(const Converted& done) {
  std::string text = absl::StrFormat("%d matrices in NF4, %d parameters at %.3f bits",
                                     done.quantized_matrices, done.quantized_parameters,
                                     8.0 * static_cast<double>(done.quantized_bytes) /
                                         static_cast<double>(done.quantized_parameters));
  if (!done.dense.empty()) {
    absl::StrAppend(&text, "; not quantised: ", absl::StrJoin(done.dense, ", "));
  }
  return text;
}

}  // namespace fttrain
