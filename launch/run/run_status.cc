#include "launch/run/run_status.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "launch/exit_code.h"
#include "runtime/files/json.h"
#include "runtime/files/whole_file.h"
#include "runtime/process/check.h"
#include "runtime/process/last_words.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kTextBytes = 2000;
constexpr int64_t kMaxStatusBytes = 1 << 16;

std::string StatusPath(const std::string& folder) { return folder + "/run_status.json"; }
std::string ErrorsPath(const std::string& folder) { return folder + "/errors"; }

// ISO 8601, UTC.
std::string TimeText(std::time_t time) {
  std::tm utc = {};
  char text[32] = {};
  gmtime_r(&time, &utc);
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

template <typename T>
Json OrNull(const std::optional<T>& value) {
  return value ? Json(*value) : Json();
}

Json TextOrNull(const std::string& text) {
  return text.empty() ? Json() : Json(Printable(text, kTextBytes));
}

// Text from files may not be UTF-8, which JSON must be.
std::string Text(const Json& json) {
  return json.dump(2, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n";
}

std::string StateOf(int exit_code) {
  if (exit_code == 0) return "done";
  return exit_code == kExitPreempted ? "preempted" : "failed";
}

absl::Status WriteRecord(const std::string& folder, const ErrorRecord& record) {
  const std::string errors = ErrorsPath(folder);
  if (mkdir(errors.c_str(), 0777) != 0 && errno != EEXIST) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot create ", errors));
  }
  return WriteFileAtomically(absl::StrCat(errors, "/rank-", record.rank, ".json"), ToJson(record));
}

// In the status file of a run whose rank 0 is another process. The first error is the cause.
absl::Status MarkFailed(const std::string& folder, const ErrorRecord& record) {
  const std::string path = StatusPath(folder);
  FT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxStatusBytes));
  FT_RETURN_IF_ERROR(ParseJsonObject(text, path).status());
  Json json = Json::parse(text);  // in the order of its keys
  if (json["state"] != "running") return absl::OkStatus();
  json["state"] = StateOf(record.exit_code);
  json["exit_code"] = record.exit_code;
  if (record.step) json["step"] = *record.step;
  json["error"] = TextOrNull(absl::StrCat("rank ", record.rank, ": ", record.message));
  json["updated_at"] = TimeText(record.time);
  return WriteFileAtomically(path, Text(json));
}

}  // namespace

std::string ToJson(const RunStatus& status) {
  Json json;
  json["state"] = status.state;
  json["exit_code"] = OrNull(status.exit_code);
  json["step"] = status.step;
  json["total_steps"] = status.total_steps;
  json["checkpoint"] = OrNull(status.checkpoint);
  json["stopped_by"] = TextOrNull(status.stopped_by);
  json["error"] = TextOrNull(status.error);
  json["pid"] = status.pid;
  json["host"] = Printable(status.host);
  json["started_at"] = TimeText(status.started_at);
  json["updated_at"] = TimeText(status.updated_at);
  json["ranks"] = status.ranks;
  json["identity"] = TextOrNull(status.identity);
  return Text(json);
}

std::string ToJson(const ErrorRecord& record) {
  Json json;
  json["exit_code"] = record.exit_code;
  json["rank"] = record.rank;
  json["host"] = Printable(record.host);
  json["pid"] = record.pid;
  json["step"] = OrNull(record.step);
  json["message"] = Printable(record.message, kTextBytes);
  json["time"] = TimeText(record.time);
  return Text(json);
}

std::optional<int64_t> StepsOfDone(const std::string& folder, const std::string& identity) {
  const std::string path = StatusPath(folder);
  const absl::StatusOr<std::string> text = ReadFile(path, kMaxStatusBytes);
  if (!text.ok()) return std::nullopt;
  const auto json = Json::parse(*text, nullptr, /*allow_exceptions=*/false);
  const auto is = [&](const char* key, const std::string& value) {
    return json.is_object() && json.contains(key) && json[key] == value;
  };
  if (!is("state", "done") || !is("identity", identity)) return std::nullopt;
  const auto step = json.find("step");
  return step != json.end() && step->is_number_integer() ? step->get<int64_t>() : 0;
}

RunStatusFile::RunStatusFile(std::string folder, const Process& process, int64_t total_steps,
                             std::string identity)
    : RunStatusFile(std::move(folder), {process.rank(), process.host(), getpid()},
                    process.world_size(), total_steps) {
  status_.identity = std::move(identity);
}

RunStatusFile::RunStatusFile(std::string folder, const Origin& self, int ranks, int64_t total_steps)
    : folder_(std::move(folder)), self_(self) {
  status_.total_steps = total_steps;
  status_.pid = self.pid;
  status_.host = self.host;
  status_.ranks = ranks;
  status_.started_at = std::time(nullptr);
}

RunStatusFile::~RunStatusFile() { SetLastWords(nullptr); }

absl::Status RunStatusFile::Begin(int64_t step, std::optional<int64_t> checkpoint) {
  step_ = step;
  status_.checkpoint = checkpoint;
  if (self_.rank == 0) {
    std::error_code error;
    std::filesystem::remove_all(ErrorsPath(folder_), error);
    if (error) {
      return absl::UnavailableError(absl::StrCat("output_dir ", folder_, ": cannot remove errors/ ",
                                                 "of an earlier run: ", error.message()));
    }
    FT_RETURN_IF_ERROR(Write());
  }
  SetLastWords(
      [this](int exit_code, const std::string& message) { LeaveLastWords(exit_code, message); });
  return absl::OkStatus();
}

absl::Status RunStatusFile::Committed(int64_t step) {
  status_.checkpoint = step;
  return self_.rank == 0 ? Write() : absl::OkStatus();
}

void RunStatusFile::End(const absl::Status& status) {
  SetLastWords(nullptr);
  if (self_.rank != 0) return;
  const int code = ExitCode(status);
  status_.exit_code = code;
  status_.state = StateOf(code);
  absl::Status written;
  if (status_.state == "failed") {
    status_.error = std::string(status.message());
    written = WriteRecord(folder_, Record(OriginOf(status).value_or(self_), code, status_.error));
  }
  const absl::Status told = Write();
  for (const absl::Status& failed : {written, told}) {
    if (!failed.ok()) LogError(std::string(failed.message()));
  }
}

absl::Status RunStatusFile::Write() {
  status_.step = std::max<int64_t>(step_, 0);
  status_.updated_at = std::time(nullptr);
  return WriteFileAtomically(StatusPath(folder_), ToJson(status_));
}

ErrorRecord RunStatusFile::Record(const Origin& origin, int exit_code,
                                  const std::string& message) const {
  const int64_t step = step_;
  return {.exit_code = exit_code,
          .rank = origin.rank,
          .host = origin.host,
          .pid = origin.pid,
          .step = step >= 0 ? std::optional(step) : std::nullopt,
          .message = message,
          .time = std::time(nullptr)};
}

void RunStatusFile::LeaveLastWords(int exit_code, const std::string& message) const {
  const ErrorRecord record = Record(self_, exit_code, message);
  // One without the other is better than neither.
  (void)WriteRecord(folder_, record);
  (void)MarkFailed(folder_, record);
}

}  // namespace fttrain
