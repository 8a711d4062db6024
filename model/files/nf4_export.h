// One matrix into a model folder in NF4 form.
#pragma once

#include <string>
#include <vector>

#include "model/files/folder_writer.h"
#include "model/files/nf4_loader.h"

namespace fttrain {

// What a file declares for the matrix `weight` of [out, in] (nf4_folder.h), the codes first.
std::vector<SafetensorsWriter::Tensor> Nf4FileTensors(const std::string& weight,
                                                      const std::vector<int64_t>& shape,
                                                      const Nf4Options& options);

// The text of the quant state; its length does not depend on the offset, because files declare it
// before that is known.
std::string Nf4StateJson(const std::vector<int64_t>& shape, const Nf4Options& options,
                         float offset);

// Quantises as elements arrive and writes what Nf4FileTensors declared, in its order: these must be
// the writer's next tensors.
class Nf4Export {
 public:
  Nf4Export(FolderWriter& writer, std::vector<int64_t> shape, const Nf4Options& options);
  absl::Status Append(const at::Tensor& values);  // on the CPU, as Nf4Stream::Add
  absl::Status Finish();

 private:
  FolderWriter& writer_;
  std::vector<int64_t> shape_;
  Nf4Options options_;
  Nf4Stream stream_;
};

}  // namespace fttrain
