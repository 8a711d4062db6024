#include "runtime/comm/backends.h"

#if !defined(FTTRAIN_WITH_CUDA)

namespace fttrain {

absl::StatusOr<std::unique_ptr<Communicator>> CreateNcclCommunicator(const Process&,
                                                                     const CommunicatorSpec&) {
  return absl::UnimplementedError(
      "NCCL: this build is for the CPU alone; build where nvcc is on PATH");
}

}  // namespace fttrain

#else

#include <ATen/ATen.h>
#include <ATen/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/util/accumulate.h>

#include <exception>
#include <functional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/comm/issued_operations.h"
#include "runtime/comm/operation_name.h"
#include "runtime/comm/own_stream.h"
#include "runtime/process/check.h"
#include "runtime/process/cuda_check.h"
#include "runtime/process/log.h"
#include "runtime/process/mpi_util.h"

namespace fttrain {
namespace {

ncclDataType_t NcclType(at::ScalarType dtype) {
  switch (dtype) {
    case at::kDouble:
      return ncclFloat64;
    case at::kFloat:
      return ncclFloat32;
    case at::kBFloat16:
      return ncclBfloat16;
    case at::kLong:
      return ncclInt64;
    case at::kByte:
      return ncclUint8;
    default:
      break;
  }
  FT_CHECK(false, "no NCCL type for dtype ", static_cast<int>(dtype));
  return ncclFloat32;
}

size_t Elements(const at::Tensor& tensor) { return static_cast<size_t>(tensor.numel()); }

using Event = at::cuda::CUDAEvent;

// The caller's stream waits for the operation's event; the host does not.
class NcclWork final : public Work {
 public:
  // name: of the operation, a literal.
  NcclWork(const Communicator& communicator, ncclComm_t comm, const char* name,
           std::vector<at::Tensor> tensors)
      : communicator_(communicator), comm_(comm), name_(name), tensors_(std::move(tensors)) {}
  ~NcclWork() override {
    if (std::uncaught_exceptions() == exceptions_) {
      try {
        Wait();
        return;
      } catch (const std::exception& error) {  // a destructor cannot hand it on
        LogError(error.what());
      }
    }
    // The kernel may still use the memory, and the process is about to end.
    new std::vector<at::Tensor>(std::move(tensors_));
  }
  void Wait() override {
    if (tensors_.empty()) return;
    ncclResult_t state = ncclSuccess;
    FT_NCCL_CHECK(ncclCommGetAsyncError(comm_, &state), Context());
    FT_NCCL_CHECK(state, Context());
    // From here on the tensors may be freed: their memory is reused in the order of the current
    // stream.
    done_->block(c10::cuda::getCurrentCUDAStream());
    tensors_.clear();
  }
  std::shared_ptr<Event> Record(const c10::cuda::CUDAStream& stream) {
    done_->record(stream);
    return done_;
  }
  std::string Context() const {
    return communicator_.ErrorText(name_, static_cast<int64_t>(tensors_[0].nbytes()), "");
  }

 private:
  const Communicator& communicator_;
  ncclComm_t comm_;
  const char* name_;
  std::vector<at::Tensor> tensors_;
  std::shared_ptr<Event> done_ = std::make_shared<Event>();
  int exceptions_ = std::uncaught_exceptions();
};

class NcclCommunicator final : public Communicator, private Activity::Source {
 public:
  NcclCommunicator(std::string axis, const WorldPart& part, ncclComm_t comm)
      : Communicator(std::move(axis), part.members),
        hosts_(part.comm),
        comm_(comm),
        stream_(own_stream_.Get()) {
    members().activity->Add(this);
  }
  // ncclCommAbort cuts off what still runs, which a peer may be receiving. While an exception
  // unwinds neither is done: both wait for peers that may never come.
  ~NcclCommunicator() override {
    const bool unwinds = std::uncaught_exceptions() > exceptions_;
    const cudaError_t code = unwinds ? cudaSuccess : cudaStreamSynchronize(stream_.stream());
    if (code != cudaSuccess) LogError(ErrorText("end", 0, cudaGetErrorString(code)));
    members().activity->Remove(this);
    if (unwinds) return;
    ncclCommAbort(comm_);  // local, unlike ncclCommDestroy, which waits for the peers
  }

  bool OccupiesDevice() const override { return true; }

  // NCCL connects ranks, and takes its buffers, in their first operation: on the host, which waits
  // there for the peer to call its own.
  void Connect(Use use) override {
    if (size() == 1) return;
    const at::Tensor one = at::zeros({1}, at::TensorOptions(at::kFloat).device(at::kCUDA));
    if (use != Use::kMessages) DoAllReduce(one, ReduceOp::kSum, Mode::kBlocking)->Wait();
    if (use == Use::kExchanges) {
      const at::Tensor of_all = one.expand({size()}).contiguous();
      const std::vector<int64_t> one_each(static_cast<size_t>(size()), 1);
      DoAllToAll(of_all, at::empty_like(of_all), one_each, one_each)->Wait();
    }
    if (use == Use::kMessages) Pass(one, 0, 1);
    if (use == Use::kWithFirst) {
      for (int peer = 1; peer < size(); ++peer) Pass(one, peer, 0);
      Pass(one, 0, size() - 1);
    }
    stream_.synchronize();
  }

  void Barrier() override {
    const int code = MPI_Barrier(hosts_);
    if (code != MPI_SUCCESS) throw CommError(ErrorText("barrier", 0, MpiErrorText(code)));
  }

 protected:
  std::unique_ptr<Work> DoAllReduce(at::Tensor tensor, ReduceOp op, Mode) override {
    return Enqueue(Collective::kAllReduce, {tensor}, [&](cudaStream_t stream) {
      return ncclAllReduce(tensor.const_data_ptr(), tensor.mutable_data_ptr(), Elements(tensor),
                           NcclType(tensor.scalar_type()), op == ReduceOp::kSum ? ncclSum : ncclMax,
                           comm_, stream);
    });
  }

  std::unique_ptr<Work> DoAllGather(at::Tensor input, at::Tensor output, Mode) override {
    return Enqueue(Collective::kAllGather, {input, output}, [&](cudaStream_t stream) {
      return ncclAllGather(input.const_data_ptr(), output.mutable_data_ptr(), Elements(input),
                           NcclType(input.scalar_type()), comm_, stream);
    });
  }

  std::unique_ptr<Work> DoReduceScatter(at::Tensor input, at::Tensor output, Mode) override {
    return Enqueue(Collective::kReduceScatter, {input, output}, [&](cudaStream_t stream) {
      return ncclReduceScatter(input.const_data_ptr(), output.mutable_data_ptr(), Elements(output),
                               NcclType(input.scalar_type()), ncclSum, comm_, stream);
    });
  }

  // Sends and receives of one group meet in any order (NCCL User Guide, "Point-to-point
  // communication": all-to-all).
  std::unique_ptr<Work> DoAllToAll(at::Tensor input, at::Tensor output,
                                   const std::vector<int64_t>& sent,
                                   const std::vector<int64_t>& received) override {
    return Enqueue(Collective::kAllToAll, {input, output}, [&](cudaStream_t stream) {
      const int64_t row = c10::multiply_integers(input.sizes().slice(1));
      const ncclDataType_t type = NcclType(input.scalar_type());
      const int64_t bytes = row * input.element_size();
      const auto* from = static_cast<const char*>(input.const_data_ptr());
      auto* to = static_cast<char*>(output.mutable_data_ptr());
      ncclResult_t result = ncclGroupStart();
      for (int p = 0; p < size() && result == ncclSuccess; ++p) {
        const int64_t out = sent[static_cast<size_t>(p)], in = received[static_cast<size_t>(p)];
        if (out > 0) {
          result = ncclSend(from, static_cast<size_t>(out * row), type, p, comm_, stream);
        }
        if (in > 0 && result == ncclSuccess) {
          result = ncclRecv(to, static_cast<size_t>(in * row), type, p, comm_, stream);
        }
        from += out * bytes;
        to += in * bytes;
      }
      const ncclResult_t end = ncclGroupEnd();
      return result == ncclSuccess ? end : result;
    });
  }

  std::unique_ptr<Work> DoSend(at::Tensor tensor, int peer) override {
    const auto call = [&](cudaStream_t stream) {
      return ncclSend(tensor.const_data_ptr(), Elements(tensor), NcclType(tensor.scalar_type()),
                      peer, comm_, stream);
    };
    return Enqueue(Collective::kSend, {tensor}, call, peer);
  }

  std::unique_ptr<Work> DoRecv(at::Tensor tensor, int peer) override {
    const auto call = [&](cudaStream_t stream) {
      return ncclRecv(tensor.mutable_data_ptr(), Elements(tensor), NcclType(tensor.scalar_type()),
                      peer, comm_, stream);
    };
    return Enqueue(Collective::kRecv, {tensor}, call, peer);
  }

 private:
  void Pass(const at::Tensor& tensor, int from, int to) {
    if (rank() == from) DoSend(tensor, to)->Wait();
    if (rank() == to) DoRecv(tensor, from)->Wait();
  }

  // A thread that has chosen no device would open the first, whichever is this rank's.
  State Look() override {
    c10::cuda::set_device(stream_.device_index());
    ncclResult_t state = ncclSuccess;
    const ncclResult_t asked = ncclCommGetAsyncError(comm_, &state);
    if (asked != ncclSuccess) state = asked;
    State seen = issued_.Look(*place());
    if (state != ncclSuccess && state != ncclInProgress) {
      seen.error = absl::StrCat("NCCL reports of ", *place(), ": ", ncclGetErrorString(state), "; ",
                                ncclGetLastError(comm_));
    }
    return seen;
  }

  // Issues `call` on the communicator's stream, after everything issued on the current stream.
  template <typename Call>
  std::unique_ptr<Work> Enqueue(Collective operation, std::vector<at::Tensor> tensors, Call call,
                                int peer = -1) {
    const char* const name = OperationName(operation, tensors[0].scalar_type());
    TORCH_CHECK(tensors[0].is_cuda(), name, "[", axis(), "]: NCCL takes CUDA tensors, not ",
                tensors[0].device());
    const c10::cuda::CUDAGuard guard(tensors[0].device());
    at::cuda::CUDAEvent ready;
    ready.record(c10::cuda::getCurrentCUDAStream());
    ready.block(stream_);
    const auto bytes = static_cast<int64_t>(tensors[0].nbytes());
    auto work = std::make_unique<NcclWork>(*this, comm_, name, std::move(tensors));
    FT_NCCL_CHECK(call(stream_.stream()), work->Context());
    const int64_t number = peer < 0 ? collectives() : 0;
    issued_.Add({name, bytes, RankInJob(peer), number, work->Record(stream_)});
    return work;
  }

  MPI_Comm hosts_;
  ncclComm_t comm_;
  OwnStream own_stream_;
  c10::cuda::CUDAStream stream_;
  IssuedOperations<Event> issued_;
  int exceptions_ = std::uncaught_exceptions();
};

// Messages between stages need little of the GPU: each channel of NCCL is a multiprocessor that a
// receive occupies until its message comes, and some megabytes. An all_to_all has channels to every
// peer, by default as many as there are, which take gigabytes of eight GPUs
// (github.com/NVIDIA/nccl/issues/1685).
ncclConfig_t ConfigOf(Communicator::Use use) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  const bool of_messages =
      use == Communicator::Use::kMessages || use == Communicator::Use::kWithFirst;
  if (of_messages) config.maxCTAs = 2;
  if (use == Communicator::Use::kExchanges) config.maxCTAs = kExchangeChannels;
  return config;
}

// A program that runs with another NCCL than it was compiled for fails in ways hard to trace.
absl::Status CheckNcclVersion() {
  int loaded = 0;
  const ncclResult_t code = ncclGetVersion(&loaded);
  if (code != ncclSuccess) {
    return absl::UnavailableError(absl::StrCat("ncclGetVersion: ", ncclGetErrorString(code)));
  }
  if (loaded != NCCL_VERSION_CODE) {
    return absl::FailedPreconditionError(
        absl::StrCat("compiled for NCCL version code ", NCCL_VERSION_CODE, ", but ", loaded,
                     " was loaded: LD_LIBRARY_PATH must not name another libnccl.so.2"));
  }
  return absl::OkStatus();
}

// The first rank's id on every rank of `hosts`. Collective.
absl::StatusOr<ncclUniqueId> ShareUniqueId(int rank, MPI_Comm hosts) {
  struct {
    ncclUniqueId id;
    ncclResult_t code = ncclSuccess;
  } message;
  if (rank == 0) message.code = ncclGetUniqueId(&message.id);
  const int code = MPI_Bcast(&message, sizeof(message), MPI_BYTE, 0, hosts);
  if (code != MPI_SUCCESS) {
    return absl::InternalError(absl::StrCat("sharing the NCCL id: ", MpiErrorText(code)));
  }
  if (message.code != ncclSuccess) {
    return absl::UnavailableError(
        absl::StrCat("ncclGetUniqueId: ", ncclGetErrorString(message.code)));
  }
  return message.id;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Communicator>> CreateNcclCommunicator(const Process& process,
                                                                     const CommunicatorSpec& spec) {
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(CheckNcclVersion()));
  FT_ASSIGN_OR_RETURN(const WorldPart part, SplitWorld(process, spec.color, spec.key));
  // A rank that takes no part still agrees with the others.
  const bool member = part.comm != MPI_COMM_NULL;
  const int rank = part.members.rank, size = static_cast<int>(part.members.ranks.size());
  absl::StatusOr<ncclUniqueId> id = ncclUniqueId{};
  if (member) id = ShareUniqueId(rank, part.comm);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(id.status()));
  ncclComm_t comm = nullptr;
  ncclConfig_t config = ConfigOf(spec.use);
  if (!member) return nullptr;
  // A rank that fails here cannot agree with the others: they wait for it in the same call.
  FT_NCCL_CHECK(ncclCommInitRankConfig(&comm, size, *id, rank, &config),
                absl::StrCat("NCCL cannot connect rank ", rank, " with the ", size,
                             " ranks of axis ", spec.axis, ": "));
  return std::make_unique<NcclCommunicator>(spec.axis, part, comm);
}

}  // namespace fttrain

#endif
