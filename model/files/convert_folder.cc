#include "model/files/convert_folder.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/config/generation_config.h"
#include "model/config/model_config.h"
#include "model/config/quantization_config.h"
#include "model/files/merge_factors.h"
#include "model/files/mxfp4_folder.h"
#include "model/files/nf4_folder.h"
#include "model/files/nf4_loader.h"
#include "model/files/passage.h"
#include "model/files/tensor_io.h"
#include "model/files/weight_loader.h"
#include "model/kernels/dispatch.h"
#include "runtime/memory/ledger.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

// One run over a model's tensors, in order.
class Converter {
 public:
  Converter(const SourceFolder& source, const Conversion& conversion, AdapterFolder adapter)
      : source_(source), conversion_(conversion), adapter_(std::move(adapter)) {
    if (source.nf4) conversion_.nf4 = *source.nf4;
  }

  absl::StatusOr<Converted> Run(const std::string& output) {
    std::vector<Passage> passages;
    std::vector<SafetensorsWriter::Tensor> declared;
    const std::map<std::string, LinearSpec> experts = AdaptedExperts(source_.model, adapter_.form);
    for (const TensorSpec& tensor : ModelTensors(source_.model)) {
      passages.push_back(PassageOf(tensor, source_, conversion_, adapter_, experts));
      Declare(passages.back(), declared);
    }
    FT_ASSIGN_OR_RETURN(const std::string config, Config());
    FT_ASSIGN_OR_RETURN(writer_, FolderWriter::Create(source_.path, output, std::move(declared),
                                                      config, conversion_.max_shard_bytes));
    if (!adapter_.end_ids.empty()) {
      FT_ASSIGN_OR_RETURN(const std::string generation,
                          GenerationConfigWith(source_.path, adapter_.end_ids));
      FT_RETURN_IF_ERROR(writer_->PutFile(kGenerationConfigFile, generation));
    }
    for (const Passage& passage : passages) {
      FT_RETURN_IF_ERROR(Write(passage));
      conversion_.progress(*writer_);
    }
    FT_RETURN_IF_ERROR(conversion_.accept(done_));
    FT_RETURN_IF_ERROR(writer_->Finish());
    return std::move(done_);
  }

 private:
  // What the output holds of a tensor, also for the report.
  void Declare(const Passage& passage, std::vector<SafetensorsWriter::Tensor>& declared) {
    const auto& [name, shape, module, role, constant, float32] = passage.tensor;
    if (passage.adapted) ++done_.adapted_matrices;
    if (!passage.to_nf4) {
      declared.push_back({name, *FloatDtypeOf(passage.dtype), shape});
      if (!module.empty()) done_.dense.push_back(module);
      return;
    }
    std::ranges::move(Nf4FileTensors(name, shape, conversion_.nf4), std::back_inserter(declared));
    ++done_.quantized_matrices;
    done_.quantized_parameters += shape[0] * shape[1];
    done_.quantized_bytes += MakeNf4Layout(WholeParam(name, shape), conversion_.nf4).bytes;
  }

  absl::StatusOr<std::string> Config() const {
    const std::string dtype = DtypeWord(conversion_.nf4.rounding);
    std::string quantization;
    if (conversion_.write_nf4) {
      std::vector<std::string> skipped = done_.dense;
      if (source_.model.head.tied) skipped.push_back(kHeadModule);
      quantization = MakeQuantizationConfig(conversion_.nf4.double_quant, dtype, skipped).dump();
    }
    return ConfigWith(source_.path, source_.nf4 || conversion_.write_nf4 ? dtype : "",
                      quantization);
  }

  absl::Status Write(const Passage& passage) {
    const TensorSpec& tensor = passage.tensor;
    if (!passage.adapted && passage.from_nf4 && passage.to_nf4) return CopyNf4(tensor);
    const bool stack = tensor.shape.size() == 3;
    if (stack && (passage.from_mxfp4 || passage.adapted)) return WriteStack(passage);
    if (passage.to_nf4) return Quantize(passage);
    if (!passage.adapted && !passage.dequantized) return Copy(tensor.name);
    return ForEachPiece(passage, [&](const at::Tensor& values) {
      if (values.isfinite().all().item<bool>()) {
        return writer_->Append(values, values.scalar_type());
      }
      return absl::DataLossError(
          absl::StrCat("a value is not finite in ", DtypeWord(passage.dtype)));
    });
  }

  // A tensor's bytes, unchanged.
  absl::Status Copy(const std::string& name) {
    const int64_t bytes = source_.files->Find(name)->size_bytes;
    std::vector<char> buffer(std::min(bytes, kStagingBytes));
    for (int64_t begin = 0; begin < bytes; begin += kStagingBytes) {
      const int64_t count = std::min(kStagingBytes, bytes - begin);
      FT_RETURN_IF_ERROR(source_.files->ReadBytes(name, begin, count, buffer.data()));
      FT_RETURN_IF_ERROR(writer_->Append(buffer.data(), count));
    }
    return absl::OkStatus();
  }

  // A stack of matrices [count, in, columns], a matrix at a time.
  absl::Status WriteStack(const Passage& passage) {
    const TensorSpec& spec = passage.tensor;
    UpdateShare share;
    for (int64_t index = 0; index < spec.shape[0]; ++index) {
      FT_ASSIGN_OR_RETURN(const at::Tensor values, MatrixOfStack(passage, index));
      if (!passage.adapted) {
        FT_RETURN_IF_ERROR(writer_->Append(values, passage.dtype));
        continue;
      }
      FT_ASSIGN_OR_RETURN(
          factors_,
          LoadExpertFactors(adapter_, WholeOfStack(*passage.expert, index), passage.dtype));
      const at::Tensor sum = Updated(values.t(), {0, spec.shape[2]}).t();
      const at::Tensor merged = sum.to(passage.dtype);
      if (!merged.isfinite().all().item<bool>()) {
        return Named(passage, absl::DataLossError("a value is not finite"));
      }
      FT_RETURN_IF_ERROR(writer_->Append(merged, passage.dtype));
      share += ShareOfUpdate(values, sum, merged, nullptr);
    }
    if (passage.adapted) {
      done_.updates.emplace_back(spec.name, share);
      done_.update += share;
    }
    return absl::OkStatus();
  }

  absl::StatusOr<at::Tensor> MatrixOfStack(const Passage& passage, int64_t index) const {
    const std::string& name = passage.tensor.name;
    const std::vector<int64_t>& shape = passage.tensor.shape;
    if (passage.from_mxfp4) {
      const at::Tensor rows = at::empty({shape[2], shape[1]}, at::TensorOptions(at::kBFloat16));
      FT_RETURN_IF_ERROR(ReadMxfp4(*source_.files, name, shape, index, 0, 1, rows));
      return rows.t();
    }
    FT_ASSIGN_OR_RETURN(const at::Tensor matrix, LoadSlice(*source_.files, name, shape, 0, index, 1,
                                                           passage.dtype, at::kCPU));
    return matrix.squeeze(0);
  }

  // A matrix that is NF4 there and here, bit for bit.
  absl::Status CopyNf4(const TensorSpec& spec) {
    FT_ASSIGN_OR_RETURN(const Nf4State state, ReadNf4State(*source_.files, spec.name, spec.shape));
    FT_RETURN_IF_ERROR(Copy(spec.name));
    return WriteScales(
        spec, state.offset, [&] { return Copy(spec.name + ".absmax"); },
        [&] { return Copy(spec.name + ".nested_absmax"); });
  }

  absl::Status Quantize(const Passage& passage) {
    Nf4Stream stream(passage.tensor.shape, conversion_.nf4, at::kCPU);
    FT_RETURN_IF_ERROR(ForEachPiece(passage, [&](const at::Tensor& values) -> absl::Status {
      FT_ASSIGN_OR_RETURN(const at::Tensor codes, stream.Add(values));
      return writer_->Append(codes, at::kByte);
    }));
    const absl::StatusOr<Nf4Scales> scales = stream.Scales();
    if (!scales.ok()) return Named(passage, scales.status());
    return WriteScales(
        passage.tensor, scales->offset,
        [&] { return writer_->Append(scales->codes, scales->codes.scalar_type()); },
        [&] { return writer_->Append(scales->groups, at::kFloat); });
  }

  // What follows the codes of a matrix in NF4 (Nf4FileTensors). `absmax` and `groups` append their
  // own.
  absl::Status WriteScales(const TensorSpec& spec, float offset,
                           absl::FunctionRef<absl::Status()> absmax,
                           absl::FunctionRef<absl::Status()> groups) {
    FT_RETURN_IF_ERROR(absmax());
    FT_RETURN_IF_ERROR(writer_->Append(Nf4CodeValues(), at::kFloat));
    if (conversion_.nf4.double_quant) {
      FT_RETURN_IF_ERROR(groups());
      FT_RETURN_IF_ERROR(writer_->Append(Nf4ScaleValues(), at::kFloat));
    }
    const std::string json = Nf4StateJson(spec.shape, conversion_.nf4, offset);
    return writer_->Append(json.data(), static_cast<int64_t>(json.size()));
  }

  // The matrix with its adapter, in the source's dtype, by whole rows that are whole blocks.
  absl::Status ForEachPiece(const Passage& passage,
                            absl::FunctionRef<absl::Status(const at::Tensor& values)> take) {
    const TensorSpec& spec = passage.tensor;
    const int64_t rows = spec.shape[0], columns = spec.shape[1];
    const int64_t block = conversion_.nf4.block_size, whole = block / std::gcd(block, columns);
    const int64_t step = std::max<int64_t>(1, kStagingElements / columns / whole) * whole;
    FT_RETURN_IF_ERROR(LoadAdapterOf(passage));
    UpdateShare share;
    Nf4Matrix nf4;
    if (passage.dequantized) {
      nf4.layout = MakeNf4Layout(WholeParam(spec.name, spec.shape), conversion_.nf4);
      nf4.bytes = at::zeros({nf4.layout.bytes}, at::TensorOptions(at::kByte));
      FT_RETURN_IF_ERROR(LoadNf4(*source_.files, spec.name, spec.shape, nf4));
    }
    for (int64_t row = 0; row < rows; row += step) {
      const Range range{row, std::min(step, rows - row)};
      at::Tensor values = at::empty({range.extent, columns}, at::TensorOptions(passage.dtype));
      if (nf4.bytes.defined()) {
        DequantizeNf4(nf4, range, {0, columns}, values);
      } else {
        FT_RETURN_IF_ERROR(LoadSliceInto(*source_.files, spec.name, spec.shape, 0, range.offset,
                                         range.extent, values));
      }
      if (!passage.adapted) {
        FT_RETURN_IF_ERROR(Named(passage, take(values)));
        continue;
      }
      const at::Tensor sum = Updated(values, range), merged = sum.to(passage.dtype);
      FT_RETURN_IF_ERROR(Named(passage, take(merged)));
      share += ShareOfUpdate(values, sum, merged, passage.to_nf4 ? &conversion_.nf4 : nullptr);
    }
    if (passage.adapted) {
      done_.updates.emplace_back(spec.module, share);
      done_.update += share;
    }
    return absl::OkStatus();
  }

  // What is wrong with the values of a tensor, with its name.
  absl::Status Named(const Passage& passage, const absl::Status& status) const {
    if (status.code() != absl::StatusCode::kDataLoss) return status;
    const std::string& name = passage.tensor.name;
    return absl::DataLossError(absl::StrCat(source_.files->PathOf(name), ": tensor '", name, "'",
                                            passage.adapted ? " with the adapter merged" : "", ": ",
                                            status.message()));
  }

  absl::Status LoadAdapterOf(const Passage& passage) {
    if (!passage.adapted) return absl::OkStatus();
    auto loaded = passage.expert ? LoadExpertFactors(adapter_, *passage.expert, passage.dtype)
                                 : LoadFactors(adapter_, passage.tensor, passage.dtype);
    if (loaded.ok()) factors_ = *std::move(loaded);
    return loaded.status();
  }

  // Rows of the matrix with the update.
  at::Tensor Updated(const at::Tensor& values, const Range& rows) const {
    const auto& [a, b, scale] = factors_;
    at::Tensor sum = values.to(a.scalar_type(), /*non_blocking=*/false, /*copy=*/true);
    return sum.addmm_(b.narrow(0, rows.offset, rows.extent), a, 1, scale);
  }

  const SourceFolder& source_;
  Conversion conversion_;
  AdapterFolder adapter_;
  MergeFactors factors_;  // of the matrix at hand
  std::unique_ptr<FolderWriter> writer_;
  Converted done_;
};

}  // namespace

absl::StatusOr<SourceFolder> OpenSource(const std::string& path) {
  SourceFolder source;
  source.path = path;
  FT_ASSIGN_OR_RETURN(source.model, LoadModelConfig(path));
  FT_ASSIGN_OR_RETURN(source.files, SafetensorsFolder::Open(path));
  FT_RETURN_IF_ERROR(CheckModelTensors(*source.files, source.model));
  if (source.model.quantized) {
    FT_ASSIGN_OR_RETURN(const Nf4Folder nf4, ReadNf4Folder(*source.files, source.model));
    source.nf4 = nf4.options;
  }
  return source;
}

absl::StatusOr<Converted> ConvertFolder(const SourceFolder& source, const Conversion& conversion,
                                        const std::string& output) {
  const MemoryScope scope(MemoryCategory::kWorkspace);
  AdapterFolder adapter;
  if (!conversion.adapter.empty()) {
    FT_ASSIGN_OR_RETURN(adapter, OpenAdapterFolder(conversion.adapter, source.model));
  }
  return Converter(source, conversion, std::move(adapter)).Run(output);
}

}  // namespace fttrain
