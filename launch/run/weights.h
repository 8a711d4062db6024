// Files into this rank's parameters, and back.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launch/plan/task.h"
#include "model/config/model_config.h"
#include "model/files/adapter.h"
#include "model/nf4/nf4.h"
#include "parallel/layout/param.h"
#include "parallel/storage/parameter_store.h"

namespace fttrain {

// That a task's files have what LoadBaseWeights and LoadAdapter read of them, by the headers alone
// (of a tied model the head, too): before anything of the files' or the config's size is allocated.
// DataLoss and NotFound as the readers'.
absl::Status CheckWeightFiles(const Task& task);

// Checks that the folder holds every weight of the model with its shape (all faults in one error),
// then reads this rank's slices into the parameters' storage, converted to their dtype; those
// stored as NF4 (with `nf4`) are quantised whole on the way, or copied from a quantised folder.
// Memory beyond the parameters: a staging buffer of some MiB, and for NF4 the float32 scales of one
// matrix. Collective as ParameterStore::Write, also after a rank has failed; the status is this
// rank's: agree on it.
absl::Status LoadBaseWeights(ParameterStore& store, const std::string& folder,
                             const ModelSpec& config, const std::optional<Nf4Options>& nf4);

// Reads the PEFT adapter's slices into the adapter parameters. InvalidArgument if its settings or
// tensors are not the ones that `expected` gives the model. Collective as LoadBaseWeights.
absl::Status LoadAdapter(ParameterStore& store, const ModelSpec& model, const std::string& folder,
                         const AdapterForm& expected);

// `declared` from here on: the parameters of the whole model (DeclareWholeModel).

// The adapters' factors, whole, on the first rank; on the others the tensors may be undefined.
// Collective over the mesh.
std::vector<AdapterTensor> GatherAdapter(const ParameterSet& set, ParameterStore& store,
                                         const ParameterSet& declared);

// Writes the trained parameters, whole, from the first rank: adapter/ in PEFT form, or model/ as a
// Hugging Face folder in `save_dtype`, one tensor at a time. Collective over the mesh; only rank 0
// of the world touches files. `generation_config`: the text of the file of that name beside the
// tensors; empty: none beside an adapter, the base's beside a model. The status is this rank's:
// agree on it.
absl::Status SaveAdapter(const ParameterSet& set, ParameterStore& store,
                         const ParameterSet& declared, const std::string& folder,
                         const AdapterForm& form, const std::string& generation_config = "");
absl::Status SaveModel(const ParameterSet& set, ParameterStore& store, const ParameterSet& declared,
                       const std::string& base_folder, const std::string& folder,
                       const ModelSpec& config, at::ScalarType save_dtype,
                       const std::string& generation_config = "");

// Numbers of parameters over the whole model, as PEFT counts them.
struct ParameterCounts {
  int64_t trainable = 0;
  int64_t all = 0;
  // Of matrices stored as NF4: how many, their elements and bytes.
  int64_t nf4_matrices = 0;
  int64_t nf4_elements = 0, nf4_bytes = 0;
  std::vector<std::string> dense_frozen =
      {};  // frozen matrices that are not NF4, without ".weight"
};
ParameterCounts CountParameters(const ParameterSet& declared);

}  // namespace fttrain
