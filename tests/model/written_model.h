// A folder with model.safetensors of given CPU tensors, opened.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/files/safetensors.h"
#include "tests/temp_folder.h"

namespace fttrain {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

inline SafetensorsDtype SafetensorsDtypeOf(const at::Tensor& tensor) {
  using Dtype = SafetensorsDtype;
  switch (tensor.scalar_type()) {
    case at::kDouble:
      return Dtype::kF64;
    case at::kFloat:
      return Dtype::kF32;
    case at::kHalf:
      return Dtype::kF16;
    case at::kBFloat16:
      return Dtype::kBF16;
    case at::kByte:
      return Dtype::kU8;
    default:
      return Dtype::kI64;
  }
}

inline void WriteTensors(const std::string& path, const NamedTensors& tensors) {
  std::vector<SafetensorsWriter::Tensor> declared;
  for (const auto& [name, tensor] : tensors) {
    declared.push_back({name, SafetensorsDtypeOf(tensor), tensor.sizes().vec()});
  }
  auto writer = SafetensorsWriter::Create(path, declared, {{"format", "pt"}});
  ASSERT_TRUE(writer.ok()) << writer.status();
  for (const auto& [name, tensor] : tensors) {
    EXPECT_TRUE((*writer)->Append(tensor.contiguous().data_ptr(), tensor.nbytes()).ok());
  }
  EXPECT_TRUE((*writer)->Finish().ok());
}

class WrittenModel {
 public:
  explicit WrittenModel(const NamedTensors& tensors) {
    WriteTensors(file(), tensors);
    auto opened = SafetensorsFolder::Open(folder_.path());
    EXPECT_TRUE(opened.ok()) << opened.status();
    if (opened.ok()) safetensors_ = *std::move(opened);
  }
  const SafetensorsFolder& folder() const { return *safetensors_; }
  std::string file() const { return folder_ / "model.safetensors"; }
  std::string path() const { return folder_.path(); }

 private:
  TempFolder folder_;
  std::unique_ptr<SafetensorsFolder> safetensors_;
};

}  // namespace fttrain
