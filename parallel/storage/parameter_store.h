// Storage of a rank's parameters, and bringing what is not always on the device there, group by
// group (Parameter::group): frozen weights from host memory or disk, under ZeRO 3 (Rajbhandari et
// al., arXiv:1910.02054) all values from the dp ranks' shards; and summing gradients over tp and
// dp, under ZeRO 2 and 3 taking them away.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "parallel/layout/mesh.h"
#include "parallel/layout/param.h"
#include "parallel/storage/flat_parameters.h"

namespace fttrain {

enum class FrozenPlace { kDevice, kHost, kDisk };

struct StorageOptions {
  // Over dp. 0: every rank has all values, gradients and optimizer state; gradients are
  // all-reduced. 1: state is sharded, gradients reduce-scattered, values all-gathered. 2: gradients
  // are kept sharded too. 3: so are values, of frozen parameters as well. One dp rank has nothing
  // to shard: 2 and 3 are as 1.
  int zero_stage = 1;
  // ZeRO 0 and 1: a group's gradients are summed beside the backward that follows, where the
  // transport gets on by itself; else at the end, in one call and without a workspace.
  bool sums_early = true;
  // How the optimizer will keep its moments. kInt8: blocks of 256 elements begin where the rank's
  // slice of a parameter begins and never straddle parameters or shards, so equal gradients give
  // equal bits whatever dp and zero_stage, and whatever tp, where what is contiguous of a slice in
  // the whole tensor is a multiple of 256 elements. Gradients that differ in their last bits (sums
  // in another order) may differ by a code.
  MomentStorage moments = MomentStorage::kGradientDtype;
  // Where frozen parameters in groups from 0 on are: host memory (pinned on CUDA), or a file
  // without a name in `disk_folder`, as large as they are. Under zero_stage 3 a rank's shard of
  // them.
  FrozenPlace frozen = FrozenPlace::kDevice;
  std::string disk_folder = {};
  bool trains = true;  // false, for evaluation: trainable parameters have values alone
};

// Away from the device, or sharded, a group's values are flat bytes, each parameter on 64 of them.
// In use they are in a window on the device of their own size, booked under the parameters'
// category: a copy, an all_gather, or both bring them, and `value` is a view of it; else it is
// undefined. A window stays until another one is needed, so at most the acquired groups' and those
// on their way are there. Under ZeRO 2 and 3 a group's whole gradients exist from BeginGradients to
// EndGradients; then they are summed over tp and reduce-scattered over dp into this rank's shard,
// while the next group's backward runs. Under ZeRO 0 and 1 they always exist, and are summed in
// place once a step: a group's from CompleteGradients on, with sums_early; else all at its end.
class ParameterStore {
 public:
  // Gives every parameter of the set its storage, zeros. `set` and `mesh` must outlive this. The
  // same set, in the same order, on all dp ranks. Throws c10::Error for what LayOutTrainable
  // refuses and for kShared slices that tp cannot hold equally often; NamelessFileError for a file
  // that cannot be made.
  ParameterStore(ParameterSet& set, const Mesh& mesh, c10::Device device,
                 const StorageOptions& options);
  ~ParameterStore();
  ParameterStore(const ParameterStore&) = delete;
  ParameterStore& operator=(const ParameterStore&) = delete;

  struct Group;
  struct GiveBack {
    void operator()(Group* group) const noexcept;  // not collective
  };
  // While a lease of a group lives its values are there, as they were at the first of nested
  // leases; written values do not stay. Null where the group has nothing here. No lease may outlive
  // the store.
  using Lease = std::unique_ptr<Group, GiveBack>;

  // Acquire and Prefetch may be collective over dp, EndGradients, CompleteGradients and
  // FinishGradients over tp and dp: same calls in the same order on all ranks of a stage. A group
  // that has nothing to bring, or is not in the set, costs nothing.
  [[nodiscard]] Lease Acquire(int group);
  // Starts to bring a group that will be acquired next, beside what is acquired. Call before the
  // work that hides it is enqueued.
  void Prefetch(int group);
  // The leased group's gradients are there from here on, zeros at the first of nested calls, and
  // what is added to them will be added to the shard's. Else, under ZeRO 2 and 3, `grad` is
  // undefined. Throws c10::Error after the group's CompleteGradients of this step.
  void BeginGradients(int group);
  // Before the lease ends. With the group's only lease the gradients are summed and taken away;
  // else they stay for what its other holders add.
  void EndGradients(int group);
  // Nothing is added to the group's gradients in the rest of this step: under ZeRO 0 and 1 their
  // sums begin. FinishGradients makes up for what was not called.
  void CompleteGradients(int group);
  // After the last backward of a step: gradients are summed over tp and dp in the range that this
  // rank owns, and undefined elsewhere. Throws c10::Error where gradients were begun and not ended.
  void FinishGradients();
  // Forgets sums on their way, and gradients that are not in the shards yet, as after a step that
  // failed. No group may be leased. Not collective.
  void DropGradients();

  // For each group in turn, with its values there, calls `write` with its parameters, or those that
  // are trained, if it has some; what it leaves in their values stays, and nothing else is moved.
  // Values that this rank keeps whole in host memory or on disk are in host memory then.
  // No group may be leased. Collective as Acquire: after an error, which is returned, other groups
  // are passed through without a call.
  using Writer = std::function<absl::Status(const std::vector<Parameter*>&)>;
  enum class Values { kAll, kTrainable };
  absl::Status Write(const Writer& write, Values values = Values::kAll);
  // The kept values have been changed: windows are stale.
  void ForgetWindows();

  // Of trainable parameters, with what this rank keeps of values and gradients.
  const std::vector<FlatBuffer>& buffers() const;
  // The part of a buffer that this rank updates: its dp shard, from ZeRO 1 on.
  FlatRange Owned(const FlatBuffer& flat) const;
  int zero_stage() const;  // in force: 1 for 2 and 3 on one dp rank
  const Mesh& mesh() const;
  c10::Device device() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fttrain
