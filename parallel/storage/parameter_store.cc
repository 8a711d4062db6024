#include "parallel/storage/parameter_store.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "parallel/storage/gradient_sums.h"
#include "parallel/storage/value_source.h"
#include "parallel/storage/value_window.h"
#include "runtime/memory/host.h"
#include "runtime/memory/ledger.h"
#include "runtime/memory/mapped_file.h"

namespace fttrain {
namespace {

// Gradients on their way to the shards.
struct Reduction {
  FlatBuffer* flat;
  at::Tensor gradients;  // the scratch; the sum comes back into this rank's part
  std::unique_ptr<Work> work;
};

}  // namespace

struct ParameterStore::Group {
  std::vector<Parameter*> parameters;
  std::vector<ValueWindow> windows;
  std::vector<size_t> reduced;  // buffers whose gradients are sharded
  int leases = 0;
  bool announced = false;  // prefetched and not acquired since
  bool present = false;    // windows are there or on their way
  bool arrived = false;
};

struct ParameterStore::State {
  const Mesh& mesh;
  c10::Device device;
  StorageOptions options;
  std::vector<FlatBuffer> buffers = {};
  std::vector<at::Tensor> scratch = {};  // by buffer: whole gradients, while acquired
  std::map<int, Group> groups = {};
  std::vector<Reduction> reductions = {};

  FlatRange Shard(const FlatBuffer& flat) const {
    const Communicator& replicas = mesh.Line(flat.replicas);
    return flat.Shard(replicas.size(), replicas.rank());
  }
  void AddTrainable();
  void AddFrozen(std::optional<c10::Stream> stream);
  std::unique_ptr<ValueSource> FrozenSource(int64_t bytes, FrozenPlace place,
                                            std::optional<c10::Stream> stream,
                                            Communicator& replicas) const;

  Group* Find(int group) {
    const auto found = groups.find(group);
    return found == groups.end() ? nullptr : &found->second;
  }
  void Bring(Group& group);
  void Arrive(Group& group);
  void Drop(Group& group);
  void Reduce(Group& group);
  void FinishReductions();
};

void ParameterStore::State::AddTrainable() {
  for (size_t i = 0; i < buffers.size(); ++i) {
    FlatBuffer& flat = buffers[i];
    const FlatRange whole{0, flat.numel()}, shard = Shard(flat);
    const int stage = options.zero_stage;
    AllocateFlat(flat, stage == 3 ? shard : whole, stage >= 2 ? shard : whole, device);
    if (stage < 2) continue;
    const Parameter& first = *flat.entries.front().parameter;
    Group& group = groups[first.group];
    group.reduced.push_back(i);
    if (stage < 3) continue;
    group.windows.emplace_back(flat);
    group.windows.back().SetSource(MakeGatherSource(
        MakeCopySource(flat.values.view(at::kByte), std::nullopt), mesh.Line(flat.replicas)));
  }
}

// `bytes`: of the window.
std::unique_ptr<ValueSource> ParameterStore::State::FrozenSource(int64_t bytes, FrozenPlace place,
                                                                 std::optional<c10::Stream> stream,
                                                                 Communicator& replicas) const {
  const MemoryScope scope(MemoryCategory::kWeights);
  const bool sharded = options.zero_stage == 3;
  const int64_t kept = sharded ? bytes / replicas.size() : bytes;
  std::unique_ptr<ValueSource> source;
  if (place == FrozenPlace::kDisk) {
    source = MakeDiskSource(MappedFileTensor(options.disk_folder, kept));
  } else if (place == FrozenPlace::kHost) {
    const at::Tensor home = EmptyOnHost({kept}, at::kByte, device);
    home.zero_();
    source = MakeCopySource(home, stream);
  } else {
    const auto on_device = at::TensorOptions().dtype(at::kByte).device(device);
    source = MakeCopySource(at::zeros({kept}, on_device), std::nullopt);
  }
  return sharded ? MakeGatherSource(std::move(source), replicas) : std::move(source);
}

void ParameterStore::State::AddFrozen(std::optional<c10::Stream> stream) {
  const bool sharded = options.zero_stage == 3;
  for (auto& [index, group] : groups) {
    const FrozenPlace place = index >= 0 ? options.frozen : FrozenPlace::kDevice;
    std::map<AxisSet, std::vector<Parameter*>> away;  // by replicas
    for (Parameter* parameter : group.parameters) {
      if (parameter->trainable && options.trains) continue;
      const bool stays = parameter->trainable || parameter->on_host;
      if ((sharded || place != FrozenPlace::kDevice) && !stays) {
        away[parameter->placement.Replicas()].push_back(parameter);
      } else {
        parameter->value = AllocateValue(*parameter, device);
      }
    }
    for (const auto& [axes, parameters] : away) {
      Communicator& replicas = mesh.Line(axes);
      ValueWindow& window = group.windows.emplace_back(parameters, sharded ? replicas.size() : 1);
      window.SetSource(FrozenSource(window.bytes(), place, stream, replicas));
    }
  }
}

ParameterStore::ParameterStore(ParameterSet& set, const Mesh& mesh, c10::Device device,
                               const StorageOptions& options)
    : state_(new State{.mesh = mesh, .device = device, .options = options}) {
  TORCH_CHECK(options.zero_stage >= 0 && options.zero_stage <= 3, "zero_stage ", options.zero_stage,
              " is not 0, 1, 2 or 3");
  CheckShared(set, mesh.tp().size());
  int& stage = state_->options.zero_stage;
  if (mesh.shape().size(kDataAxes) == 1) stage = std::min(stage, 1);
  for (const auto& parameter : set.all()) {
    state_->groups[parameter->group].parameters.push_back(parameter.get());
  }
  const bool by_group = stage >= 2;
  if (options.trains) {
    state_->buffers = LayOutTrainable(set, mesh.shape(), options.moments, by_group);
  }
  state_->scratch.resize(state_->buffers.size());
  state_->AddTrainable();
  state_->AddFrozen(options.frozen == FrozenPlace::kHost ? MakeCopyStream(device) : std::nullopt);
}

ParameterStore::~ParameterStore() = default;

void ParameterStore::State::Drop(Group& group) {
  if (group.present) Arrive(group);  // nothing may write to memory that is given away
  for (ValueWindow& window : group.windows) window.Drop();
  group.present = group.arrived = group.announced = false;
}

// Windows nobody uses make place first.
void ParameterStore::State::Bring(Group& group) {
  if (group.present) return;
  for (auto& [index, other] : groups) {
    if (other.present && other.leases == 0 && !other.announced) Drop(other);
  }
  for (ValueWindow& window : group.windows) window.Bring(device);
  group.present = true;
}

void ParameterStore::State::Arrive(Group& group) {
  if (group.arrived) return;
  for (ValueWindow& window : group.windows) window.Arrive();
  group.arrived = true;
}

ParameterStore::Lease ParameterStore::Acquire(int index) {
  Group* const group = state_->Find(index);
  if (group != nullptr && group->leases == 0) {
    state_->Bring(*group);
    state_->Arrive(*group);
    group->announced = false;
    for (const ValueWindow& window : group->windows) window.Bind();
  }
  if (group != nullptr) ++group->leases;
  return Lease(group);
}

void ParameterStore::GiveBack::operator()(Group* group) const noexcept {
  if (--group->leases > 0) return;
  for (const ValueWindow& window : group->windows) window.Unbind();
}

void ParameterStore::Prefetch(int index) {
  Group* const group = state_->Find(index);
  if (group == nullptr || group->leases > 0) return;
  const bool early =
      std::all_of(group->windows.begin(), group->windows.end(),
                  [](const ValueWindow& window) { return window.source().arrives_meanwhile(); });
  if (!early) {
    for (const ValueWindow& window : group->windows) window.source().Announce();
    return;
  }
  state_->Bring(*group);
  group->announced = true;
}

void ParameterStore::BeginGradients(int index) {
  Group* const group = state_->Find(index);
  if (group == nullptr) return;
  TORCH_CHECK(group->leases > 0, "gradients of group ", index, ", which is not acquired");
  for (const size_t i : group->reduced) {
    at::Tensor& scratch = state_->scratch[i];
    if (scratch.defined()) continue;
    scratch = state_->buffers[i].ZeroGradients(state_->device);
    BindGradients(state_->buffers[i], scratch);
  }
}

// The sum over dp runs while the next group's backward does; only one group's is on its way.
void ParameterStore::State::Reduce(Group& group) {
  std::vector<Reduction> started;
  for (const size_t i : group.reduced) {
    if (!scratch[i].defined()) continue;
    SumOverTp(buffers[i], scratch[i], mesh.tp());
    BindGradients(buffers[i], {});
    started.push_back({&buffers[i], std::move(scratch[i]), nullptr});
    scratch[i].reset();
  }
  if (started.empty()) return;
  FinishReductions();
  for (Reduction& reduction : started) {
    const FlatRange shard = Shard(*reduction.flat);
    reduction.work =
        mesh.Line(reduction.flat->replicas)
            .ReduceScatterAsync(reduction.gradients,
                                reduction.gradients.narrow(0, shard.begin, shard.size()));
  }
  reductions = std::move(started);
}

void ParameterStore::State::FinishReductions() {
  for (const Reduction& reduction : reductions) {
    reduction.work->Wait();
    const FlatRange shard = Shard(*reduction.flat);
    reduction.flat->gradients.add_(reduction.gradients.narrow(0, shard.begin, shard.size()));
  }
  reductions.clear();
}

void ParameterStore::EndGradients(int index) {
  Group* const group = state_->Find(index);
  if (group == nullptr || group->leases > 1) return;
  TORCH_CHECK(group->leases > 0, "gradients of group ", index, ", which is not acquired");
  state_->Reduce(*group);
}

void ParameterStore::FinishGradients() {
  for (size_t i = 0; i < state_->buffers.size(); ++i) {
    TORCH_CHECK(!state_->scratch[i].defined(), "gradients of group ",
                state_->buffers[i].entries.front().parameter->group, " were not ended");
  }
  state_->FinishReductions();
}

void ParameterStore::DropGradients() {
  for (size_t i = 0; i < state_->buffers.size(); ++i) {
    if (!state_->scratch[i].defined()) continue;
    BindGradients(state_->buffers[i], {});
    state_->scratch[i].reset();
  }
  state_->reductions.clear();
}

absl::Status ParameterStore::Write(const Writer& write, Values values) {
  ForgetWindows();
  absl::Status status;
  for (auto& [index, group] : state_->groups) {
    std::vector<Parameter*> parameters;
    std::vector<ValueWindow*> windows;
    for (Parameter* parameter : group.parameters) {
      if (values == Values::kAll || parameter->trainable) parameters.push_back(parameter);
    }
    for (ValueWindow& window : group.windows) {
      if (values == Values::kAll || window.trainable()) windows.push_back(&window);
    }
    for (ValueWindow* window : windows) window->Bring(state_->device);
    for (ValueWindow* window : windows) {
      window->Arrive();
      window->Bind();
    }
    if (status.ok() && !parameters.empty()) status = write(parameters);
    for (ValueWindow* window : windows) {
      window->Store();
      window->Unbind();
      window->Drop();
    }
  }
  return status;
}

void ParameterStore::ForgetWindows() {
  for (auto& [index, group] : state_->groups) {
    TORCH_CHECK(group.leases == 0, "group ", index, " is in use");
    state_->Drop(group);
  }
}

const std::vector<FlatBuffer>& ParameterStore::buffers() const { return state_->buffers; }

FlatRange ParameterStore::Owned(const FlatBuffer& flat) const {
  return zero_stage() > 0 ? state_->Shard(flat) : FlatRange{0, flat.numel()};
}

int ParameterStore::zero_stage() const { return state_->options.zero_stage; }
const Mesh& ParameterStore::mesh() const { return state_->mesh; }
c10::Device ParameterStore::device() const { return state_->device; }

}  // namespace fttrain
