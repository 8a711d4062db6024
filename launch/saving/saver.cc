#include "launch/saving/saver.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/headeronly/version.h>

#include <chrono>
#include <random>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "configs/to_yaml.h"
#include "launch/checkpoint/shard.h"
#include "launch/run/weights.h"
#include "model/config/generation_config.h"
#include "model/files/adapter_config.h"
#include "model/matmul/matmul.h"
#include "runtime/files/sha256.h"
#include "runtime/memory/host.h"
#include "runtime/memory/ledger.h"
#include "runtime/process/check.h"
#include "runtime/process/device.h"
#include "runtime/process/failpoint.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

std::string NewNonce() {
  std::random_device random;
  return absl::StrCat(absl::Hex(random(), absl::kZeroPad8), absl::Hex(random(), absl::kZeroPad8));
}

// A file that another writer has put there and made last.
absl::StatusOr<ManifestFile> Adopt(FileSystem& files, const std::string& folder,
                                   const std::string& name, const std::string& host) {
  const std::string path = absl::StrCat(folder, "/", name);
  FT_ASSIGN_OR_RETURN(const int64_t bytes, files.Size(path));
  FT_ASSIGN_OR_RETURN(std::string hash, Sha256OfFile(files, path, bytes));
  return ManifestFile{name, bytes, std::move(hash), host};
}

// On rank 0. Collective.
std::vector<AdapterTensor> AdapterOnHost(const Job& job, const Process& process) {
  const Network& network = *job.network;
  if (!job.task().form.adapter) return {};
  std::vector<AdapterTensor> tensors =
      GatherAdapter(network.parameters, *network.store, network.declared);
  if (process.rank() != 0) return {};
  const MemoryScope scope(MemoryCategory::kAdapters);
  for (AdapterTensor& tensor : tensors) {
    const at::Tensor copy =
        EmptyOnHost(tensor.value.sizes(), tensor.value.scalar_type(), c10::Device(c10::kCPU));
    tensor.value = copy.copy_(tensor.value);
  }
  return tensors;
}

// What decides which kernels compute.
std::string DeviceText(const Network& network) {
  if (network.device.is_cuda()) return Gpus().Describe(network.device.index()).name;
  return absl::StrCat("CPU with ", at::get_cpu_capability(), ThisCpu().amx_bf16 ? " and AMX" : "");
}

}  // namespace

std::string LayoutText(const Job& job) {
  const Layout& layout = job.layout();
  const MeshShape& mesh = layout.mesh;
  return absl::StrCat(
      mesh.world_size(), " ranks (tensor ", mesh.tp, ", pipeline ", mesh.pp, ", data ", mesh.dp,
      mesh.ep > 1 ? absl::StrCat(", expert ", mesh.ep) : "", "), zero_stage ", layout.zero_stage,
      ", ", layout.micro_batch_rows, " rows a microbatch, ", layout.sequence_parallel ? "" : "no ",
      "sequence_parallel, schedule ", static_cast<int>(layout.schedule), ", recompute ",
      static_cast<int>(layout.recompute), ", layers of a stage ",
      layout.layers_per_run.empty() ? "balanced" : absl::StrJoin(layout.layers_per_run, "+"),
      ", state ", static_cast<int>(layout.state),
      job.task().deterministic ? ", deterministic, " : ", ", DeviceText(*job.network), ", ",
      at::get_num_threads(), " threads");
}

Saver::Saver(Job& job, const TrainPlan& plan, const RunIdentity& identity, FileSystem& files,
             const Disk& disk, const Process& process)
    : job_(job),
      plan_(plan),
      identity_(identity),
      files_(files),
      process_(process),
      disk_(disk),
      folder_(files, plan.output.folder),
      pieces_(PiecesToSave(job, disk, process)) {}

Saver::~Saver() {
  if (!written_.valid()) return;
  written_.wait();
  if (leads()) (void)folder_.Abandon(staging_);
}

// A folder on each disk, which all its ranks see.
absl::Status Saver::MakeFolder(int64_t steps_done) {
  const std::string nonce = process_.BroadcastString(NewNonce());
  const auto take = [&](absl::StatusOr<StagedStep> staging) {
    if (staging.ok()) staging_ = *std::move(staging);
    return staging.status();
  };
  const bool leader = leads();
  absl::Status made = leader ? take(folder_.MakeStaging(steps_done, nonce)) : absl::OkStatus();
  absl::Status status = process_.AgreeOnStatus(made);
  if (status.ok() && !leader) made = take(folder_.OpenStaging(steps_done, nonce));
  if (status.ok()) status = process_.AgreeOnStatus(made);
  if (!status.ok() && leader && !staging_.path.empty()) (void)folder_.Abandon(staging_);
  return status;
}

absl::Status Saver::Begin(int64_t steps_done) {
  FT_CHECK(!in_flight(), "a checkpoint is in flight");
  const auto start = std::chrono::steady_clock::now();
  FT_RETURN_IF_ERROR(MakeFolder(steps_done));
  FT_FAILPOINT("ckpt.staged");
  Copies copies{steps_done, CopiesOnHost(pieces_), AdapterOnHost(job_, process_),
                job_.guard.State(), job_.evaluations.State()};
  FT_FAILPOINT("ckpt.copied");
  step_ = steps_done;
  best_.reset();
  if (plan_.output.keeps_best && job_.evaluations.best()) best_ = job_.evaluations.best()->step;
  written_ = std::async(std::launch::async, [this, start, copies = std::move(copies)] {
    Part part = Write(copies);
    seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return part;
  });
  return absl::OkStatus();
}

void RehearseSave(Job& job, const Process& process) {
  const Layout& layout = job.layout();
  std::vector<SavedPiece> pieces = PiecesToSave(job, Disk{{process.rank()}}, process);
  // Of copies the first is saved: of experts another rank's than of the rest.
  if (layout.zero_stage == 0) {
    const MeshPosition at = PositionOfRank(layout.mesh, process.rank());
    std::erase_if(pieces, [&](const SavedPiece& piece) {
      const Placement& placement = job.network->parameters.Get(piece.what.name)->placement;
      return IndexIn(layout.mesh, at, placement.Replicas(layout.mesh)) > 0;
    });
  }
  const std::vector<SavedPiece> copies = CopiesOnHost(pieces);
  if (process.world_size() == 1) {
    AdapterOnHost(job, process);
    return;
  }
  // What other ranks have, which are not there to be asked: whole on the first, as it comes and
  // copied.
  if (process.rank() != 0) return;
  std::vector<at::Tensor> whole;
  for (const auto& p : job.network->declared.all()) {
    if (!p->trainable || p->category != MemoryCategory::kAdapters) continue;
    const auto options = at::TensorOptions(p->dtype).device(job.network->device);
    whole.push_back(at::empty(p->slice.global_shape, options));
    const MemoryScope scope(MemoryCategory::kAdapters);
    whole.push_back(EmptyOnHost(p->slice.global_shape, p->dtype, c10::Device(c10::kCPU)));
  }
}

// Of a thread: no MPI, and nothing that trains.
Saver::Part Saver::Write(const Copies& state) const {
  Manifest manifest;
  manifest.step = state.step;
  if (leads()) {
    manifest.notes[kGuardNote] = state.guard;
    manifest.notes[kEvaluationsNote] = state.evaluations;
  }
  const ShardWriting how{process_.host()};
  FT_FAILPOINT_OR_RETURN("ckpt.shard");
  if (!state.pieces.empty()) {
    std::vector<ShardTensor> tensors;
    for (const SavedPiece& copy : state.pieces)
      tensors.push_back({copy.what, copy.values.const_data_ptr()});
    FT_ASSIGN_OR_RETURN(WrittenShard shard,
                        WriteShard(files_, staging_.path, process_.rank(), tensors, how));
    manifest.files.push_back(std::move(shard.file));
    manifest.tensors = std::move(shard.tensors);
  }
  FT_FAILPOINT_OR_RETURN("ckpt.shard_written");
  if (process_.rank() != 0) return manifest;
  const auto add = [&](absl::StatusOr<ManifestFile> file) {
    if (file.ok()) manifest.files.push_back(*std::move(file));
    return file.status();
  };
  FT_RETURN_IF_ERROR(
      add(WriteExtraFile(files_, staging_.path, "config.yaml", config::ToYaml(plan_.run), how)));
  if (state.adapter.empty()) return manifest;
  FT_RETURN_IF_ERROR(WriteAdapter(staging_.path, *plan_.task.form.adapter, state.adapter));
  for (const char* name : {kAdapterConfigFile, kAdapterTensorFile}) {
    FT_RETURN_IF_ERROR(add(Adopt(files_, staging_.path, name, how.host)));
  }
  if (plan_.taught.generation_config.empty()) return manifest;
  FT_RETURN_IF_ERROR(add(WriteExtraFile(files_, staging_.path, kGenerationConfigFile,
                                        plan_.taught.generation_config, how)));
  return manifest;
}

void Saver::BeganFrom(int64_t step, std::string origin) {
  committed_ = began_from_ = step;
  origin_ = std::move(origin);
  if (job_.evaluations.best()) saved_best_ = job_.evaluations.best()->step;
}

bool Saver::Written() const {
  return !written_.valid() ||
         written_.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

absl::Status Saver::Finish() {
  FT_CHECK(in_flight(), "no checkpoint is in flight");
  const Part written = written_.get();
  FT_FAILPOINT("ckpt.all_written");
  const int64_t step = *std::exchange(step_, std::nullopt);
  absl::StatusOr<std::string> part = written.ok() ? ManifestText(*written) : written.status();
  absl::Status status = process_.AgreeOnStatus(part.status());
  if (status.ok()) {
    const std::vector<std::string> parts = process_.GatherStrings(*part);
    const absl::Status mine = leads() ? Commit(parts) : absl::OkStatus();
    status = process_.AgreeOnStatus(mine);
    if (!status.ok() && leads() && mine.ok()) (void)folder_.TakeBack(staging_);
  }
  if (!status.ok()) {
    if (leads()) (void)folder_.Abandon(staging_);
    return status;
  }
  // On every disk there is the new one: older ones may go.
  if (leads()) Tidy();
  committed_ = step;
  FT_FAILPOINT("ckpt.saved");
  return status;
}

absl::Status Saver::Commit(const std::vector<std::string>& parts) {
  Manifest whole;
  for (const int rank : disk_.ranks) {
    FT_ASSIGN_OR_RETURN(Manifest part,
                        ParseManifest(parts[static_cast<size_t>(rank)], "a rank's part"));
    whole.step = part.step;
    whole.notes.insert(part.notes.begin(), part.notes.end());
    std::move(part.files.begin(), part.files.end(), std::back_inserter(whole.files));
    std::move(part.tensors.begin(), part.tensors.end(), std::back_inserter(whole.tensors));
  }
  AddIdentity(identity_, whole);
  whole.layout = LayoutText(job_);
  whole.versions["torch"] = TORCH_VERSION;
  if (!origin_.empty()) whole.notes[kOriginNote] = origin_;
  if (static_cast<int>(disk_.ranks.size()) < process_.world_size()) {
    whole.notes[kPartNote] = absl::StrCat("ranks ", absl::StrJoin(disk_.ranks, ", "));
  }
  FT_FAILPOINT_OR_RETURN("ckpt.commit");
  FT_RETURN_IF_ERROR(folder_.Commit(staging_, whole));
  FT_FAILPOINT("ckpt.committed");
  return absl::OkStatus();
}

void Saver::Tidy() {
  std::set<int64_t> also_keep = {staging_.step};
  if (committed_ == began_from_) also_keep.insert(began_from_);
  if (best_ == staging_.step) saved_best_ = best_;
  for (const std::optional<int64_t>& best : {best_, saved_best_}) {
    if (plan_.output.keeps_best && best) also_keep.insert(*best);
  }
  for (const absl::Status& tidied :
       {folder_.PointLatest(staging_),
        folder_.Retain(plan_.output.keep_checkpoints, also_keep, staging_.nonce)}) {
    if (!tidied.ok()) LogInfo(absl::StrCat("note       ", std::string(tidied.message())));
  }
  FT_FAILPOINT("ckpt.retained");
}

}  // namespace fttrain
