#include "launch/run/metrics.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "launch/run/numbers.h"
#include "launch/run/samples.h"
#include "launch/terminal.h"
#include "nlohmann/json.hpp"
#include "runtime/files/whole_file.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {

std::string ToJsonLine(const StepMetrics& metrics) {
  nlohmann::ordered_json json;
  json["step"] = metrics.step;
  json["loss"] = metrics.loss;
  if (metrics.router_loss) json["router_loss"] = *metrics.router_loss;
  json["grad_norm"] = metrics.grad_norm;
  json["learning_rate"] = metrics.learning_rate;
  json["tokens"] = metrics.tokens;
  json["target_tokens"] = metrics.target_tokens;
  json["seconds"] = metrics.seconds;
  json["tokens_per_second"] = metrics.TokensPerSecond();
  json["peak_bytes"] = metrics.peak_bytes;
  if (metrics.reserved_bytes) json["reserved_bytes"] = *metrics.reserved_bytes;
  for (int i = 0; i < static_cast<int>(Phase::kCount); ++i) {
    const auto phase = static_cast<Phase>(i);
    if (metrics.phases[phase] == 0) continue;
    json["phases"][std::string(PhaseName(phase))] = metrics.phases[phase];
  }
  if (!metrics.skipped.empty()) json["skipped"] = metrics.skipped;
  return json.dump();
}

std::string ToJsonLine(int64_t step, const HeldOutLoss& held_out) {
  nlohmann::ordered_json json;
  json["step"] = step;
  json["eval_loss"] = held_out.loss;
  json["eval_perplexity"] = held_out.Perplexity();
  json["eval_tokens"] = held_out.tokens;
  json["eval_target_tokens"] = held_out.target_tokens;
  json["eval_seconds"] = held_out.seconds;
  json["eval_tokens_per_second"] = held_out.TokensPerSecond();
  return json.dump();
}

std::string ToReadableLine(const StepMetrics& metrics, int64_t total_steps, double eta_seconds) {
  return absl::StrFormat(
      "step %d/%d  loss %.4f%s  grad_norm %.3f  lr %.2e  %.0f tok/s  mem %.2f GiB  eta %s",
      metrics.step, total_steps, metrics.loss,
      metrics.router_loss ? absl::StrFormat("  router %.4f", *metrics.router_loss) : "",
      metrics.grad_norm, metrics.learning_rate, metrics.TokensPerSecond(),
      static_cast<double>(metrics.peak_bytes) / (1 << 30), ClockTime(eta_seconds));
}

namespace {

// Whole lines of steps up to `steps_done`.
std::string LinesOf(const std::string& text, int64_t steps_done) {
  std::string kept;
  size_t begin = 0;
  for (size_t end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    const std::string line = text.substr(begin, end - begin);
    const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    const auto step = json.is_object() ? json.find("step") : json.end();
    if (step == json.end() || !step->is_number_integer()) continue;
    if (step->get<int64_t>() <= steps_done) absl::StrAppend(&kept, line, "\n");
  }
  return kept;
}

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsFile>> MetricsFile::Create(const std::string& path,
                                                                 int64_t steps_done) {
  const bool goes_on = steps_done > 0 && std::filesystem::exists(path);
  if (goes_on) {
    FT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
    FT_RETURN_IF_ERROR(WriteFileAtomically(path, LinesOf(text, steps_done)));
  }
  const int file =
      open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (goes_on ? 0 : O_TRUNC), 0666);
  if (file < 0) {
    return absl::UnavailableError(absl::StrCat(path, ": cannot write: ", std::strerror(errno)));
  }
  return std::unique_ptr<MetricsFile>(new MetricsFile(file, path));
}

MetricsFile::~MetricsFile() { close(file_); }

absl::Status MetricsFile::Append(const std::string& line) {
  const bool told = !kept_.empty();
  absl::StrAppend(&kept_, line, "\n");
  const absl::Status flushed = Flush();
  if (!absl::IsResourceExhausted(flushed)) return flushed;
  if (!told) {
    LogInfo(absl::StrCat("warning    ", std::string(flushed.message()),
                         "; its lines are kept in memory until there is room"));
  }
  return absl::OkStatus();
}

absl::Status MetricsFile::Flush() {
  while (!kept_.empty()) {
    const ssize_t written = write(file_, kept_.data(), kept_.size());
    if (written < 0 && errno == EINTR) continue;
    if (written == static_cast<ssize_t>(kept_.size())) {
      kept_.clear();
      break;
    }
    const int error = written < 0 ? errno : ENOSPC;
    // What of a line was written is taken back.
    struct stat now;
    if (written > 0 && (fstat(file_, &now) != 0 || ftruncate(file_, now.st_size - written) != 0)) {
      return absl::UnavailableError(absl::StrCat(path_, ": cannot write: ", std::strerror(errno)));
    }
    const std::string text = absl::StrCat(path_, ": cannot write: ", std::strerror(error));
    const bool room = error != ENOSPC && error != EDQUOT && error != EFBIG;
    return room ? absl::UnavailableError(text) : absl::ResourceExhaustedError(text);
  }
  return absl::OkStatus();
}

Progress::Progress(int64_t total_steps, int64_t log_steps)
    : total_steps_(total_steps), log_steps_(log_steps), terminal_(StdoutIsTerminal()) {}

Progress::~Progress() {
  if (open_line_) std::fputc('\n', stdout);
  std::fflush(stdout);
}

absl::Status Progress::OnStep(const StepMetrics& metrics) {
  // The first step pays for warm-up, so it does not stay in the mean.
  mean_seconds_ = metrics.step <= 2 ? metrics.seconds : 0.9 * mean_seconds_ + 0.1 * metrics.seconds;
  const double eta = mean_seconds_ * static_cast<double>(total_steps_ - metrics.step);
  const std::string line = ToReadableLine(metrics, total_steps_, eta);
  if (terminal_) {
    constexpr int kWidth = 20;
    const int done = static_cast<int>(kWidth * metrics.step / total_steps_);
    std::printf("\r\033[K[%s%s] %s", std::string(done, '#').c_str(),
                std::string(kWidth - done, '.').c_str(), line.c_str());
    open_line_ = true;
  } else if (metrics.step % log_steps_ == 0 || metrics.step == 1 || metrics.step == total_steps_) {
    std::printf("%s\n", line.c_str());
  }
  std::fflush(stdout);
  return absl::OkStatus();
}

// On a terminal below the bar, which goes on.
absl::Status Progress::OnEvaluation(int64_t step, const HeldOutLoss& held_out, bool lowest) {
  const std::string line = absl::StrFormat("eval %d/%d  loss %.4f  perplexity %.3f  %s in %.1f s%s",
                                           step, total_steps_, held_out.loss, held_out.Perplexity(),
                                           Counted(held_out.target_tokens, "target token"),
                                           held_out.seconds, lowest ? "  (the lowest so far)" : "");
  std::printf("%s%s\n", open_line_ ? "\n" : "", line.c_str());
  open_line_ = false;
  std::fflush(stdout);
  return absl::OkStatus();
}

// The first one's beginning: the file has them whole.
absl::Status Progress::OnSamples(int64_t step, const std::vector<Sample>& samples) {
  constexpr size_t kMostBytes = 100;
  if (samples.empty()) return absl::OkStatus();
  const std::string answer = Printable(samples.front().answer, kMostBytes);
  const std::string others =
      samples.size() == 1 ? ""
                          : absl::StrCat("  (and ", Counted(samples.size() - 1, "answer"), ")");
  std::printf("said %s\n", absl::StrCat(step, "/", total_steps_, "  ", answer, others).c_str());
  std::fflush(stdout);
  return absl::OkStatus();
}

}  // namespace fttrain
