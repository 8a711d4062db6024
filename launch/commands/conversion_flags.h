// What `quantize` and `merge` have in common.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "launch/command_line.h"
#include "model/files/convert_folder.h"
#include "runtime/process/process.h"

namespace fttrain {

// InvalidArgument on more than one rank, and without --model and --output.
absl::Status CheckConversion(const CommandLine& line, const Process& process);

// InvalidArgument unless --output is a folder that does not exist or is empty.
absl::Status CheckNewFolder(const std::string& output, const std::string& model);

// Whether --block_size, --double_quant or --lm_head was given.
bool HasFormFlags(const CommandLine& line);
// --block_size and --double_quant into `conversion`, and --lm_head checked against the model.
absl::Status ParseForm(const CommandLine& line, const ModelSpec& model, Conversion& conversion);

// ConvertFolder with a line every few seconds that says how far it is. Not a wrong use but a bad
// file is what it refuses.
absl::StatusOr<Converted> Convert(const SourceFolder& source, Conversion conversion,
                                  const std::string& output);

// "224 matrices in NF4, 134217728 parameters at 4.127 bits; not quantised: lm_head", of a
// conversion that wrote NF4.
std::string Described(const Converted& done);

}  // namespace fttrain
