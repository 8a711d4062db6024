#include "launch/verify/replica_map.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>
#include <map>

#include "runtime/process/check.h"

namespace fttrain {
namespace {

using Words = std::array<int64_t, 3>;  // dim, offset, extent of the slice that a rank holds
constexpr Words kNotHeld = {-2, 0, 0};

// Every rank's `own` [n, k] as [ranks, n, k].
at::Tensor Gather(const at::Tensor& own, Communicator& world) {
  const at::Tensor all = at::empty({world.size() * own.size(0), own.size(1)}, own.options());
  world.AllGather(own, all);
  return all.view({world.size(), own.size(0), own.size(1)});
}

}  // namespace

int64_t HashOf(const at::Tensor& values) {
  const at::Tensor host = values.contiguous().cpu();
  const auto* bytes = static_cast<const char*>(host.const_data_ptr());
  const auto size = static_cast<int64_t>(host.nbytes());
  uint64_t hash = 0xcbf29ce484222325ull;
  for (int64_t at = 0; at < size; at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes + at, static_cast<size_t>(std::min<int64_t>(8, size - at)));
    hash = (hash ^ word) * 0x100000001b3ull;
    hash ^= hash >> 32;  // what the product has in its upper half alone would never come down
  }
  return static_cast<int64_t>(hash);
}

absl::StatusOr<ReplicaMap> ReplicaMap::Create(const Network& network, const Process& process) {
  ReplicaMap map;
  map.network_ = &network;
  FT_ASSIGN_OR_RETURN(
      map.world_,
      CreateCommunicator(CreateMpiCommunicator, process,
                         {.axis = "world", .key = process.rank(), .size = process.world_size()}));

  const auto count = static_cast<int64_t>(network.declared.all().size());
  std::vector<Words> own;
  for (size_t i = 0; i < network.declared.all().size(); ++i) {
    const Parameter* local = map.Local(i);
    own.push_back(local == nullptr
                      ? kNotHeld
                      : Words{local->slice.dim, local->slice.offset, local->slice.extent});
  }
  const at::Tensor table = Gather(at::from_blob(own.data(), {count, 3}, at::kLong), *map.world_);
  const auto words = table.accessor<int64_t, 3>();
  for (int64_t i = 0; i < count; ++i) {
    std::map<Words, std::vector<int>> holders;
    for (int rank = 0; rank < process.world_size(); ++rank) {
      const auto held = words[rank][i];
      holders[{held[0], held[1], held[2]}].push_back(rank);
    }
    holders.erase(kNotHeld);
    const ParamSlice& whole = map.Declared(static_cast<size_t>(i)).slice;
    std::vector<HeldSlice>& slices = map.slices_.emplace_back();
    for (const auto& [held, ranks] : holders) {
      const auto [dim, offset, extent] = held;
      slices.push_back(
          {{whole.name, whole.global_shape, static_cast<int>(dim), offset, extent}, ranks});
    }
  }
  return map;
}

// Copies `from`, on any device of rank `source`, to `to`, on any of rank `target`.
void ReplicaMap::Transfer(const at::Tensor& from, int source, const at::Tensor& to,
                          int target) const {
  const int rank = world_->rank();
  if (source == target) {
    if (rank == target) to.copy_(from);
  } else if (rank == source) {
    world_->Send(from.contiguous().cpu(), target);
  } else if (rank == target) {
    const at::Tensor received = at::empty(to.sizes(), to.options().device(at::kCPU));
    world_->Recv(received, source);
    to.copy_(received);
  }
}

at::Tensor ReplicaMap::Collect(size_t parameter, const at::Tensor& local,
                               at::ScalarType dtype) const {
  at::Tensor whole;
  if (on_first_rank()) whole = at::empty(Declared(parameter).slice.global_shape, dtype);
  for (const auto& [slice, ranks] : slices_[parameter]) {
    Transfer(local, ranks.front(), on_first_rank() ? slice.PartOf(whole) : whole, 0);
  }
  return whole;
}

void ReplicaMap::Distribute(size_t parameter, const at::Tensor& whole,
                            const at::Tensor& local) const {
  for (const auto& [slice, ranks] : slices_[parameter]) {
    const at::Tensor part = on_first_rank() ? slice.PartOf(whole) : whole;
    for (const int rank : ranks) Transfer(part, 0, local, rank);
  }
}

std::vector<Deviation> ReplicaMap::Compare(int64_t step, const std::string& what,
                                           const std::vector<int64_t>& hashes) const {
  const at::Tensor all = Gather(at::tensor(hashes).unsqueeze(1), *world_);
  const auto hash = all.accessor<int64_t, 3>();
  std::vector<Deviation> found;
  for (size_t i = 0; i < slices_.size(); ++i) {
    for (const auto& [slice, ranks] : slices_[i]) {
      std::map<int64_t, std::vector<int>> equal;  // ranks by hash
      for (const int rank : ranks) equal[hash[rank][static_cast<int64_t>(i)][0]].push_back(rank);
      if (equal.size() == 1) continue;
      const std::vector<int>* most = &equal[hash[ranks.front()][static_cast<int64_t>(i)][0]];
      for (const auto& [bits, same] : equal) {
        if (same.size() > most->size()) most = &same;
      }
      Deviation deviation{.step = step, .what = what, .name = slice.name, .right_ranks = *most};
      std::set_difference(ranks.begin(), ranks.end(), most->begin(), most->end(),
                          std::back_inserter(deviation.ranks));
      found.push_back(std::move(deviation));
    }
  }
  return found;
}

}  // namespace fttrain
