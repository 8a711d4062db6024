#include "launch/run/event_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "launch/run/metrics.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

// Little endian, as x86 has it.
template <typename T>
void Add(T value, std::string& bytes) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

// A message in Protobuf's wire format, written field by field: this one file has no need of the
// compiler and its generated classes (protobuf.dev, "Encoding").
class WireMessage {
 public:
  WireMessage& Integer(int field, int64_t value) { return Varint(Tag(field, 0)).Varint(value); }
  WireMessage& Double(int field, double value) { return Varint(Tag(field, 1)).Fixed(value); }
  WireMessage& Float(int field, double value) {
    return Varint(Tag(field, 5)).Fixed(static_cast<float>(value));
  }
  WireMessage& Bytes(int field, std::string_view value) {
    Varint(Tag(field, 2)).Varint(static_cast<int64_t>(value.size()));
    bytes_.append(value);
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  static int64_t Tag(int field, int type) { return field << 3 | type; }
  WireMessage& Varint(int64_t value) {
    auto left = static_cast<uint64_t>(value);
    for (; left >= 0x80; left >>= 7) bytes_.push_back(static_cast<char>(left | 0x80));
    bytes_.push_back(static_cast<char>(left));
    return *this;
  }
  template <typename T>
  WireMessage& Fixed(T value) {
    Add(value, bytes_);
    return *this;
  }
  std::string bytes_;
};

// Fields of tensorflow.Event, .Summary, .Summary.Value and .SessionLog
// (tensorflow/core/util/event.proto, tensorflow/core/framework/summary.proto).
constexpr int kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7;
constexpr int kValues = 1, kTag = 1, kSimpleValue = 2, kStatus = 1;
constexpr int kSessionStart = 1;

WireMessage Event(int64_t step) {
  WireMessage event;
  event.Double(kWallTime, absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch()));
  event.Integer(kStep, step);
  return event;
}

std::string VersionEvent() { return Event(0).Bytes(kFileVersion, "brain.Event:2").bytes(); }

// A reader forgets what it has of this step and later ones.
std::string StartEvent(int64_t step) {
  return Event(step)
      .Bytes(kSessionLog, WireMessage().Integer(kStatus, kSessionStart).bytes())
      .bytes();
}

std::array<uint32_t, 256> MakeTable() {
  constexpr uint32_t kPolynomial = 0x82f63b78;  // reflected
  std::array<uint32_t, 256> table;
  for (uint32_t i = 0; i < table.size(); ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
    table[i] = crc;
  }
  return table;
}

// A checksum of what holds checksums: rotated, with a constant added.
uint32_t Masked(uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xa282ead8; }

}  // namespace

uint32_t Crc32c(std::string_view data) {
  static const std::array<uint32_t, 256> table = MakeTable();
  uint32_t crc = ~uint32_t{0};
  for (const char c : data) crc = table[(crc ^ static_cast<uint8_t>(c)) & 0xff] ^ (crc >> 8);
  return ~crc;
}

std::string RecordOf(std::string_view data) {
  std::string record;
  Add(static_cast<uint64_t>(data.size()), record);
  Add(Masked(Crc32c(record)), record);
  record.append(data);
  Add(Masked(Crc32c(data)), record);
  return record;
}

absl::StatusOr<std::unique_ptr<EventFile>> EventFile::Create(const std::string& folder,
                                                             int64_t steps_done) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  char host[256] = {};
  gethostname(host, sizeof(host) - 1);
  const std::string path = absl::StrCat(folder, "/events.out.tfevents.",
                                        absl::ToUnixSeconds(absl::Now()), ".", host, ".", getpid());
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (file < 0) {
    return absl::UnavailableError(absl::StrCat(path, ": cannot write: ", std::strerror(errno)));
  }
  std::unique_ptr<EventFile> events(new EventFile(file, path));
  events->Append(RecordOf(VersionEvent()));
  if (steps_done > 0) events->Append(RecordOf(StartEvent(steps_done + 1)));
  return events;
}

EventFile::~EventFile() {
  if (file_ >= 0) close(file_);
}

void EventFile::Append(const std::string& record) {
  if (file_ < 0) return;
  ssize_t written;
  do {
    written = write(file_, record.data(), record.size());
  } while (written < 0 && errno == EINTR);
  if (written == static_cast<ssize_t>(record.size())) return;
  LogInfo(absl::StrCat("warning    ", path_,
                       ": cannot write: ", std::strerror(written < 0 ? errno : ENOSPC),
                       "; TensorBoard's curves end here, metrics.jsonl goes on"));
  close(file_);
  file_ = -1;
}

void EventFile::Write(int64_t step, const Scalars& scalars) {
  WireMessage summary;
  for (const auto& [tag, value] : scalars) {
    summary.Bytes(kValues, WireMessage().Bytes(kTag, tag).Float(kSimpleValue, value).bytes());
  }
  Append(RecordOf(Event(step).Bytes(kSummary, summary.bytes()).bytes()));
}

absl::Status EventFile::OnStep(const StepMetrics& metrics) {
  Scalars scalars = {
      {"train/loss", metrics.loss},
      {"train/grad_norm", metrics.grad_norm},
      {"train/learning_rate", metrics.learning_rate},
      {"train/tokens_per_second", metrics.TokensPerSecond()},
      {"train/peak_memory_gib", static_cast<double>(metrics.peak_bytes) / (int64_t{1} << 30)}};
  if (metrics.router_loss) scalars.emplace_back("train/router_loss", *metrics.router_loss);
  Write(metrics.step, scalars);
  return absl::OkStatus();
}

absl::Status EventFile::OnEvaluation(int64_t step, const HeldOutLoss& held_out, bool /*lowest*/) {
  Write(step, {{"eval/loss", held_out.loss},
               {"eval/perplexity", held_out.Perplexity()},
               {"eval/runtime", held_out.seconds}});
  return absl::OkStatus();
}

}  // namespace fttrain
