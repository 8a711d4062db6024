// `fttrain quantize`: a model folder in NF4, on files.
#include "absl/strings/str_cat.h"
#include "launch/commands/commands.h"
#include "launch/commands/conversion_flags.h"
#include "launch/exit_code.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {

absl::Status QuantizeCommand(const CommandLine& line, const Process& process) {
  FT_RETURN_IF_ERROR(CheckConversion(line, process));
  const std::string output = line.Get("output");
  FT_RETURN_IF_ERROR(CheckNewFolder(output, line.Get("model")));
  FT_ASSIGN_OR_RETURN(const SourceFolder source, FromFile(OpenSource(line.Get("model"))));
  if (source.nf4) {
    return absl::InvalidArgumentError(
        absl::StrCat("--model ", Printable(source.path), " is quantised already"));
  }
  Conversion conversion;
  conversion.write_nf4 = true;
  FT_RETURN_IF_ERROR(ParseForm(line, source.model, conversion));
  FT_ASSIGN_OR_RETURN(conversion.nf4.rounding,
                      FromFile(MatrixDtype(source, conversion.quantize_head)));
  FT_ASSIGN_OR_RETURN(const Converted done, Convert(source, conversion, output));
  LogInfo(absl::StrCat("quantised  ", Described(done)));
  LogInfo(absl::StrCat("saved      ", output));
  return absl::OkStatus();
}

}  // namespace fttrain
