#include "tests/runtime/comm/rendezvous.h"

#include <ATen/ATen.h>
#include <ATen/record_function.h>
#include <c10/util/accumulate.h>
#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <list>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/process/check.h"
#include "runtime/process/mpi_util.h"

namespace fttrain {
namespace {

// What runs on this rank's device.
struct Device {
  struct Open {
    const Communicator* over;
    int64_t number;
    std::string name;
    MPI_Request request;
  };
  std::list<Open> open;
  int64_t count = 0;
  double seconds = 20;  // that anything may wait
  bool launches_wait = false;
  bool every = false;
  std::set<std::string> launched;
  bool own_work = false;  // the double's own operations of ATen

  // Forgets what is complete.
  void Progress() {
    for (auto it = open.begin(); it != open.end();) {
      int done = 0;
      MPI_Test(&it->request, &done, MPI_STATUS_IGNORE);
      it = done != 0 ? open.erase(it) : std::next(it);
    }
  }

  // Calls done() until it is true. A job that hangs would say nothing: this one ends.
  template <class Done>
  void WaitUntil(const Done& done, const std::string& what) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    while (!done()) {
      if (std::chrono::steady_clock::now() > end) {
        std::string others;
        for (const Open& o : open) absl::StrAppend(&others, "; open: ", o.name);
        std::fprintf(stderr, "HANGS: %s%s\n", what.c_str(), others.c_str());
        std::fflush(stderr);
        MPI_Abort(MPI_COMM_WORLD, 3);
      }
      std::this_thread::yield();
    }
  }

  bool IsOpen(int64_t number) {
    Progress();
    return std::any_of(open.begin(), open.end(), [&](const Open& o) { return o.number == number; });
  }

  bool AnyOpenOf(const Communicator* over) {
    Progress();
    return std::any_of(open.begin(), open.end(), [&](const Open& o) { return o.over == over; });
  }

  void Launch(const char* name) {
    if (!launches_wait || own_work) return;
    const bool is_kernel = !std::string_view(name).starts_with("aten::empty");
    if (!is_kernel && !every) return;
    if (!launched.insert(name).second && !every) return;
    WaitUntil(
        [&] {
          Progress();
          return open.empty();
        },
        absl::StrCat("the launch of ", name));
  }
};

Device& ThisDevice() {
  static Device device;
  return device;
}

// Operations of ATen that the double does itself are no launches.
class OwnWork {
 public:
  OwnWork() { ThisDevice().own_work = true; }
  ~OwnWork() { ThisDevice().own_work = false; }
};

// An open operation; the stream, which on a CPU is the host, waits for it.
class OpenWork final : public Work {
 public:
  // then(): once it is complete and waited for.
  OpenWork(const Communicator* over, std::string name, MPI_Request request,
           std::function<void()> then)
      : name_(std::move(name)), then_(std::move(then)), number_(++ThisDevice().count) {
    ThisDevice().open.push_back({over, number_, name_, request});
  }
  ~OpenWork() override {
    if (std::uncaught_exceptions() == 0) Wait();
  }
  void Wait() override {
    if (waited_) return;
    waited_ = true;
    Device& device = ThisDevice();
    device.WaitUntil([&] { return !device.IsOpen(number_); }, name_);
    const OwnWork own;
    if (then_) then_();
  }

 private:
  std::string name_;
  std::function<void()> then_;
  int64_t number_;
  bool waited_ = false;
};

at::Tensor SumInRankOrder(const at::Tensor& parts, ReduceOp op) {
  const bool narrow = parts.scalar_type() == at::kBFloat16 || parts.scalar_type() == at::kHalf;
  at::Tensor sum = narrow ? parts[0].to(at::kFloat) : parts[0].clone();
  for (int64_t rank = 1; rank < parts.size(0); ++rank) {
    const at::Tensor part = parts[rank].to(sum.scalar_type());
    if (op == ReduceOp::kSum) {
      sum.add_(part);
    } else {
      sum = at::maximum(sum, part);
    }
  }
  return sum.to(parts.scalar_type());
}

class RendezvousCommunicator final : public Communicator {
 public:
  RendezvousCommunicator(std::string axis, const WorldPart& part)
      : Communicator(std::move(axis), part.members), comm_(part.comm) {}
  ~RendezvousCommunicator() override {
    if (std::uncaught_exceptions() > 0) return;
    Device& device = ThisDevice();
    device.WaitUntil([&] { return !device.AnyOpenOf(this); }, Name("end"));
  }

  void Barrier() override { MPI_Barrier(comm_); }
  bool OccupiesDevice() const override { return true; }

  void Connect(Use use) override {
    if (size() == 1) return;
    if (use != Use::kMessages) JoinAll();
    // As NCCL does, one way where messages go one way.
    if (use == Use::kMessages) Join(0, 1);
    if (use == Use::kExchanges) {
      for (int peer = 0; peer < size(); ++peer) {
        sends_to_.insert(peer);
        receives_from_.insert(peer);
      }
    }
    if (use != Use::kWithFirst) return;
    for (int peer = 1; peer < size(); ++peer) Join(peer, 0);
    Join(0, size() - 1);
  }

 protected:
  std::unique_ptr<Work> DoAllReduce(at::Tensor tensor, ReduceOp op, Mode) override {
    return Gather("all_reduce", tensor, [tensor, op](const at::Tensor& parts) mutable {
      tensor.copy_(SumInRankOrder(parts, op));
    });
  }
  std::unique_ptr<Work> DoAllGather(at::Tensor input, at::Tensor output, Mode) override {
    return Gather("all_gather", input,
                  [output](const at::Tensor& parts) mutable { output.copy_(parts.flatten(0, 1)); });
  }
  std::unique_ptr<Work> DoReduceScatter(at::Tensor input, at::Tensor output, Mode) override {
    const int64_t rows = output.size(0), first = rank() * rows;
    return Gather("reduce_scatter", input, [output, rows, first](const at::Tensor& parts) mutable {
      output.copy_(SumInRankOrder(parts.narrow(1, first, rows), ReduceOp::kSum));
    });
  }
  // A kernel that occupies the device until all peers that have rows for each other have joined.
  std::unique_ptr<Work> DoAllToAll(at::Tensor input, at::Tensor output,
                                   const std::vector<int64_t>& sent,
                                   const std::vector<int64_t>& received) override {
    for (int peer = 0; peer < size(); ++peer) {
      CheckJoined(peer == rank() || (sends_to_.count(peer) > 0 && receives_from_.count(peer) > 0));
    }
    struct Blocks {
      std::vector<int> bytes, begins;
    };
    const int64_t row_bytes = c10::multiply_integers(input.sizes().slice(1)) * input.element_size();
    const auto blocks = [row_bytes](const std::vector<int64_t>& rows) {
      Blocks of;
      int begin = 0;
      for (const int64_t each : rows) {
        of.begins.push_back(begin);
        of.bytes.push_back(static_cast<int>(each * row_bytes));
        begin += of.bytes.back();
      }
      return of;
    };
    const auto from = std::make_shared<Blocks>(blocks(sent));
    const auto to = std::make_shared<Blocks>(blocks(received));
    MPI_Request request = MPI_REQUEST_NULL;
    MPI_Ialltoallv(input.const_data_ptr(), from->bytes.data(), from->begins.data(), MPI_BYTE,
                   output.mutable_data_ptr(), to->bytes.data(), to->begins.data(), MPI_BYTE, comm_,
                   &request);
    return std::make_unique<OpenWork>(this, Name("all_to_all"), request,
                                      [input, output, from, to] {});
  }
  std::unique_ptr<Work> DoSend(at::Tensor tensor, int peer) override {
    CheckJoined(sends_to_.count(peer) > 0);
    MPI_Request request = MPI_REQUEST_NULL;
    MPI_Issend(tensor.const_data_ptr(), static_cast<int>(tensor.nbytes()), MPI_BYTE, peer, kMessage,
               comm_, &request);
    return std::make_unique<OpenWork>(this, Name("send"), request, [tensor] {});
  }
  std::unique_ptr<Work> DoRecv(at::Tensor tensor, int peer) override {
    CheckJoined(receives_from_.count(peer) > 0);
    MPI_Request request = MPI_REQUEST_NULL;
    MPI_Irecv(tensor.mutable_data_ptr(), static_cast<int>(tensor.nbytes()), MPI_BYTE, peer,
              kMessage, comm_, &request);
    return std::make_unique<OpenWork>(this, Name("receive"), request, [tensor] {});
  }

 private:
  static constexpr int kMessage = 1, kJoin = 2;

  std::string Name(const char* operation) const { return ErrorText(operation, 0, "waits"); }

  // Every rank's `input` on every rank; then(parts [size, ...]).
  std::unique_ptr<Work> Gather(const char* operation, const at::Tensor& input,
                               std::function<void(const at::Tensor&)> then) {
    CheckJoined(joined_all_);
    const OwnWork own;
    const at::Tensor mine = input.clone();
    std::vector<int64_t> sizes = input.sizes().vec();
    sizes.insert(sizes.begin(), size());
    at::Tensor parts = at::empty(sizes, input.options());
    MPI_Request request = MPI_REQUEST_NULL;
    const int bytes = static_cast<int>(mine.nbytes());
    MPI_Iallgather(mine.const_data_ptr(), bytes, MPI_BYTE, parts.mutable_data_ptr(), bytes,
                   MPI_BYTE, comm_, &request);
    return std::make_unique<OpenWork>(this, Name(operation), request,
                                      [mine, parts, then] { then(parts); });
  }

  void CheckJoined(bool joined) const {
    TORCH_CHECK(joined, axis(), ": connects late, and the host waits for the peer");
  }
  // The host waits until the others come.
  void JoinAll() {
    joined_all_ = true;
    MPI_Request request = MPI_REQUEST_NULL;
    MPI_Ibarrier(comm_, &request);
    Await(request, "connecting the ranks");
  }
  // What `from` sends to `to`: both wait for each other.
  void Join(int from, int to) {
    if (rank() != from && rank() != to) return;
    const int peer = rank() == from ? to : from;
    (rank() == from ? sends_to_ : receives_from_).insert(peer);
    MPI_Request requests[2];
    MPI_Irecv(nullptr, 0, MPI_BYTE, peer, kJoin, comm_, &requests[0]);
    MPI_Isend(nullptr, 0, MPI_BYTE, peer, kJoin, comm_, &requests[1]);
    for (MPI_Request& request : requests) Await(request, absl::StrCat("connecting to rank ", peer));
  }
  void Await(MPI_Request& request, const std::string& what) {
    ThisDevice().WaitUntil(
        [&] {
          int done = 0;
          MPI_Test(&request, &done, MPI_STATUS_IGNORE);
          return done != 0;
        },
        absl::StrCat(ErrorText("connect", 0, what)));
  }

  MPI_Comm comm_;
  bool joined_all_ = false;
  std::set<int> sends_to_, receives_from_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Communicator>> CreateRendezvousCommunicator(
    const Process& process, const CommunicatorSpec& spec) {
  FT_ASSIGN_OR_RETURN(const WorldPart part, SplitWorld(process, spec.color, spec.key));
  if (part.comm == MPI_COMM_NULL) return nullptr;
  return std::make_unique<RendezvousCommunicator>(spec.axis, part);
}

struct LaunchesWait::Impl {
  at::CallbackHandle handle;
};

LaunchesWait::LaunchesWait(For which, double seconds) : impl_(std::make_unique<Impl>()) {
  Device& device = ThisDevice();
  device.launches_wait = true;
  device.every = which == For::kEvery;
  device.seconds = seconds;
  device.launched.clear();
  impl_->handle = at::addThreadLocalCallback(
      at::RecordFunctionCallback([](const at::RecordFunction& function)
                                     -> std::unique_ptr<at::ObserverContext> {
        ThisDevice().Launch(function.name());
        return nullptr;
      }).scopes({at::RecordScope::FUNCTION}));
}

LaunchesWait::~LaunchesWait() {
  at::removeCallback(impl_->handle);
  ThisDevice().launches_wait = false;
}

}  // namespace fttrain
