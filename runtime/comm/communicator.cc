#include "runtime/comm/communicator.h"

#include <ATen/ATen.h>
#include <c10/util/accumulate.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/comm/backends.h"
#include "runtime/comm/host_channel.h"
#include "runtime/comm/operation_name.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

class DoneWork final : public Work {
 public:
  void Wait() override {}
};

std::unique_ptr<Work> Done() { return std::make_unique<DoneWork>(); }

// Of a communicator of size 1 whose blocks are the tensors themselves.
std::unique_ptr<Work> CopyOver(const at::Tensor& input, at::Tensor output) {
  if (output.const_data_ptr() != input.const_data_ptr()) output.copy_(input);
  return Done();
}

void Finish(const std::unique_ptr<Work>& work) {
  if (work != nullptr) work->Wait();
}

void CheckTensor(const at::Tensor& tensor, const char* operation, const char* name) {
  TORCH_CHECK(tensor.defined(), operation, ": ", name, " is undefined");
  TORCH_CHECK(tensor.is_contiguous(), operation, ": ", name, " of sizes ", tensor.sizes(),
              " is not contiguous");
  switch (tensor.scalar_type()) {
    case at::kDouble:
    case at::kFloat:
    case at::kBFloat16:
    case at::kLong:
    case at::kByte:
      return;
    default:
      TORCH_CHECK(false, operation, ": ", name, " has dtype ", tensor.scalar_type(),
                  "; communicators take float64, float32, bfloat16, int64, uint8");
  }
}

// `whole` is `parts` blocks of the size of `part`, stacked in dim 0.
void CheckBlocks(const at::Tensor& part, const at::Tensor& whole, int parts,
                 const char* operation) {
  CheckTensor(part, operation, "the shard");
  CheckTensor(whole, operation, "the whole");
  TORCH_CHECK(part.scalar_type() == whole.scalar_type() && part.device() == whole.device(),
              operation, ": shard ", part.scalar_type(), " on ", part.device(), ", whole ",
              whole.scalar_type(), " on ", whole.device());
  TORCH_CHECK(part.dim() >= 1 && part.dim() == whole.dim() &&
                  whole.size(0) == parts * part.size(0) &&
                  whole.sizes().slice(1) == part.sizes().slice(1),
              operation, ": sizes ", whole.sizes(), " are not ", parts, " times ", part.sizes());
}

// `rows` has of each rank how many of the tensor's rows are its.
void CheckRows(const at::Tensor& tensor, const std::vector<int64_t>& rows, int size,
               const char* name) {
  CheckTensor(tensor, "all_to_all", name);
  int64_t sum = 0;
  for (const int64_t each : rows) {
    TORCH_CHECK(each >= 0, "all_to_all: ", each, " rows of ", name);
    sum += each;
  }
  TORCH_CHECK(static_cast<int>(rows.size()) == size && tensor.dim() >= 1 && tensor.size(0) == sum,
              "all_to_all: ", name, " of sizes ", tensor.sizes(), " is not ", sum, " rows of ",
              rows.size(), " ranks; there are ", size);
}

void CheckPeer(int peer, int rank, int size, const char* operation) {
  TORCH_CHECK(peer >= 0 && peer < size && peer != rank, operation, ": rank ", rank, " of ", size,
              " cannot name rank ", peer);
}

// Of a tensor that may be no operand yet.
const char* NameOf(Collective operation, const at::Tensor& tensor) {
  return OperationName(operation, tensor.defined() ? DtypeNumber(tensor.scalar_type()) : 5);
}

int64_t BytesOf(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<int64_t>(tensor.nbytes()) : 0;
}

class SelfCommunicator final : public Communicator {
 public:
  explicit SelfCommunicator(std::string axis) : Communicator(std::move(axis), Members{}) {}
  void Barrier() override {}

 protected:
  // Size 1 never gets here.
  std::unique_ptr<Work> DoAllReduce(at::Tensor, ReduceOp, Mode) override { return Done(); }
  std::unique_ptr<Work> DoAllGather(at::Tensor, at::Tensor, Mode) override { return Done(); }
  std::unique_ptr<Work> DoReduceScatter(at::Tensor, at::Tensor, Mode) override { return Done(); }
  std::unique_ptr<Work> DoAllToAll(at::Tensor, at::Tensor, const std::vector<int64_t>&,
                                   const std::vector<int64_t>&) override {
    return Done();
  }
  std::unique_ptr<Work> DoSend(at::Tensor, int) override { return Done(); }
  std::unique_ptr<Work> DoRecv(at::Tensor, int) override { return Done(); }
};

// "tp of ranks 0, 1", at most some of them.
std::string PlaceText(const std::string& axis, const std::vector<int>& ranks) {
  constexpr size_t kMost = 8;
  const std::vector<int> first(ranks.begin(), ranks.begin() + std::min(ranks.size(), kMost));
  return absl::StrCat(axis, " of ", ranks.size() > kMost ? absl::StrCat(ranks.size(), " ") : "",
                      "ranks ", absl::StrJoin(first, ", "), ranks.size() > kMost ? ", ..." : "");
}

}  // namespace

Communicator::Communicator(std::string axis, const Members& members)
    : axis_(std::move(axis)), members_(members) {
  if (members.activity == nullptr) return;
  place_ = members.activity->Intern(PlaceText(axis_, members.ranks));
}

int Communicator::RankInJob(int peer) const {
  return peer < 0 ? -1 : members_.ranks[static_cast<size_t>(peer)];
}

Activity::Waiting Communicator::Waits(const char* operation, int64_t bytes, int peer,
                                      int64_t call) const {
  return {members_.activity, operation, place_, bytes, RankInJob(peer), call};
}

std::string Communicator::ErrorText(const char* operation, int64_t bytes,
                                    const std::string& reason) const {
  return absl::StrCat(operation, "[", axis_, "] on rank ", rank(), "/", size(), ", ", bytes,
                      " bytes: ", reason);
}

void Communicator::Count(int64_t wire_bytes) {
  ++traffic_.calls;
  traffic_.wire_bytes += wire_bytes;
}

std::unique_ptr<HostChannel> Communicator::OpenHostChannel(int, int64_t) { return nullptr; }

std::unique_ptr<Work> Communicator::StartAllReduce(at::Tensor tensor, ReduceOp op, Mode mode) {
  CheckTensor(tensor, "all_reduce", "the tensor");
  if (size() == 1) return Done();
  Count(2 * (size() - 1) * BytesOf(tensor) / size());
  if (tensor.numel() == 0) return Done();
  ++collectives_;
  return DoAllReduce(std::move(tensor), op, mode);
}

std::unique_ptr<Work> Communicator::StartAllGather(const at::Tensor& input, at::Tensor output,
                                                   Mode mode) {
  CheckBlocks(input, output, size(), "all_gather");
  if (size() == 1) return CopyOver(input, std::move(output));
  Count((size() - 1) * BytesOf(input));
  if (input.numel() == 0) return Done();
  ++collectives_;
  return DoAllGather(input, std::move(output), mode);
}

std::unique_ptr<Work> Communicator::StartReduceScatter(const at::Tensor& input, at::Tensor output,
                                                       Mode mode) {
  CheckBlocks(output, input, size(), "reduce_scatter");
  if (size() == 1) return CopyOver(input, std::move(output));
  Count((size() - 1) * BytesOf(output));
  if (output.numel() == 0) return Done();
  ++collectives_;
  return DoReduceScatter(input, std::move(output), mode);
}

std::unique_ptr<Work> Communicator::SendAsync(const at::Tensor& tensor, int peer) {
  CheckTensor(tensor, "send", "the tensor");
  CheckPeer(peer, rank(), size(), "send");
  Count(BytesOf(tensor));
  if (tensor.numel() == 0) return Done();
  return DoSend(tensor, peer);
}

std::unique_ptr<Work> Communicator::RecvAsync(at::Tensor tensor, int peer) {
  CheckTensor(tensor, "recv", "the tensor");
  CheckPeer(peer, rank(), size(), "recv");
  Count(0);
  if (tensor.numel() == 0) return Done();
  return DoRecv(std::move(tensor), peer);
}

void Communicator::AllReduce(at::Tensor tensor, ReduceOp op) {
  const Activity::Waiting waits =
      Waits(NameOf(Collective::kAllReduce, tensor), BytesOf(tensor), -1, collectives_ + 1);
  Finish(StartAllReduce(std::move(tensor), op, Mode::kBlocking));
}

void Communicator::AllGather(const at::Tensor& input, at::Tensor output) {
  const Activity::Waiting waits =
      Waits(NameOf(Collective::kAllGather, input), BytesOf(input), -1, collectives_ + 1);
  Finish(StartAllGather(input, std::move(output), Mode::kBlocking));
}

void Communicator::ReduceScatter(const at::Tensor& input, at::Tensor output) {
  const Activity::Waiting waits =
      Waits(NameOf(Collective::kReduceScatter, input), BytesOf(input), -1, collectives_ + 1);
  Finish(StartReduceScatter(input, std::move(output), Mode::kBlocking));
}

void Communicator::AllToAll(const at::Tensor& input, at::Tensor output,
                            const std::vector<int64_t>& sent,
                            const std::vector<int64_t>& received) {
  CheckRows(input, sent, size(), "the input");
  CheckRows(output, received, size(), "the output");
  TORCH_CHECK(input.scalar_type() == output.scalar_type() && input.device() == output.device() &&
                  input.sizes().slice(1) == output.sizes().slice(1),
              "all_to_all: input ", input.toString(), " ", input.sizes(), ", output ",
              output.toString(), " ", output.sizes());
  const auto mine = static_cast<size_t>(rank());
  TORCH_CHECK(sent[mine] == received[mine], "all_to_all: ", sent[mine],
              " rows for this rank itself, ", received[mine], " from it");
  if (size() == 1) {
    CopyOver(input, std::move(output));
    return;
  }
  const int64_t row_bytes = c10::multiply_integers(input.sizes().slice(1)) * input.element_size();
  Count((input.size(0) - sent[mine]) * row_bytes);
  ++collectives_;
  const Activity::Waiting waits =
      Waits(NameOf(Collective::kAllToAll, input), BytesOf(input), -1, collectives_);
  Finish(DoAllToAll(input, std::move(output), sent, received));
}

void Communicator::Send(const at::Tensor& tensor, int peer) {
  const std::unique_ptr<Work> work = SendAsync(tensor, peer);
  const Activity::Waiting waits = Waits(NameOf(Collective::kSend, tensor), BytesOf(tensor), peer);
  work->Wait();
}

void Communicator::Recv(at::Tensor tensor, int peer) {
  const std::unique_ptr<Work> work = RecvAsync(tensor, peer);
  const Activity::Waiting waits = Waits(NameOf(Collective::kRecv, tensor), BytesOf(tensor), peer);
  work->Wait();
}

std::unique_ptr<Work> Communicator::AllReduceAsync(at::Tensor tensor, ReduceOp op) {
  return StartAllReduce(std::move(tensor), op, Mode::kAsync);
}

std::unique_ptr<Work> Communicator::AllGatherAsync(const at::Tensor& input, at::Tensor output) {
  return StartAllGather(input, std::move(output), Mode::kAsync);
}

std::unique_ptr<Work> Communicator::ReduceScatterAsync(const at::Tensor& input, at::Tensor output) {
  return StartReduceScatter(input, std::move(output), Mode::kAsync);
}

absl::StatusOr<std::unique_ptr<Communicator>> CreateCommunicator(CommBackend backend,
                                                                 const Process& process,
                                                                 const CommunicatorSpec& spec) {
  absl::StatusOr<std::unique_ptr<Communicator>> made = backend(process, spec);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(made.status()));
  if (*made != nullptr) (*made)->Connect(spec.use);
  return made;
}

std::unique_ptr<Communicator> MakeSelfCommunicator(std::string axis) {
  return std::make_unique<SelfCommunicator>(std::move(axis));
}

}  // namespace fttrain
