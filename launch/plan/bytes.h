// What a layout of a task holds, and what the task leaves behind, before anything is allocated.
// Pure.
#pragma once

#include <cstdint>

#include "launch/plan/layout.h"

namespace fttrain {

// Bytes of the device of the rank that holds most, about.
struct DeviceBytes {
  int64_t values = 0;     // parameters
  int64_t training = 0;   // gradients, moments and masters
  int64_t copies = 0;     // of adapters' factors, as products read them
  int64_t kept = 0;       // for backward
  int64_t attention = 0;  // in work in a backward of attention on a GPU, beside what it reads
  // A tenth is in work elsewhere.
  int64_t total() const { return (values + training + copies + kept) / 10 * 11 + attention; }
};

// `declared`: of Declare(task). `host_is_apart`: the host's memory is not the device's (a GPU's).
DeviceBytes BytesOf(const Task& task, const Layout& layout, const ParameterSet& declared,
                    bool host_is_apart);

// Bytes that the run leaves in its output folder, about: weights exactly, headers, metrics and
// config at most, without the tokenizer's files that go with all weights.
int64_t ResultBytes(const Task& task);

// Bytes of one checkpoint, about: masters and moments of what is trained, and an adapter in PEFT's
// form.
int64_t CheckpointBytes(const Task& task, const ParameterSet& declared);

}  // namespace fttrain
