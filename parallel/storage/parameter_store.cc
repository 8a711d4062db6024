#include "parallel/storage/parameter_store.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "parallel/storage/disk_source.h"
#include "parallel/storage/gradient_reductions.h"
#include "parallel/storage/gradient_sums.h"
#include "parallel/storage/value_source.h"
#include "parallel/storage/value_window.h"
#include "runtime/memory/host.h"
#include "runtime/memory/ledger.h"

namespace fttrain {

struct ParameterStore::Group {
  std::vector<Parameter*> parameters;
  std::vector<ValueWindow> windows;
  std::vector<size_t> reduced;  // buffers whose gradients are summed when the group's are there
  int leases = 0;
  bool announced = false;  // prefetched and not acquired since
  bool present = false;    // windows are there or on their way
  bool arrived = false;
};

struct ParameterStore::State {
  const Mesh& mesh;
  c10::Device device;
  StorageOptions options;
  // Where there are several dp ranks each group has buffers of its own, whose sums over dp run
  // while the next group's backward does.
  bool by_group = false;
  std::vector<FlatBuffer> buffers = {};
  std::map<int, Group> groups = {};
  std::optional<GradientReductions> reductions = {};

  void AddTrainable();
  void AddFrozen();
  void SetFrozenSources();
  // Where the layers' frozen values, and the ends', are.
  FrozenPlace PlaceOf(int group) const {
    return group >= 0 ? options.frozen : FrozenPlace::kDevice;
  }
  Communicator& ReplicasOf(const ValueWindow& window) const {
    return mesh.Line(window.first().placement.Replicas(mesh.shape()));
  }
  int64_t KeptBytes(const ValueWindow& window) const {
    return options.zero_stage == 3 ? window.bytes() / ReplicasOf(window).size() : window.bytes();
  }

  Group* Find(int group) {
    const auto found = groups.find(group);
    return found == groups.end() ? nullptr : &found->second;
  }
  void Bring(Group& group);
  void Arrive(Group& group);
  void Drop(Group& group);
};

void ParameterStore::State::AddTrainable() {
  for (size_t i = 0; i < buffers.size(); ++i) {
    FlatBuffer& flat = buffers[i];
    const FlatRange whole{0, flat.numel()}, shard = ShardOf(flat, mesh);
    const int stage = options.zero_stage;
    AllocateFlat(flat, stage == 3 ? shard : whole, stage >= 2 ? shard : whole, device);
    if (!by_group) continue;
    const Parameter& first = *flat.entries.front().parameter;
    Group& group = groups[first.group];
    group.reduced.push_back(i);
    if (stage < 3) continue;
    group.windows.emplace_back(flat);
    group.windows.back().SetSource(MakeGatherSource(
        MakeCopySource(flat.values.view(at::kByte), std::nullopt), mesh.Line(flat.replicas)));
  }
}

// Once all windows are known: one stream copies for all, and one thread, with buffers for the
// largest, reads.
void ParameterStore::State::SetFrozenSources() {
  const MemoryScope scope(MemoryCategory::kWeights);
  const auto for_each = [&](const auto& visit) {
    for (auto& [index, group] : groups) {
      for (ValueWindow& window : group.windows) {
        if (!window.trainable()) visit(window, PlaceOf(index), KeptBytes(window));
      }
    }
  };
  int64_t largest_on_disk = -1;
  for_each([&](const ValueWindow&, FrozenPlace place, int64_t kept) {
    if (place == FrozenPlace::kDisk) largest_on_disk = std::max(largest_on_disk, kept);
  });
  std::shared_ptr<DiskReader> reader;
  if (largest_on_disk >= 0) reader = MakeDiskReader(device, largest_on_disk);
  const std::optional<c10::Stream> stream =
      options.frozen == FrozenPlace::kHost ? MakeCopyStream(device) : std::nullopt;
  for_each([&](ValueWindow& window, FrozenPlace place, int64_t kept) {
    std::unique_ptr<ValueSource> source;
    if (place == FrozenPlace::kDisk) {
      source = MakeDiskSource(std::make_unique<NamelessFile>(options.disk_folder, kept), reader);
    } else if (place == FrozenPlace::kHost) {
      const at::Tensor home = EmptyOnHost({kept}, at::kByte, device);
      home.zero_();
      source = MakeCopySource(home, stream);
    } else {
      const auto on_device = at::TensorOptions().dtype(at::kByte).device(device);
      source = MakeCopySource(at::zeros({kept}, on_device), std::nullopt);
    }
    // Where nobody else holds the same (experts that all data-parallel ranks divide) there is
    // nothing to gather.
    const bool sharded = options.zero_stage == 3 && ReplicasOf(window).size() > 1;
    window.SetSource(sharded ? MakeGatherSource(std::move(source), ReplicasOf(window))
                             : std::move(source));
  });
}

void ParameterStore::State::AddFrozen() {
  const bool sharded = options.zero_stage == 3;
  for (auto& [index, group] : groups) {
    const FrozenPlace place = PlaceOf(index);
    std::map<AxisSet, std::vector<Parameter*>> away;  // by replicas
    for (Parameter* parameter : group.parameters) {
      if (parameter->trainable && options.trains) continue;
      const bool stays = parameter->trainable || parameter->on_host;
      if ((sharded || place != FrozenPlace::kDevice) && !stays) {
        away[parameter->placement.Replicas(mesh.shape())].push_back(parameter);
      } else {
        parameter->value = AllocateValue(*parameter, device);
      }
    }
    for (const auto& [axes, parameters] : away) {
      group.windows.emplace_back(parameters, sharded ? mesh.Line(axes).size() : 1);
    }
  }
  SetFrozenSources();
}

ParameterStore::ParameterStore(ParameterSet& set, const Mesh& mesh, c10::Device device,
                               const StorageOptions& options)
    : state_(new State{.mesh = mesh, .device = device, .options = options}) {
  TORCH_CHECK(options.zero_stage >= 0 && options.zero_stage <= 3, "zero_stage ", options.zero_stage,
              " is not 0, 1, 2 or 3");
  CheckShared(set, mesh.tp().size());
  int& stage = state_->options.zero_stage;
  const bool replicated = mesh.shape().size(kDataAxes) > 1;
  if (!replicated) stage = std::min(stage, 1);
  state_->by_group = replicated && (stage >= 2 || options.sums_early);
  for (const auto& parameter : set.all()) {
    state_->groups[parameter->group].parameters.push_back(parameter.get());
  }
  if (options.trains) {
    state_->buffers = LayOutTrainable(set, mesh.shape(), options.moments, state_->by_group);
  }
  state_->AddTrainable();
  state_->reductions.emplace(state_->buffers, mesh, device, stage);
  state_->AddFrozen();
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
  state_->Bring(*group);
  group->announced = true;
}

void ParameterStore::BeginGradients(int index) {
  Group* const group = state_->Find(index);
  if (group == nullptr) return;
  TORCH_CHECK(group->leases > 0, "gradients of group ", index, ", which is not acquired");
  state_->reductions->Begin(group->reduced);
}

void ParameterStore::EndGradients(int index) {
  Group* const group = state_->Find(index);
  if (group == nullptr || group->leases > 1) return;
  TORCH_CHECK(group->leases > 0, "gradients of group ", index, ", which is not acquired");
  state_->reductions->End(group->reduced);
}

void ParameterStore::CompleteGradients(int index) {
  Group* const group = state_->Find(index);
  if (group != nullptr) state_->reductions->Complete(group->reduced);
}

void ParameterStore::FinishGradients() { state_->reductions->Finish(); }
void ParameterStore::DropGradients() { state_->reductions->Drop(); }

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
    for (ValueWindow* window : windows) {
      window->BringForWriting(state_->device);
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
  return zero_stage() > 0 ? ShardOf(flat, state_->mesh) : FlatRange{0, flat.numel()};
}

int ParameterStore::zero_stage() const { return state_->options.zero_stage; }
const Mesh& ParameterStore::mesh() const { return state_->mesh; }
c10::Device ParameterStore::device() const { return state_->device; }

}  // namespace fttrain
