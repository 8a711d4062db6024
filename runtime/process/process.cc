#include "runtime/process/process.h"

#include <c10/util/Exception.h>
#include <mpi.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <limits>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "runtime/process/check.h"
#include "runtime/process/last_words.h"
#include "runtime/process/log.h"
#include "runtime/process/mpi_util.h"
#include "runtime/process/peer_lost.h"
#include "runtime/process/status_payload.h"

namespace fttrain {
namespace {

// Open MPI settings that must be in place before MPI_Init; the user's own environment wins.
void SetOpenMpiDefaults() {
  // Ranks that wait in MPI spin. With no core to spare that starves whoever else has work: a peer,
  // or a thread of their own. Yielding costs a few microseconds a call, so it is not the rule.
  int local_ranks = 1;
  const char* text = std::getenv("OMPI_COMM_WORLD_LOCAL_SIZE");
  if (text != nullptr && absl::SimpleAtoi(text, &local_ranks) && local_ranks >= UsableCores()) {
    setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0);
  }
  // Reading a peer's memory is forbidden in most containers, and then fails loudly in mid-run.
  setenv("OMPI_MCA_btl_vader_single_copy_mechanism", "none", 0);
}

// The user's own environment wins here too.
void SetCudaDefaults() {
  // Streams that share a queue of the GPU begin their work in the order of issue, as if they waited
  // for each other. No schedule hangs by that, but what could overlap does not.
  setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0);
  // All of NCCL's algorithms are connected with the communicator, not at the first collective whose
  // size asks for one: in mid-run, from a device whose memory is spoken for.
  setenv("NCCL_RUNTIME_CONNECT", "0", 0);
  // Operations of a rank's communicators begin on the device in the order in which the host issued
  // them; they may run side by side. Without, NCCL (user guide, "Using multiple NCCL communicators
  // concurrently") promises no end where several are at work. That hosts issue them in orders that
  // fit is the schedules' part (ArrivalsAt, and the double that waits as NCCL does).
  setenv("NCCL_LAUNCH_ORDER_IMPLICIT", "1", 0);
}

std::string HostName() {
  char name[256] = {};
  if (gethostname(name, sizeof(name) - 1) != 0) return "unknown-host";
  return name;
}

// AbortJobOnUncaught's.
struct Uncaught {
  const Process* process = nullptr;
  int exit_code = 0;
} uncaught;

[[noreturn]] void EndOnUncaught() {
  std::string what = "std::terminate was called";
  int exit_code = uncaught.exit_code;
  try {
    if (std::current_exception() != nullptr) throw;
  } catch (const PeerLostError& error) {
    what = error.what();
    exit_code = PeerLostError::kExitCode;
  } catch (const c10::Error& error) {
    what = error.what_without_backtrace();
  } catch (const std::exception& error) {
    what = error.what();
  } catch (...) {
    what = "an exception of a kind that has no text";
  }
  LogError(what);
  SayLastWords(exit_code, what);
  uncaught.process->AbortJob(exit_code);
}

// `text` of the root on every rank.
std::string BroadcastText(std::string text, int root, MPI_Comm world) {
  FT_CHECK(text.size() <= size_t{std::numeric_limits<int>::max()}, text.size(), " bytes");
  int bytes = static_cast<int>(text.size());
  MPI_Bcast(&bytes, 1, MPI_INT, root, world);
  text.resize(static_cast<size_t>(bytes));
  MPI_Bcast(text.data(), bytes, MPI_CHAR, root, world);
  return text;
}

}  // namespace

int UsableCores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

std::string MpiErrorText(int code) {
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(code, text, &length);
  return std::string(text, static_cast<size_t>(length));
}

// Open MPI has no class of its own for a broken connection: it is one of these.
bool IsPeerLost(int code) {
  int kind = MPI_SUCCESS;
  if (MPI_Error_class(code, &kind) != MPI_SUCCESS) return false;
  return kind == MPI_ERR_OTHER || kind == MPI_ERR_INTERN || kind == MPI_ERR_UNKNOWN;
}

absl::StatusOr<WorldPart> SplitWorld(const Process& process, int color, int key) {
  WorldPart part;
  const int code =
      MPI_Comm_split(WorldOf(process), color < 0 ? MPI_UNDEFINED : color, key, &part.comm);
  if (code != MPI_SUCCESS) {
    return absl::InternalError(absl::StrCat("MPI_Comm_split: ", MpiErrorText(code)));
  }
  if (part.comm == MPI_COMM_NULL) return part;
  MPI_Comm_set_errhandler(part.comm, MPI_ERRORS_RETURN);
  Members& members = part.members;
  members.activity = &process.activity();
  int size = 1;
  MPI_Comm_rank(part.comm, &members.rank);
  MPI_Comm_size(part.comm, &size);
  members.ranks.resize(static_cast<size_t>(size));
  const int mine = process.rank();
  MPI_Allgather(&mine, 1, MPI_INT, members.ranks.data(), 1, MPI_INT, part.comm);
  return part;
}

absl::StatusOr<std::unique_ptr<Process>> Process::Create(int* argc, char*** argv) {
  SetOpenMpiDefaults();
  SetCudaDefaults();
  int provided = MPI_THREAD_SINGLE;
  // Other threads compute, this one alone calls MPI.
  const int code = MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided);
  if (code != MPI_SUCCESS) {
    return absl::UnavailableError(
        absl::StrCat("MPI cannot start: MPI_Init_thread returned ", code));
  }
  if (provided < MPI_THREAD_FUNNELED) {
    MPI_Finalize();
    return absl::FailedPreconditionError(
        "this MPI was built without MPI_THREAD_FUNNELED, which fttrain needs");
  }
  // A duplicate, so that a library using MPI_COMM_WORLD cannot interfere.
  MPI_Comm world = MPI_COMM_NULL;
  MPI_Comm_dup(MPI_COMM_WORLD, &world);

  auto process = std::unique_ptr<Process>(new Process());
  process->world_ = std::make_shared<MPI_Comm>(world);
  process->FindPlace();
  SetLogRank(process->rank_, process->world_size_, process->host_);
  return process;
}

std::unique_ptr<Process> Process::StandIn(int rank, int world_size) {
  FT_CHECK(rank >= 0 && rank < world_size, "rank ", rank, " of ", world_size);
  auto process = std::unique_ptr<Process>(new Process());
  process->rank_ = process->local_rank_ = rank;
  process->world_size_ = process->local_size_ = world_size;
  process->host_ = HostName();
  process->is_part_ = true;
  return process;
}

void Process::FindPlace() {
  const MPI_Comm world = WorldOf(*this);
  MPI_Comm_rank(world, &rank_);
  MPI_Comm_size(world, &world_size_);
  MPI_Comm host_comm = MPI_COMM_NULL;
  MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &host_comm);
  MPI_Comm_rank(host_comm, &local_rank_);
  MPI_Comm_size(host_comm, &local_size_);
  MPI_Comm_free(&host_comm);
  host_ = HostName();
}

absl::StatusOr<std::unique_ptr<Process>> Process::FirstRanks(int ranks) const {
  FT_CHECK(ranks >= 1 && ranks <= world_size_, ranks, " of ", world_size_, " ranks");
  if (world_ == nullptr) return rank_ < ranks ? StandIn(rank_, ranks) : nullptr;
  FT_ASSIGN_OR_RETURN(const WorldPart first, SplitWorld(*this, rank_ < ranks ? 0 : -1, rank_));
  if (first.comm == MPI_COMM_NULL) return nullptr;
  MPI_Comm_set_errhandler(first.comm, MPI_ERRORS_ARE_FATAL);
  auto part = std::unique_ptr<Process>(new Process());
  part->world_ = std::make_shared<MPI_Comm>(first.comm);
  part->activity_ = activity_;
  part->is_part_ = true;
  part->FindPlace();
  return part;
}

Process::~Process() {
  if (is_part_) return;
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (finalized == 0) MPI_Finalize();
}

void Process::Barrier() const {
  if (world_ == nullptr) return;
  const Activity::Waiting waits(activity_.get(), "barrier", /*over=*/nullptr, 0, -1);
  MPI_Barrier(WorldOf(*this));
}

void Process::IdleBarrier() const {
  if (world_ == nullptr) return;
  const Activity::Waiting waits(activity_.get(), "idle barrier", /*over=*/nullptr, 0, -1);
  MPI_Request request = MPI_REQUEST_NULL;
  MPI_Ibarrier(WorldOf(*this), &request);
  int done = 0;
  while (true) {
    MPI_Test(&request, &done, MPI_STATUS_IGNORE);
    if (done != 0) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

absl::Status Process::AsToldToOthers(const absl::Status& status) const {
  const std::string who = rank_ == 0 ? "" : absl::StrCat("rank ", rank_, " on host ", host_, ": ");
  absl::Status told =
      WithPayloadsOf(status, absl::Status(status.code(), absl::StrCat(who, status.message())));
  return OriginOf(told) ? told : WithOrigin(std::move(told), {rank_, host_, getpid()});
}

absl::Status Process::AgreeOnStatus(const absl::Status& status) const {
  if (world_ == nullptr) return status;
  const MPI_Comm world_comm = WorldOf(*this);
  const Activity::Waiting waits(activity_.get(), "agreement", /*over=*/nullptr, 0, -1);
  int lowest_failing = status.ok() ? world_size_ : rank_;
  MPI_Allreduce(MPI_IN_PLACE, &lowest_failing, 1, MPI_INT, MPI_MIN, world_comm);
  if (lowest_failing == world_size_) return absl::OkStatus();
  const std::string mine = rank_ == lowest_failing ? Pack(AsToldToOthers(status)) : std::string();
  return Unpack(BroadcastText(mine, lowest_failing, world_comm));
}

bool Process::AnyRank(bool mine) const {
  if (world_ == nullptr) return mine;
  const Activity::Waiting waits(activity_.get(), "any rank", /*over=*/nullptr, 0, -1);
  int any = mine ? 1 : 0;
  MPI_Allreduce(MPI_IN_PLACE, &any, 1, MPI_INT, MPI_MAX, WorldOf(*this));
  return any != 0;
}

void Process::LargestOfRanks(absl::Span<int64_t> numbers) const {
  if (world_ == nullptr) return;
  const Activity::Waiting waits(activity_.get(), "largest of ranks", /*over=*/nullptr,
                                static_cast<int64_t>(numbers.size() * sizeof(int64_t)), -1);
  MPI_Allreduce(MPI_IN_PLACE, numbers.data(), static_cast<int>(numbers.size()), MPI_INT64_T,
                MPI_MAX, WorldOf(*this));
}

std::string Process::BroadcastString(const std::string& text) const {
  if (world_ == nullptr) return text;
  const Activity::Waiting waits(activity_.get(), "broadcast", /*over=*/nullptr, 0, -1);
  return BroadcastText(rank_ == 0 ? text : std::string(), 0, WorldOf(*this));
}

std::vector<std::string> Process::GatherStrings(const std::string& text) const {
  if (world_ == nullptr) return std::vector<std::string>(static_cast<size_t>(world_size_), text);
  const Activity::Waiting waits(activity_.get(), "gather", /*over=*/nullptr, 0, -1);
  std::vector<std::string> all;
  for (int rank = 0; rank < world_size_; ++rank) {
    all.push_back(BroadcastText(rank == rank_ ? text : std::string(), rank, WorldOf(*this)));
  }
  return all;
}

void Process::AbortJobOnUncaught(int exit_code) const {
  uncaught = {this, exit_code};
  std::set_terminate(EndOnUncaught);
}

void Process::AbortJob(int exit_code) const {
  std::fflush(nullptr);
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  std::_Exit(exit_code);
}

void Process::EndFromAnyThread(int exit_code, const std::string& message) {
  if (!message.empty()) SayLastWords(exit_code, message);
  std::this_thread::sleep_for(std::chrono::seconds(1));  // until the others have said their own
  std::_Exit(exit_code);
}

}  // namespace fttrain
