#include "launch/verify/holders.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "runtime/process/check.h"

namespace fttrain {
namespace {

// What a rank says of a parameter, in the table that all gather.
constexpr int kWords = 3;  // dim, offset, extent
constexpr int64_t kNotHeld = -2;

std::vector<int64_t> TableOf(const std::vector<const Parameter*>& mine) {
  std::vector<int64_t> table;
  for (const Parameter* parameter : mine) {
    if (parameter == nullptr) {
      table.insert(table.end(), {kNotHeld, 0, 0});
    } else {
      const ParamSlice& slice = parameter->slice;
      table.insert(table.end(), {slice.dim, slice.offset, slice.extent});
    }
  }
  return table;
}

// The slices of one parameter by the ranks' words, `stride` apart.
std::vector<HeldSlice> SlicesOf(const int64_t* words, int64_t stride, int ranks) {
  std::vector<HeldSlice> slices;
  for (int rank = 0; rank < ranks; ++rank, words += stride) {
    if (words[0] == kNotHeld) continue;
    const auto same = std::find_if(slices.begin(), slices.end(), [&](const HeldSlice& slice) {
      return slice.dim == words[0] && slice.offset == words[1] && slice.extent == words[2];
    });
    if (same != slices.end()) {
      same->ranks.push_back(rank);
    } else {
      slices.push_back({static_cast<int>(words[0]), words[1], words[2], {rank}});
    }
  }
  return slices;
}

// Every rank's `mine`, in rank order.
at::Tensor GatherWords(std::vector<int64_t> mine, Communicator& world) {
  const at::Tensor own = at::tensor(mine, at::kLong);
  at::Tensor all = at::empty({world.size() * own.numel()}, at::kLong);
  world.AllGather(own, all);
  return all;
}

bool Holds(const HeldSlice& slice, int rank) {
  return std::find(slice.ranks.begin(), slice.ranks.end(), rank) != slice.ranks.end();
}

}  // namespace

at::Tensor PartOf(const at::Tensor& whole, const HeldSlice& slice) {
  return slice.dim < 0 ? whole : whole.narrow(slice.dim, slice.offset, slice.extent);
}

uint64_t HashOf(const at::Tensor& values) {
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
  return hash;
}

absl::StatusOr<std::unique_ptr<Holders>> Holders::Create(const ParameterSet& declared,
                                                         const ParameterSet& set,
                                                         const Process& process) {
  std::unique_ptr<Holders> holders(new Holders);
  holders->declared_ = &declared;
  if (process.world_size() == 1) {
    holders->world_ = MakeSelfCommunicator("world");
  } else {
    auto world =
        CreateCommunicator(CommBackend::kMpi, process, "world", /*color=*/0, process.rank());
    FT_RETURN_IF_ERROR(process.AgreeOnStatus(world.status()));
    holders->world_ = *std::move(world);
  }
  for (const auto& parameter : declared.all()) {
    holders->mine_.push_back(set.Find(parameter->slice.name));
  }
  const at::Tensor table = GatherWords(TableOf(holders->mine_), *holders->world_);
  const auto count = static_cast<int64_t>(holders->mine_.size());
  for (int64_t i = 0; i < count; ++i) {
    holders->slices_.push_back(SlicesOf(table.const_data_ptr<int64_t>() + i * kWords,
                                        count * kWords, process.world_size()));
  }
  return holders;
}

void Holders::Collect(int64_t parameter, const at::Tensor& local, at::Tensor whole) const {
  const int rank = world_->rank();
  for (const HeldSlice& slice : slices_[static_cast<size_t>(parameter)]) {
    const int holder = slice.ranks.front();
    if (rank == holder && rank > 0) world_->Send(local.contiguous().cpu(), 0);
    if (rank > 0) continue;
    const at::Tensor part = PartOf(whole, slice);
    if (holder == 0) {
      part.copy_(local);
    } else {
      const at::Tensor received = at::empty(part.sizes(), part.options());
      world_->Recv(received, holder);
      part.copy_(received);
    }
  }
}

void Holders::Distribute(int64_t parameter, const at::Tensor& whole, at::Tensor local) const {
  const int rank = world_->rank();
  for (const HeldSlice& slice : slices_[static_cast<size_t>(parameter)]) {
    if (rank > 0) {
      if (!Holds(slice, rank)) continue;
      const at::Tensor received = at::empty(local.sizes(), local.options().device(at::kCPU));
      world_->Recv(received, 0);
      local.copy_(received);
      continue;
    }
    const at::Tensor part = PartOf(whole, slice);
    for (const int holder : slice.ranks) {
      if (holder == 0) {
        local.copy_(part);
      } else {
        world_->Send(part.contiguous(), holder);
      }
    }
  }
}

std::vector<ReplicaFault> Holders::Compare(const std::vector<uint64_t>& mine) const {
  FT_CHECK(mine.size() == mine_.size(), mine.size(), " hashes of ", mine_.size(), " parameters");
  const at::Tensor all = GatherWords({mine.begin(), mine.end()}, *world_);
  const auto* hashes = all.const_data_ptr<int64_t>();
  std::vector<ReplicaFault> faults;
  for (size_t i = 0; i < slices_.size(); ++i) {
    for (const HeldSlice& slice : slices_[i]) {
      const auto hash_of = [&](int rank) {
        return hashes[static_cast<size_t>(rank) * mine.size() + i];
      };
      std::map<int64_t, int> votes;
      for (const int rank : slice.ranks) ++votes[hash_of(rank)];
      if (votes.size() == 1) continue;
      int64_t most = hash_of(slice.ranks.front());
      for (const auto& [hash, count] : votes) {
        if (count > votes[most]) most = hash;
      }
      ReplicaFault fault{static_cast<int64_t>(i), {}, {}};
      for (const int rank : slice.ranks) {
        (hash_of(rank) == most ? fault.right : fault.wrong).push_back(rank);
      }
      faults.push_back(std::move(fault));
    }
  }
  return faults;
}

}  // namespace fttrain
