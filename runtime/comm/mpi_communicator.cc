#include <ATen/ATen.h>
#include <c10/util/accumulate.h>

#include <algorithm>
#include <cstring>
#include <exception>

#include "runtime/comm/backends.h"
#include "runtime/comm/host_channel.h"
#include "runtime/comm/host_exchange.h"
#include "runtime/comm/mpi_operation.h"
#include "runtime/comm/operation_name.h"
#include "runtime/comm/pinned_staging.h"
#include "runtime/comm/reduce.h"
#include "runtime/memory/ledger.h"
#include "runtime/process/check.h"
#include "runtime/process/mpi_util.h"
#include "runtime/process/peer_lost.h"

namespace fttrain {
namespace {

// Point-to-point messages have a tag of their own; collectives use two each, in turn, so that two
// of them in flight do not mix. Each dtype has its own: ranks that do not mean the same never meet,
// rather than take one's bytes for the other's numbers, and a watchdog says what each is in.
constexpr int kCollectiveTags = 16384;
constexpr int kTagsOfADtype = 2 * kCollectiveTags + 2;
int PointToPointTag(const at::Tensor& tensor) {
  return kTagsOfADtype * DtypeNumber(tensor.scalar_type());
}

char* BytesAt(at::Tensor& tensor, int64_t offset) {
  return static_cast<char*>(tensor.mutable_data_ptr()) + offset;
}
const char* BytesAt(const at::Tensor& tensor, int64_t offset) {
  return static_cast<const char*>(tensor.const_data_ptr()) + offset;
}

// Rank p's elements of a flat buffer that `parts` ranks reduce together; the last may have fewer or
// none. Of an all_to_all its bytes.
struct Shard {
  int64_t begin;
  int64_t length;
};
Shard ShardOf(int64_t elements, int part, int parts) {
  const int64_t each = (elements + parts - 1) / parts;
  const int64_t begin = std::min(elements, part * each);
  return {begin, std::min(each, elements - begin)};
}

at::Tensor Workspace(int64_t bytes) {
  const MemoryScope scope(MemoryCategory::kCommunication);
  return at::empty({bytes}, at::kByte);
}

class MpiCommunicator final : public Communicator {
 public:
  MpiCommunicator(std::string axis, const WorldPart& part)
      : Communicator(std::move(axis), part.members),
        comm_(part.comm),
        queue_(part.comm),
        host_(HostExchange::Create(part.comm, [this] { queue_.Poll(); })) {}

  void Barrier() override {
    const int code = MPI_Barrier(comm_);
    if (IsPeerLost(code)) throw PeerLostError(ErrorText("barrier", 0, MpiErrorText(code)));
    if (code != MPI_SUCCESS) throw CommError(ErrorText("barrier", 0, MpiErrorText(code)));
  }

  std::unique_ptr<HostChannel> OpenHostChannel(int places, int64_t place_bytes) override {
    return HostChannel::Create(comm_, places, place_bytes, [this] { queue_.Poll(); });
  }

  void WaitFor(const MpiOperation& operation) {
    const Activity::Waiting waits = Waits(operation.name, operation.bytes, -1, operation.call);
    Named(operation, [&] { queue_.WaitFor(operation); });
  }

 protected:
  std::unique_ptr<Work> DoAllReduce(at::Tensor tensor, ReduceOp op, Mode mode) override;
  std::unique_ptr<Work> DoAllGather(at::Tensor input, at::Tensor output, Mode mode) override;
  std::unique_ptr<Work> DoReduceScatter(at::Tensor input, at::Tensor output, Mode mode) override;
  std::unique_ptr<Work> DoAllToAll(at::Tensor input, at::Tensor output,
                                   const std::vector<int64_t>& sent,
                                   const std::vector<int64_t>& received) override;
  std::unique_ptr<Work> DoSend(at::Tensor tensor, int peer) override;
  std::unique_ptr<Work> DoRecv(at::Tensor tensor, int peer) override;

 private:
  using Step = std::function<void(MpiOperation&)>;

  // Runs body; errors become CommErrors that name the operation.
  template <typename Body>
  void Named(const MpiOperation& operation, Body body) {
    try {
      body();
    } catch (const PeerLostError& error) {
      throw PeerLostError(ErrorText(operation.name, operation.bytes, error.what()));
    } catch (const std::runtime_error& error) {
      throw CommError(ErrorText(operation.name, operation.bytes, error.what()));
    }
  }
  std::unique_ptr<Work> Start(const char* name, int64_t bytes, std::vector<at::Tensor> tensors,
                              std::deque<Step> steps, int64_t call = 0);
  int NextTag(const at::Tensor& tensor);
  // fn(p) for every other rank, each beginning with its successor, so that not all send to rank 0
  // first.
  template <typename Fn>
  void ForEachPeer(Fn fn) const {
    for (int i = 1; i < size(); ++i) fn((rank() + i) % size());
  }
  // A step that gives block p of `input` to each rank p and leaves the blocks of this rank that the
  // others hold in `received`, each at rank * block bytes.
  Step ExchangeShards(at::Tensor input, at::Tensor received, int tag);
  // A step that sums this rank's shard of `input` and what the others sent, in rank order.
  Step SumShard(at::Tensor input, at::Tensor received, ReduceOp op, void* out);

  // Whether a blocking collective goes through shared memory. The same on every rank.
  bool ThroughHost(Mode mode) const { return mode == Mode::kBlocking && host_ != nullptr; }

  template <typename Body>
  void ThroughMemory(Collective operation, const at::Tensor& tensor, Body body) {
    try {
      body();
    } catch (const HostExchange::AtOdds& error) {
      throw CommError(ErrorText(OperationName(operation, tensor.scalar_type()),
                                static_cast<int64_t>(tensor.nbytes()), error.what()));
    }
  }

  MPI_Comm comm_;
  MpiQueue queue_;
  std::unique_ptr<HostExchange> host_;
  int tag_ = 0;
};

class MpiWork final : public Work {
 public:
  MpiWork(MpiCommunicator& communicator, std::shared_ptr<MpiOperation> operation)
      : communicator_(communicator), operation_(std::move(operation)) {}
  ~MpiWork() override {
    if (std::uncaught_exceptions() == exceptions_) Wait();
  }
  void Wait() override {
    if (!operation_->complete) communicator_.WaitFor(*operation_);
    operation_->tensors.clear();
  }

 private:
  MpiCommunicator& communicator_;
  std::shared_ptr<MpiOperation> operation_;
  int exceptions_ = std::uncaught_exceptions();
};

std::unique_ptr<Work> MpiCommunicator::Start(const char* name, int64_t bytes,
                                             std::vector<at::Tensor> tensors,
                                             std::deque<Step> steps, int64_t call) {
  auto operation = std::make_shared<MpiOperation>();
  operation->name = name;
  operation->bytes = bytes;
  operation->call = call;
  operation->tensors = std::move(tensors);
  operation->steps = std::move(steps);
  Named(*operation, [&] { queue_.Start(operation); });
  return std::make_unique<MpiWork>(*this, std::move(operation));
}

int MpiCommunicator::NextTag(const at::Tensor& tensor) {
  tag_ = (tag_ + 1) % kCollectiveTags;
  return PointToPointTag(tensor) + 1 + 2 * tag_;
}

MpiCommunicator::Step MpiCommunicator::ExchangeShards(at::Tensor input, at::Tensor received,
                                                      int tag) {
  return [=, this](MpiOperation& operation) mutable {
    const int64_t element = input.element_size();
    const Shard own = ShardOf(input.numel(), rank(), size());
    const int64_t slot = ShardOf(input.numel(), 0, size()).length * element;
    ForEachPeer([&](int p) {
      queue_.Irecv(operation, BytesAt(received, p * slot), own.length * element, p, tag);
    });
    ForEachPeer([&](int p) {
      const Shard theirs = ShardOf(input.numel(), p, size());
      queue_.Isend(operation, BytesAt(std::as_const(input), theirs.begin * element),
                   theirs.length * element, p, tag);
    });
  };
}

MpiCommunicator::Step MpiCommunicator::SumShard(at::Tensor input, at::Tensor received, ReduceOp op,
                                                void* out) {
  return [=, this](MpiOperation&) {
    const int64_t element = input.element_size();
    const Shard own = ShardOf(input.numel(), rank(), size());
    const int64_t slot = ShardOf(input.numel(), 0, size()).length * element;
    std::vector<const void*> parts;
    for (int p = 0; p < size(); ++p) {
      parts.push_back(p == rank() ? BytesAt(input, own.begin * element)
                                  : BytesAt(received, p * slot));
    }
    ReduceBuffers(input.scalar_type(), op, parts.data(), size(), own.length, out);
  };
}

std::unique_ptr<Work> MpiCommunicator::DoAllReduce(at::Tensor tensor, ReduceOp op, Mode mode) {
  if (tensor.is_cuda()) {
    at::Tensor host = OnHost(tensor);
    return std::make_unique<StagedWork>(DoAllReduce(host, op, mode), host, tensor);
  }
  if (ThroughHost(mode)) {
    ThroughMemory(Collective::kAllReduce, tensor, [&] {
      host_->AllReduce(tensor.scalar_type(), op, BytesAt(tensor, 0), tensor.numel());
    });
    return nullptr;
  }
  const int64_t element = tensor.element_size();
  const Shard own = ShardOf(tensor.numel(), rank(), size());
  at::Tensor received = Workspace(ShardOf(tensor.numel(), 0, size()).length * element * size());
  const int tag = NextTag(tensor);
  Step gather = [=, this](MpiOperation& operation) mutable {
    ForEachPeer([&](int p) {
      const Shard theirs = ShardOf(tensor.numel(), p, size());
      queue_.Irecv(operation, BytesAt(tensor, theirs.begin * element), theirs.length * element, p,
                   tag + 1);
    });
    ForEachPeer([&](int p) {
      queue_.Isend(operation, BytesAt(std::as_const(tensor), own.begin * element),
                   own.length * element, p, tag + 1);
    });
  };
  return Start(OperationName(Collective::kAllReduce, tensor.scalar_type()),
               static_cast<int64_t>(tensor.nbytes()), {tensor, received},
               {ExchangeShards(tensor, received, tag),
                SumShard(tensor, received, op, BytesAt(tensor, own.begin * element)), gather},
               collectives());
}

std::unique_ptr<Work> MpiCommunicator::DoReduceScatter(at::Tensor input, at::Tensor output,
                                                       Mode mode) {
  if (input.is_cuda()) {
    at::Tensor host = PinnedLike(output);
    return std::make_unique<StagedWork>(DoReduceScatter(OnHost(input), host, mode), host, output);
  }
  if (ThroughHost(mode)) {
    ThroughMemory(Collective::kReduceScatter, input, [&] {
      host_->ReduceScatter(input.scalar_type(), input.const_data_ptr(), BytesAt(output, 0),
                           output.numel());
    });
    return nullptr;
  }
  at::Tensor received = Workspace(static_cast<int64_t>(input.nbytes()));
  return Start(OperationName(Collective::kReduceScatter, input.scalar_type()),
               static_cast<int64_t>(input.nbytes()), {input, output, received},
               {ExchangeShards(input, received, NextTag(input)),
                SumShard(input, received, ReduceOp::kSum, BytesAt(output, 0))},
               collectives());
}

std::unique_ptr<Work> MpiCommunicator::DoAllGather(at::Tensor input, at::Tensor output, Mode mode) {
  if (input.is_cuda()) {
    at::Tensor host = PinnedLike(output);
    return std::make_unique<StagedWork>(DoAllGather(OnHost(input), host, mode), host, output);
  }
  const int64_t bytes = static_cast<int64_t>(input.nbytes());
  if (ThroughHost(mode)) {
    ThroughMemory(Collective::kAllGather, input, [&] {
      host_->AllGather(input.scalar_type(), input.const_data_ptr(), BytesAt(output, 0), bytes);
    });
    return nullptr;
  }
  const int tag = NextTag(input);
  Step exchange = [=, this](MpiOperation& operation) mutable {
    ForEachPeer([&](int p) { queue_.Irecv(operation, BytesAt(output, p * bytes), bytes, p, tag); });
    ForEachPeer(
        [&](int p) { queue_.Isend(operation, BytesAt(std::as_const(input), 0), bytes, p, tag); });
    char* own = BytesAt(output, rank() * bytes);
    if (own != BytesAt(std::as_const(input), 0)) {
      std::memcpy(own, input.const_data_ptr(), static_cast<size_t>(bytes));
    }
  };
  return Start(OperationName(Collective::kAllGather, input.scalar_type()), bytes, {input, output},
               {exchange}, collectives());
}

std::unique_ptr<Work> MpiCommunicator::DoAllToAll(at::Tensor input, at::Tensor output,
                                                  const std::vector<int64_t>& sent,
                                                  const std::vector<int64_t>& received) {
  if (input.is_cuda()) {
    at::Tensor host = PinnedLike(output);
    return std::make_unique<StagedWork>(DoAllToAll(OnHost(input), host, sent, received), host,
                                        output);
  }
  const int64_t row_bytes = c10::multiply_integers(input.sizes().slice(1)) * input.element_size();
  const auto bytes_of = [row_bytes](const std::vector<int64_t>& rows) {
    std::vector<Shard> blocks;
    int64_t begin = 0;
    for (const int64_t each : rows) {
      blocks.push_back({begin, each * row_bytes});
      begin += each * row_bytes;
    }
    return blocks;
  };
  const int tag = NextTag(input);
  Step exchange = [=, this, from = bytes_of(sent),
                   to = bytes_of(received)](MpiOperation& operation) mutable {
    ForEachPeer([&](int p) {
      const Shard& block = to[static_cast<size_t>(p)];
      queue_.Irecv(operation, BytesAt(output, block.begin), block.length, p, tag);
    });
    ForEachPeer([&](int p) {
      const Shard& block = from[static_cast<size_t>(p)];
      queue_.Isend(operation, BytesAt(std::as_const(input), block.begin), block.length, p, tag);
    });
    const Shard own = from[static_cast<size_t>(rank())];
    if (own.length == 0) return;
    std::memcpy(BytesAt(output, to[static_cast<size_t>(rank())].begin),
                BytesAt(std::as_const(input), own.begin), static_cast<size_t>(own.length));
  };
  return Start(OperationName(Collective::kAllToAll, input.scalar_type()),
               static_cast<int64_t>(input.nbytes()), {input, output}, {exchange}, collectives());
}

std::unique_ptr<Work> MpiCommunicator::DoSend(at::Tensor tensor, int peer) {
  if (tensor.is_cuda()) return DoSend(OnHost(tensor), peer);
  const int64_t bytes = static_cast<int64_t>(tensor.nbytes());
  Step step = [=, this](MpiOperation& operation) {
    queue_.Isend(operation, BytesAt(tensor, 0), bytes, peer, PointToPointTag(tensor));
  };
  return Start(OperationName(Collective::kSend, tensor.scalar_type()), bytes, {tensor}, {step});
}

std::unique_ptr<Work> MpiCommunicator::DoRecv(at::Tensor tensor, int peer) {
  if (tensor.is_cuda()) {
    at::Tensor host = PinnedLike(tensor);
    return std::make_unique<StagedWork>(DoRecv(host, peer), host, tensor);
  }
  const int64_t bytes = static_cast<int64_t>(tensor.nbytes());
  Step step = [=, this](MpiOperation& operation) mutable {
    queue_.Irecv(operation, BytesAt(tensor, 0), bytes, peer, PointToPointTag(tensor));
  };
  return Start(OperationName(Collective::kRecv, tensor.scalar_type()), bytes, {tensor}, {step});
}

}  // namespace

absl::StatusOr<std::unique_ptr<Communicator>> CreateMpiCommunicator(const Process& process,
                                                                    const CommunicatorSpec& spec) {
  FT_ASSIGN_OR_RETURN(const WorldPart part, SplitWorld(process, spec.color, spec.key));
  if (part.comm == MPI_COMM_NULL) return nullptr;
  return std::make_unique<MpiCommunicator>(spec.axis, part);
}

}  // namespace fttrain
