// What rank 0 says before the first step.
#pragma once

#include <string>
#include <vector>

#include "absl/types/span.h"
#include "data/formats/dataset.h"
#include "data/packing/packer.h"
#include "launch/run/build.h"
#include "launch/run/weights.h"

namespace fttrain {

// What rank 0 computes on, and how ranks communicate.
struct Machine {
  c10::Device device = c10::Device(c10::kCPU);
  std::string gpu = {};        // the device's name, where it is one
  std::string transport = {};  // as Network's
};

// Several lines: model, mesh and which layers and ranks a stage has, trainable parameters in PEFT's
// words, the adapter and what it is on, the form of a quantised base and what of it is not
// quantised, data, global batch.
std::string StartSummary(const Task& task, const Layout& layout, const Machine& machine,
                         const ParameterCounts& parameters, const DatasetSummary& data);
std::string StartSummary(const Job& job);

// What is held out of training, what of it is cut, and when it is evaluated (eval_steps below 0:
// not said): a line.
std::string HeldOutSummary(const DatasetSummary& data, int64_t sequence_len, int64_t eval_steps);

// What was made of a file's rows: a line, and one for each thing that there is to say.
std::vector<std::string> FileLines(const DatasetReport& report);
// Of all files, as rank 0 says it once they are read.
std::string FilesSummary(absl::Span<const DatasetReport> reports);

// One line: the bytes of each category that the process holds now, by the ledger.
std::string HeldSummary();

}  // namespace fttrain
