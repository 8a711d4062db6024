#include "launch/run/weights.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "launch/exit_code.h"
#include "model/config/generation_config.h"
#include "model/files/adapter_config.h"
#include "model/files/folder_writer.h"
#include "model/files/nf4_loader.h"
#include "model/files/part_loader.h"
#include "model/files/weight_loader.h"
#include "model/linears/adapter_modules.h"
#include "model/linears/peft_names.h"
#include "model/matmul/tensor_rows.h"
#include "parallel/storage/param_gather.h"
#include "runtime/files/whole_file.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

bool IsAdapter(const Parameter& p) { return ParsePeftName(p.slice.name).has_value(); }

absl::Status LoadInto(const SafetensorsFolder& folder, Parameter& p,
                      const std::optional<Nf4Options>& nf4 = {}) {
  const ParamSlice s = SliceInFile(p.slice);
  const bool part = PartOfName(s.name).has_value();
  if (p.packed_bytes > 0) {
    FT_CHECK(nf4.has_value(), s.name, " is packed in a model without NF4");
    if (part) return LoadQuantizingPart(folder, s, {MakeNf4Layout(s, *nf4), p.value});
    return LoadNf4(folder, s.name, s.global_shape, {MakeNf4Layout(s, *nf4), p.value});
  }
  if (part) return LoadPartInto(folder, s, p.value);
  return LoadSliceInto(folder, s.name, s.global_shape, s.dim, s.offset, s.extent, p.value);
}

std::vector<Parameter*> AdapterParameters(const ParameterSet& set) {
  std::vector<Parameter*> adapters;
  for (const auto& p : set.all()) {
    if (IsAdapter(*p)) adapters.push_back(p.get());
  }
  return adapters;
}

// The tensors of files that parameters are, whole, in rows or in other parts.
class FileTensors {
 public:
  explicit FileTensors(const std::vector<Parameter*>& parameters) : parameters_(parameters) {
    for (size_t i = 0; i < parameters.size(); ++i) {
      const std::string& name = parameters[i]->slice.name;
      parameter_names_.push_back(name);
      const std::optional<TensorRows> rows = RowsOfName(name);
      const std::string tensor = TensorOfName(name);
      std::vector<Piece>& pieces = pieces_[tensor];
      if (pieces.empty()) names_.push_back(tensor);
      pieces.push_back({i, rows ? rows->begin : 0});
    }
    for (auto& [name, pieces] : pieces_) {
      std::sort(pieces.begin(), pieces.end(),
                [](const Piece& a, const Piece& b) { return a.begin < b.begin; });
    }
  }
  const std::vector<std::string>& names() const { return names_; }
  const std::vector<std::string>& parameter_names() const { return parameter_names_; }

  // As GatherOnFirstRank; `holders` of all parameters.
  at::Tensor Gather(const std::string& name, const std::vector<Holders>& holders,
                    const ParameterSet& set, ParameterStore& store) const {
    if (PartOfName(parameter_names_[pieces_.at(name).front().parameter])) {
      return GatherParts(name, holders, set, store);
    }
    std::vector<at::Tensor> parts;
    for (const Piece& piece : pieces_.at(name)) {
      const at::Tensor part =
          GatherOnFirstRank(*parameters_[piece.parameter], holders[piece.parameter], set, store);
      if (part.defined()) parts.push_back(part);
    }
    if (parts.size() < pieces_.at(name).size()) return {};
    return parts.size() == 1 ? parts.front() : at::cat(parts);
  }

 private:
  // Of one whose parameters are TensorParts: put together in host memory, one after another.
  at::Tensor GatherParts(const std::string& name, const std::vector<Holders>& holders,
                         const ParameterSet& set, ParameterStore& store) const {
    at::Tensor whole;
    for (const Piece& piece : pieces_.at(name)) {
      const Parameter& parameter = *parameters_[piece.parameter];
      const at::Tensor value = GatherOnFirstRank(parameter, holders[piece.parameter], set, store);
      if (!value.defined()) continue;
      const TensorPart part = *PartOfName(parameter.slice.name);
      if (!whole.defined()) whole = at::empty(part.shape, value.options().device(at::kCPU));
      whole.as_strided(value.sizes(), part.strides, part.first).copy_(value);
    }
    return whole;
  }

  struct Piece {
    size_t parameter;
    int64_t begin;
  };
  std::vector<Parameter*> parameters_;
  std::vector<std::string> names_, parameter_names_;
  std::map<std::string, std::vector<Piece>> pieces_;
};

bool IsFirst(const Mesh& mesh) { return IndexIn(mesh.shape(), mesh.position(), kAllAxes) == 0; }

// Runs `write` on the parameters, group by group. With a status that is not OK the groups are
// passed through all the same: other ranks may be writing.
absl::Status Write(ParameterStore& store, ParameterStore::Values values, const absl::Status& ready,
                   const std::function<absl::Status(Parameter&)>& write) {
  const auto each = [&](const std::vector<Parameter*>& parameters) {
    FT_RETURN_IF_ERROR(ready);
    for (Parameter* p : parameters) FT_RETURN_IF_ERROR(write(*p));
    return absl::OkStatus();
  };
  return store.Write(each, values);
}

absl::StatusOr<std::unique_ptr<SafetensorsFolder>> OpenModel(const std::string& folder,
                                                             const ModelSpec& config) {
  FT_ASSIGN_OR_RETURN(std::unique_ptr<SafetensorsFolder> files, SafetensorsFolder::Open(folder));
  FT_RETURN_IF_ERROR(CheckModelTensors(*files, config));
  return files;
}

absl::StatusOr<std::unique_ptr<SafetensorsFolder>> OpenEqualAdapter(const std::string& folder,
                                                                    const AdapterForm& expected,
                                                                    const ModelSpec& model) {
  FT_ASSIGN_OR_RETURN(const AdapterForm saved, ReadAdapterConfig(folder));
  FT_RETURN_IF_ERROR(CheckAdapter(model, saved, AdapterConfigPath(folder)));
  FT_RETURN_IF_ERROR(CompareAdapters(folder, saved, expected, model));
  return OpenAdapter(folder, expected, model);
}

}  // namespace

absl::Status CheckWeightFiles(const Task& task) {
  FT_RETURN_IF_ERROR(FromFile(OpenModel(task.model_path, task.model).status()));
  if (!task.form.adapter || task.init_from.empty()) return absl::OkStatus();
  return FromFile(OpenEqualAdapter(task.init_from, *task.form.adapter, task.model).status());
}

absl::Status LoadBaseWeights(ParameterStore& store, const std::string& folder,
                             const ModelSpec& config, const std::optional<Nf4Options>& nf4) {
  const auto files = OpenModel(folder, config);
  return Write(store, ParameterStore::Values::kAll, files.status(), [&](Parameter& p) {
    return IsAdapter(p) ? absl::OkStatus() : LoadInto(**files, p, nf4);
  });
}

absl::Status LoadAdapter(ParameterStore& store, const ModelSpec& model, const std::string& folder,
                         const AdapterForm& expected) {
  const auto files = OpenEqualAdapter(folder, expected, model);
  return Write(store, ParameterStore::Values::kTrainable, files.status(), [&](Parameter& p) {
    return IsAdapter(p) ? LoadInto(**files, p) : absl::OkStatus();
  });
}

std::vector<AdapterTensor> GatherAdapter(const ParameterSet& set, ParameterStore& store,
                                         const ParameterSet& declared) {
  const std::vector<Parameter*> adapters = AdapterParameters(declared);
  const FileTensors files(adapters);
  const std::vector<Holders> holders =
      HoldersOf(files.parameter_names(), set, store.mesh(), store.device());
  std::vector<AdapterTensor> tensors;
  for (const std::string& name : files.names()) {
    tensors.push_back({name, files.Gather(name, holders, set, store)});
  }
  return tensors;
}

absl::Status SaveAdapter(const ParameterSet& set, ParameterStore& store,
                         const ParameterSet& declared, const std::string& folder,
                         const AdapterForm& form, const std::string& generation_config) {
  const std::vector<AdapterTensor> tensors = GatherAdapter(set, store, declared);
  if (!IsFirst(store.mesh())) return absl::OkStatus();
  FT_RETURN_IF_ERROR(WriteAdapter(folder, form, tensors));
  if (generation_config.empty()) return absl::OkStatus();
  return WriteFileAtomically(absl::StrCat(folder, "/", kGenerationConfigFile), generation_config);
}

absl::Status SaveModel(const ParameterSet& set, ParameterStore& store, const ParameterSet& declared,
                       const std::string& base_folder, const std::string& folder,
                       const ModelSpec& config, at::ScalarType save_dtype,
                       const std::string& generation_config) {
  const Mesh& mesh = store.mesh();
  const std::vector<TensorSpec> specs = ModelTensors(config);
  std::unique_ptr<FolderWriter> writer;
  absl::Status status;
  if (IsFirst(mesh)) {
    auto created = CreateModelFolder(base_folder, folder, specs, save_dtype);
    status = created.status();
    if (created.ok()) writer = std::move(*created);
    if (status.ok() && !generation_config.empty()) {
      status = writer->PutFile(kGenerationConfigFile, generation_config);
    }
  }
  std::vector<Parameter*> parameters;
  for (const auto& p : declared.all()) parameters.push_back(p.get());
  const FileTensors files(parameters);
  const std::vector<Holders> holders =
      HoldersOf(files.parameter_names(), set, mesh, store.device());
  // A writer that fails still takes part in gathering what is left, or the others would wait for
  // it.
  for (const TensorSpec& spec : specs) {
    const at::Tensor whole = files.Gather(spec.name, holders, set, store);
    if (writer == nullptr || !status.ok()) continue;
    status = writer->Append(whole, DtypeInFolder(spec, save_dtype));
  }
  if (writer != nullptr && status.ok()) status = writer->Finish();
  return status;
}

ParameterCounts CountParameters(const ParameterSet& declared) {
  ParameterCounts counts;
  for (const auto& p : declared.all()) {
    const int64_t numel = p->slice.GlobalNumel();
    counts.all += numel;
    if (p->trainable) counts.trainable += numel;
    if (p->packed_bytes > 0) {
      ++counts.nf4_matrices;
      counts.nf4_elements += numel;
      counts.nf4_bytes += p->packed_bytes;
    } else if (!p->trainable && p->slice.global_shape.size() == 2) {
      // Of experts that files have in one tensor, this.
      const std::string tensor = TensorOfName(p->slice.name);
      std::string matrix(absl::StripSuffix(tensor, ".weight"));
      if (!absl::c_linear_search(counts.dense_frozen, matrix)) {
        counts.dense_frozen.push_back(std::move(matrix));
      }
    }
  }
  return counts;
}

}  // namespace fttrain
