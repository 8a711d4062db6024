#include "launch/run/network.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "data/text/example.h"
#include "launch/exit_code.h"
#include "launch/run/numbers.h"
#include "launch/run/output_folder.h"
#include "model/config/model_config.h"
#include "runtime/comm/host_board.h"
#include "runtime/memory/nameless_file.h"
#include "runtime/memory/rehearsal.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {

absl::StatusOr<ModelSpec> ReadModel(const std::string& folder) {
  return FromFile(LoadModelConfig(folder));
}

absl::Status CheckPositions(const ModelSpec& model, int64_t tokens, const std::string& what,
                            const std::string& remedy) {
  if (tokens <= model.max_position_embeddings) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(what, " ", tokens, " tokens, more than the model's max_position_embeddings ",
                   model.max_position_embeddings, "; ", remedy));
}

std::string PositionsNote(const ModelSpec& model, const RowOptions& rows) {
  if (rows.sequence_len <= model.max_position_embeddings) return "";
  return absl::StrCat(
      "rows of ", WithCommas(rows.sequence_len), " tokens are longer than the ",
      WithCommas(model.max_position_embeddings), " that the model has positions for: ",
      rows.packing ? "several examples may share one" : "without packing each is one example",
      ", and `train` refuses data with an example of more positions");
}

int64_t MostAnswerTokens(const ModelSpec& model) {
  int64_t most = model.max_position_embeddings;
  for (const RopeSpec& rope : model.ropes) {
    if (rope.has_long_form()) most = std::min(most, rope.original_max_position_embeddings);
  }
  return most;
}

absl::Status CheckAnswers(const ModelSpec& model, int64_t tokens, const std::string& what,
                          const std::string& remedy) {
  FT_RETURN_IF_ERROR(CheckPositions(model, tokens, what, remedy));
  const int64_t most = MostAnswerTokens(model);
  if (tokens <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(what, " ", tokens, " tokens; beyond ", most,
                   " this model's rotary embedding is another (longrope), and no answers are "
                   "written there; ",
                   remedy));
}

namespace {

// A hub's name or a ~ may lead to other files on another host.
absl::Status AgreeOnModel(const std::string& path, const Process& process) {
  const std::vector<std::string> all = process.GatherStrings(path);
  for (size_t rank = 1; rank < all.size(); ++rank) {
    if (all[rank] == all[0]) continue;
    return WithExitCode(
        absl::FailedPreconditionError(absl::StrCat(
            "model.path leads rank 0 to ", Printable(all[0]), " and rank ", rank, " to ",
            Printable(all[rank]), ": give a folder that is the same on every host")),
        kExitRanksDisagree);
  }
  return absl::OkStatus();
}

absl::Status Connect(Network& network, CommBackend backend, const Process& process) {
  const MeshShape& shape = network.layout.mesh;
  if (shape.world_size() == 1) {
    network.mesh = Mesh::Single();
    network.links = StageLinks::None();
    return absl::OkStatus();
  }
  if (backend == nullptr) {
    FT_ASSIGN_OR_RETURN(backend, AgreeOnBackend(network.device, process));
  }
  network.transport = TransportName(backend, network.device);
  const bool nccl = backend == CreateNcclCommunicator;
  const int64_t free = nccl ? FreeMemoryBytes(network.device) : 0;
  FT_ASSIGN_OR_RETURN(network.mesh, Mesh::Create(backend, process, shape));
  FT_ASSIGN_OR_RETURN(
      network.links,
      StageLinks::Create(backend, process, shape, LinksOptionsOf(network.task, network.layout)));
  network.board = OpenHostBoard(process);
  if (nccl) {
    LogInfo(absl::StrCat("note       NCCL has taken ",
                         InWords(free - FreeMemoryBytes(network.device)), " of rank 0's GPU"));
  }
  return absl::OkStatus();
}

// One rank's disk may be full: its failure is a status that the others can be told.
absl::StatusOr<std::unique_ptr<ParameterStore>> MakeStore(Network& network,
                                                          const StorageOptions& storage) {
  if (storage.frozen == FrozenPlace::kDisk && !IsRehearsal()) {
    FT_RETURN_IF_ERROR(MakeScratchFolder(storage.disk_folder));
  }
  StorageOptions options = storage;
  options.sums_early = network.mesh->Line(kDataAxes).OccupiesDevice();
  try {
    return std::make_unique<ParameterStore>(network.parameters, *network.mesh, network.device,
                                            options);
  } catch (const NamelessFileError& error) {
    return absl::UnavailableError(absl::StrCat(
        "memory.base_weights disk: ", error.what_without_backtrace(), " (memory.scratch_folder)"));
  }
}

}  // namespace

// The hosts of a job may differ in what they have: one backend must do for all ranks.
absl::StatusOr<CommBackend> AgreeOnBackend(c10::Device device, const Process& process) {
  const bool some_cuda = process.AnyRank(device.is_cuda());
  if (some_cuda && process.AnyRank(!device.is_cuda())) {
    return WithExitCode(
        absl::FailedPreconditionError(
            "some ranks found a GPU and some did not; give every host one, or set device: cpu"),
        kExitRanksDisagree);
  }
  // NCCL refuses two ranks on one GPU.
  const bool share = SomeRanksShareAGpu(device, process);
  return some_cuda && !share ? CreateNcclCommunicator : CreateMpiCommunicator;
}

absl::Status CheckSameChoice(const ModelSpec& model, const MeshShape& shape,
                             const std::vector<std::string>& gpus) {
  if (shape.tp == 1 || !HasExperts(model)) return absl::OkStatus();
  for (int rank = 0; rank < shape.world_size(); ++rank) {
    const int first = rank - PositionOfRank(shape, rank).tp;
    const std::string &mine = gpus.at(static_cast<size_t>(rank)),
                      &theirs = gpus.at(static_cast<size_t>(first));
    if (mine == theirs) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "parallel.tensor ", shape.tp, " of a model with experts: ranks ", first, " and ", rank,
        " have different GPUs, ", theirs, " and ", mine,
        ", which may choose different experts for a token. Divide a run over such cards by "
        "parallel.pipeline or parallel.expert; ask a model on fewer ranks"));
  }
  return absl::OkStatus();
}

std::vector<int64_t> LargestOverMesh(const std::vector<int64_t>& values, const Network& network) {
  at::Tensor t = at::tensor(values, at::kLong).to(network.device);
  network.mesh->AllReduce(t, kAllAxes, ReduceOp::kMax);
  t = t.cpu();
  return {t.data_ptr<int64_t>(), t.data_ptr<int64_t>() + t.numel()};
}

PipelineSchedule ForwardSchedule(const Network& network, int microbatches) {
  const int stages = network.links->num_stages(), chunks = network.transformer->num_chunks();
  const bool layer_major = network.layout.schedule == PipelineKind::kLayerMajor;
  const std::vector<PipelineStep> steps =
      ForwardsOnly(layer_major ? microbatches : stages, chunks, microbatches);
  return PipelineSchedule(static_cast<size_t>(stages), steps);
}

std::string TransportName(CommBackend backend, c10::Device device) {
  if (backend == CreateNcclCommunicator) return "NCCL";
  return device.is_cuda() ? "MPI through host memory, for ranks share a GPU" : "MPI";
}

absl::StatusOr<std::unique_ptr<Network>> BuildNetwork(const Task& task, const Layout& layout,
                                                      const StorageOptions& storage,
                                                      int64_t positions, const Process& process,
                                                      c10::Device device, CommBackend backend) {
  auto network = std::make_unique<Network>();
  network->task = task;
  network->layout = layout;
  network->declared = Declare(task);
  FT_RETURN_IF_ERROR(AgreeOnModel(task.model_path, process));
  UseDeterministicAlgorithms(task.deterministic);
  network->device = device;
  network->activity = &process.activity();
  if (layout.mesh.tp > 1 && !IsRehearsal()) {
    FT_RETURN_IF_ERROR(
        CheckSameChoice(task.model, layout.mesh, process.GatherStrings(DeviceModel(device))));
  }
  FT_RETURN_IF_ERROR(Connect(*network, backend, process));
  network->transformer =
      std::make_unique<Transformer>(task.model, ModelOptionsOf(task, layout), *network->mesh,
                                    network->parameters, positions, network->device);
  absl::StatusOr<std::unique_ptr<ParameterStore>> store = MakeStore(*network, storage);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(store.status()));
  network->store = *std::move(store);
  network->transformer->UseStore(*network->store);
  network->transformer->UseActivity(*network->activity);
  return network;
}

}  // namespace fttrain
