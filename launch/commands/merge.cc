// `fttrain merge`: an adapter into its base, on files.
#include "absl/strings/str_cat.h"
#include "launch/commands/commands.h"
#include "launch/commands/conversion_flags.h"
#include "launch/exit_code.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

// What --base, or the folder without it, says.
absl::Status ChooseBase(const CommandLine& line, const SourceFolder& source,
                        Conversion& conversion) {
  const std::string fallback = source.nf4 ? "dequantized" : "original";
  const std::string base = line.Has("base") ? line.Get("base") : fallback;
  if (base != "original" && base != "dequantized") {
    return absl::InvalidArgumentError("--base must be original or dequantized");
  }
  conversion.base = base == "original" ? MergeBase::kOriginal : MergeBase::kDequantized;
  if (source.nf4 && base == "original") {
    return absl::InvalidArgumentError(absl::StrCat(
        "--base=original: --model ", Printable(source.path),
        " holds NF4 weights only; give the folder of the unquantised model, or leave out --base"));
  }
  return absl::OkStatus();
}

// The form of what is or becomes NF4.
absl::Status ChooseForm(const CommandLine& line, const SourceFolder& source,
                        Conversion& conversion) {
  conversion.write_nf4 = line.Has("quantize");
  if (source.nf4) {
    if (!HasFormFlags(line)) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("--block_size, --double_quant and --lm_head: --model ", Printable(source.path),
                     " is quantised already and keeps its form; leave them out"));
  }
  const bool uses_nf4 = conversion.write_nf4 || conversion.base == MergeBase::kDequantized;
  if (!uses_nf4 && HasFormFlags(line)) {
    return absl::InvalidArgumentError(
        "--block_size, --double_quant and --lm_head say how to quantise: they need --quantize or "
        "--base=dequantized");
  }
  FT_RETURN_IF_ERROR(ParseForm(line, source.model, conversion));
  if (!uses_nf4) return absl::OkStatus();
  FT_ASSIGN_OR_RETURN(conversion.nf4.rounding,
                      FromFile(MatrixDtype(source, conversion.quantize_head)));
  return absl::OkStatus();
}

}  // namespace

absl::Status MergeCommand(const CommandLine& line, const Process& process) {
  FT_RETURN_IF_ERROR(CheckConversion(line, process));
  if (!line.Has("adapter")) {
    return absl::InvalidArgumentError("'merge' needs --adapter=FOLDER");
  }
  const std::string output = line.Get("output");
  FT_RETURN_IF_ERROR(CheckNewFolder(output, line.Get("model")));
  FT_ASSIGN_OR_RETURN(const SourceFolder source, FromFile(OpenSource(line.Get("model"))));
  Conversion conversion;
  conversion.adapter = line.Get("adapter");
  FT_RETURN_IF_ERROR(ChooseBase(line, source, conversion));
  FT_RETURN_IF_ERROR(ChooseForm(line, source, conversion));
  FT_ASSIGN_OR_RETURN(const Converted done, Convert(source, conversion, output));
  LogInfo(absl::StrCat("merged     ", done.adapted_matrices, " matrices, base ",
                       conversion.base == MergeBase::kOriginal ? "original" : "dequantized"));
  if (done.quantized_matrices > 0) LogInfo(absl::StrCat("quantised  ", Described(done)));
  LogInfo(absl::StrCat("saved      ", output));
  return absl::OkStatus();
}

}  // namespace fttrain
