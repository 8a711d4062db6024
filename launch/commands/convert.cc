// `fttrain quantize` and `fttrain merge`: a model folder into another form, on files.
#include <algorithm>
#include <chrono>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "launch/commands/commands.h"
#include "launch/exit_code.h"
#include "launch/plan/paths.h"
#include "model/files/convert_folder.h"
#include "model/files/nf4_folder.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

namespace fs = std::filesystem;

// One process, and the folders that the command needs.
absl::Status CheckConversion(const CommandLine& line, const Process& process) {
  if (process.world_size() > 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", line.command, "' runs in one process, here are ", process.world_size(),
                     " ranks: leave out mpirun"));
  }
  if (!line.Has("model") || !line.Has("output")) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", line.command, "' needs --model=FOLDER and --output=FOLDER"));
  }
  if (line.command == "merge" && !line.Has("adapter")) {
    return absl::InvalidArgumentError("'merge' needs --adapter=FOLDER");
  }
  return absl::OkStatus();
}

// InvalidArgument unless --output is a folder that does not exist or is empty.
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

// --model, once all folders are as they must be.
absl::StatusOr<SourceFolder> OpenModel(const CommandLine& line, const Process& process) {
  FT_RETURN_IF_ERROR(CheckConversion(line, process));
  FT_ASSIGN_OR_RETURN(const std::string model,
                      FindModelFolder(line.Get("model"), "--model", HubCacheRoots()));
  FT_RETURN_IF_ERROR(CheckNewFolder(line.Get("output"), model));
  FT_ASSIGN_OR_RETURN(SourceFolder source, FromFile(OpenSource(model)));
  for (const std::string& note : source.model.notes) LogInfo("note       " + note);
  return source;
}

bool HasFormFlags(const CommandLine& line) {
  return line.Has("block_size") || line.Has("double_quant") || line.Has("lm_head") ||
         line.Has("experts");
}

absl::StatusOr<bool> TrueOrFalse(const CommandLine& line, const char* flag) {
  const std::string word = line.Get(flag);
  if (word == "true" || word == "false") return word == "true";
  return absl::InvalidArgumentError(absl::StrCat("--", flag, " must be true or false"));
}

// --block_size, --double_quant, --lm_head and --experts, and the dtype of what becomes NF4.
absl::Status ParseForm(const CommandLine& line, const SourceFolder& source, bool uses_nf4,
                       Conversion& conversion) {
  FT_ASSIGN_OR_RETURN(conversion.nf4.block_size,
                      line.Number<int64_t>("block_size", IsNf4BlockSize, "32, 64, 128, ... 4096"));
  FT_ASSIGN_OR_RETURN(conversion.nf4.double_quant, TrueOrFalse(line, "double_quant"));
  FT_ASSIGN_OR_RETURN(conversion.quantize_experts, TrueOrFalse(line, "experts"));
  if (line.Has("experts") && !HasExperts(source.model)) {
    return absl::InvalidArgumentError(absl::StrCat("--experts: ", Printable(source.path), " is ",
                                                   source.model.family, ", which has none"));
  }
  conversion.quantize_head = line.Has("lm_head");
  if (conversion.quantize_head) {
    FT_RETURN_IF_ERROR(CheckHeadCanBeNf4(source.model, "--lm_head"));
  }
  if (!uses_nf4) return absl::OkStatus();
  if (conversion.quantize_experts && HasStackedExperts(source.model)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--experts=true, the default: ", Printable(source.path), " is ", source.model.family,
        ", which has the experts of a layer in one tensor: no file that bitsandbytes reads holds "
        "such in NF4, and what NF4 makes of them is not written here (a qlora run quantises them "
        "while it reads them); --experts=false takes them as the files have them"));
  }
  FT_ASSIGN_OR_RETURN(conversion.nf4.rounding,
                      FromFile(MatrixDtype(*source.files, source.model, conversion.quantize_head)));
  return absl::OkStatus();
}

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
    return absl::InvalidArgumentError(absl::StrCat(
        "--block_size, --double_quant, --lm_head and --experts: --model ", Printable(source.path),
        " is quantised already and keeps its form; leave them out"));
  }
  const bool uses_nf4 = conversion.write_nf4 || conversion.base == MergeBase::kDequantized;
  if (!uses_nf4 && HasFormFlags(line)) {
    return absl::InvalidArgumentError(
        "--block_size, --double_quant, --lm_head and --experts say how to quantise: they need "
        "--quantize or --base=dequantized");
  }
  return ParseForm(line, source, uses_nf4, conversion);
}

// "0.3%".
std::string Percent(const UpdateShare& share) {
  return absl::StrFormat("%.1f%%", 100 * share.value());
}

// The matrix with the smallest share and the one with the largest: "0.1% (lm_head) to 0.4% (...)".
std::string Extremes(const Converted& done) {
  const auto [least, most] = std::minmax_element(
      done.updates.begin(), done.updates.end(),
      [](const auto& a, const auto& b) { return a.second.value() < b.second.value(); });
  return absl::StrCat("of a matrix ", Percent(least->second), " (", least->first, ") to ",
                      Percent(most->second), " (", most->first, ")");
}

// InvalidArgument where a smaller share than --least_share of the adapter's update is left.
absl::Status CheckUpdate(const Converted& done, bool write_nf4, double least_share) {
  if (done.update.value() >= least_share) return absl::OkStatus();
  const std::string bits = write_nf4 ? "into 4 bits" : "into the base's dtype";
  return WithExitCode(
      absl::InvalidArgumentError(absl::StrCat(
          "merged ", bits, ", ", Percent(done.update), " of the adapter's update would be left (",
          Extremes(done), "), and --least_share asks for ",
          absl::StrFormat("%g%%", 100 * least_share),
          ": what is less than half a step of these numbers is rounded away. Nothing was written. ",
          write_nf4
              ? "Merge into 16 bits (leave out --quantize), or keep the adapter beside its base"
              : "Keep the adapter beside its base",
          " (generate, chat, eval and PEFT take both); --least_share=0 writes it all the same")),
      kExitUsage);
}

// ConvertFolder with a line every few seconds that says how far it is. Not a wrong use but a bad
// file is what it refuses.
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

// "224 matrices in NF4, 134217728 parameters at 4.127 bits; not quantised: lm_head", of a
// conversion that wrote NF4.
std::string Described(const Converted& done) {
  std::string text = absl::StrFormat("%d matrices in NF4, %d parameters at %.3f bits",
                                     done.quantized_matrices, done.quantized_parameters,
                                     8.0 * static_cast<double>(done.quantized_bytes) /
                                         static_cast<double>(done.quantized_parameters));
  constexpr size_t kMostNames = 6;
  const size_t names = std::min(kMostNames, done.dense.size());
  if (names > 0) {
    absl::StrAppend(&text, "; not quantised: ",
                    absl::StrJoin(done.dense.begin(), done.dense.begin() + names, ", "));
  }
  if (done.dense.size() > names) {
    absl::StrAppend(&text, " and ", done.dense.size() - names, " more");
  }
  return text;
}

}  // namespace

absl::Status QuantizeCommand(const CommandLine& line, const Process& process) {
  FT_ASSIGN_OR_RETURN(const SourceFolder source, OpenModel(line, process));
  if (source.nf4) {
    return absl::InvalidArgumentError(
        absl::StrCat("--model ", Printable(source.path), " is quantised already"));
  }
  Conversion conversion;
  conversion.write_nf4 = true;
  FT_RETURN_IF_ERROR(ParseForm(line, source, /*uses_nf4=*/true, conversion));
  FT_ASSIGN_OR_RETURN(const Converted done, Convert(source, conversion, line.Get("output")));
  LogInfo(absl::StrCat("quantised  ", Described(done)));
  LogInfo(absl::StrCat("saved      ", line.Get("output")));
  return absl::OkStatus();
}

absl::Status MergeCommand(const CommandLine& line, const Process& process) {
  FT_ASSIGN_OR_RETURN(const SourceFolder source, OpenModel(line, process));
  Conversion conversion;
  conversion.adapter = line.Get("adapter");
  FT_RETURN_IF_ERROR(ChooseBase(line, source, conversion));
  FT_RETURN_IF_ERROR(ChooseForm(line, source, conversion));
  FT_ASSIGN_OR_RETURN(
      const double least_share,
      line.Number<double>(
          "least_share", [](double share) { return share >= 0 && share <= 1; }, "in [0, 1]"));
  conversion.accept = [&](const Converted& done) {
    return CheckUpdate(done, conversion.write_nf4, least_share);
  };
  FT_ASSIGN_OR_RETURN(const Converted done, Convert(source, conversion, line.Get("output")));
  LogInfo(absl::StrCat("merged     ", done.adapted_matrices, " matrices, base ",
                       conversion.base == MergeBase::kOriginal ? "original" : "dequantized"));
  if (!done.updates.empty()) {
    LogInfo(absl::StrCat("update     ", Percent(done.update),
                         " of it is left in what was written, ", Extremes(done)));
  }
  if (done.quantized_matrices > 0) LogInfo(absl::StrCat("quantised  ", Described(done)));
  LogInfo(absl::StrCat("saved      ", line.Get("output")));
  return absl::OkStatus();
}

}  // namespace fttrain
