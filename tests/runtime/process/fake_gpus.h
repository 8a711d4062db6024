// GPUs that are told of instead of being there.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "runtime/process/device.h"

namespace fttrain {

class FakeGpus : public GpuRuntime {
 public:
  explicit FakeGpus(std::vector<Gpu> gpus, int64_t free_bytes = 0, std::string why_none = "")
      : gpus_(std::move(gpus)), free_bytes_(free_bytes), why_none_(std::move(why_none)) {}
  int Count() const override { return static_cast<int>(gpus_.size()); }
  std::string WhyNone() const override { return why_none_; }
  Gpu Describe(int index) const override { return gpus_.at(static_cast<size_t>(index)); }
  void Open(int index) const override { opened.push_back(index); }
  int64_t FreeBytes() const override { return free_bytes_; }
  mutable std::vector<int> opened;

 private:
  std::vector<Gpu> gpus_;
  int64_t free_bytes_;
  std::string why_none_;
};

}  // namespace fttrain
