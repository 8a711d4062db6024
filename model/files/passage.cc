#include "model/files/passage.h"

#include "model/files/nf4_folder.h"
#include "model/files/tensor_io.h"

namespace fttrain {

Passage PassageOf(const TensorSpec& tensor, const SourceFolder& source,
                  const Conversion& conversion, const AdapterFolder& adapter,
                  const std::map<std::string, LinearSpec>& experts) {
  Passage passage{.tensor = tensor};
  const bool linear = !tensor.module.empty() && tensor.role != LinearRole::kRouter;
  passage.adapted = linear && adapter.modules.contains(tensor.module);
  if (const auto expert = experts.find(tensor.name); expert != experts.end()) {
    passage.adapted = true;
    passage.expert = expert->second;
  }
  passage.from_mxfp4 = source.files->Find(tensor.name) == nullptr;
  passage.from_nf4 = linear && source.nf4 && IsNf4Tensor(*source.files, tensor.name);
  passage.dtype = passage.from_nf4     ? source.nf4->rounding
                  : passage.from_mxfp4 ? at::kBFloat16
                                       : *FloatTypeOf(source.files->Find(tensor.name)->dtype);
  // Whether an NF4 base of this conversion has the matrix in 4 bits.
  const bool in_nf4_base =
      source.nf4 ? passage.from_nf4
                 : linear && (tensor.module != kHeadModule || conversion.quantize_head) &&
                       (tensor.role != LinearRole::kExpert || conversion.quantize_experts);
  passage.to_nf4 = conversion.write_nf4 && in_nf4_base;
  passage.dequantized = passage.from_nf4 || (conversion.base == MergeBase::kDequantized &&
                                             in_nf4_base && (passage.adapted || !passage.to_nf4));
  return passage;
}

}  // namespace fttrain
