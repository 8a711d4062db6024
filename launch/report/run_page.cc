#include "launch/report/run_page.h"

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "launch/report/html.h"
#include "launch/run/numbers.h"
#include "runtime/files/whole_file.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

constexpr std::chrono::seconds kEvery(15);

void AddPoint(int64_t step, double y, Curve& curve) {
  curve.x.push_back(static_cast<double>(step));
  curve.y.push_back(y);
}

std::string HowFar(const RunPageHead& head, const RunCurves& curves, bool done) {
  const int64_t step = curves.loss.x.empty() ? 0 : static_cast<int64_t>(curves.loss.x.back());
  std::string text = absl::StrCat("step ", WithCommas(step), " of ", WithCommas(head.steps), ", ",
                                  ClockTime(curves.seconds), " of training");
  if (done)
    return absl::StrCat(text, step == head.steps ? "; it is done" : "; the run is not going on");
  if (step == 0) return text;
  const double left =
      curves.seconds / static_cast<double>(step) * static_cast<double>(head.steps - step);
  return absl::StrCat(text, ", about ", ClockTime(left), " to go");
}

std::string WhereTimeWent(const RunCurves& curves) {
  std::vector<Part> parts;
  for (int i = 0; i < static_cast<int>(Phase::kCount); ++i) {
    const auto phase = static_cast<Phase>(i);
    if (curves.phases[phase] == 0) continue;
    parts.push_back({std::string(PhaseName(phase)), curves.phases[phase]});
  }
  const std::string bar = ShareBar(parts);
  return bar.empty() ? "" : absl::StrCat("<h2>Where rank 0's time went</h2>\n", bar);
}

// Of very long answers the beginning.
constexpr size_t kMostBytes = 2000;
constexpr size_t kMostSamples = 50;

std::string Shown(const std::string& text) { return HtmlEscaped(Beginning(text, kMostBytes)); }

}  // namespace

void RunCurves::Add(const StepMetrics& metrics) {
  AddPoint(metrics.step, metrics.loss, loss);
  AddPoint(metrics.step, metrics.learning_rate, learning_rate);
  AddPoint(metrics.step, metrics.grad_norm, grad_norm);
  AddPoint(metrics.step, metrics.TokensPerSecond(), tokens_per_second);
  AddPoint(metrics.step, static_cast<double>(metrics.peak_bytes) / (int64_t{1} << 30), memory);
  seconds += metrics.seconds;
  for (size_t i = 0; i < phases.of.size(); ++i) phases.of[i] += metrics.phases.of[i];
}

void RunCurves::Add(int64_t step, const HeldOutLoss& held_out) {
  AddPoint(step, held_out.loss, eval_loss);
}

void RunCurves::Add(const std::string& line) {
  const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return;
  const auto number = [](const nlohmann::json& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_number() ? found->get<double>() : 0.0;
  };
  // What is not finite was written as null.
  const auto loss_of = [&](const char* key) {
    return json.at(key).is_number() ? json.at(key).get<double>() : std::nan("");
  };
  const auto step = static_cast<int64_t>(number(json, "step"));
  if (json.contains("eval_loss")) {
    AddPoint(step, loss_of("eval_loss"), eval_loss);
  } else if (json.contains("loss")) {
    StepMetrics metrics;
    metrics.step = step;
    metrics.loss = loss_of("loss");
    metrics.grad_norm = number(json, "grad_norm");
    metrics.learning_rate = number(json, "learning_rate");
    metrics.tokens = static_cast<int64_t>(number(json, "tokens"));
    metrics.seconds = number(json, "seconds");
    metrics.peak_bytes = static_cast<int64_t>(number(json, "peak_bytes"));
    const auto found = json.find("phases");
    for (size_t i = 0; found != json.end() && i < metrics.phases.of.size(); ++i) {
      const std::string name(PhaseName(static_cast<Phase>(i)));
      metrics.phases.of[i] = number(*found, name.c_str());
    }
    Add(metrics);
  }
}

void ShownSamples::Add(int64_t step, size_t index, const Sample& sample) {
  Row& row = rows_[index];
  row.prompt = sample.prompt;
  row.last = {step, sample.answer};
  if (row.first.step == 0) row.first = row.last;
}

void ShownSamples::Add(const std::string& line) {
  const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return;
  const auto step = json.find("step"), index = json.find("sample");
  const auto prompt = json.find("prompt"), answer = json.find("answer");
  const auto end = json.end();
  if (step == end || index == end || prompt == end || answer == end) return;
  if (!step->is_number_integer() || !index->is_number_unsigned()) return;
  if (!prompt->is_string() || !answer->is_string()) return;
  Add(step->get<int64_t>(), index->get<size_t>(),
      {prompt->get<std::string>(), answer->get<std::string>()});
}

std::string ShownSamples::Html() const {
  if (rows_.empty()) return "";
  std::string table = "<h2>Answers to the same prompts</h2>\n<table>\n";
  size_t shown = 0;
  for (const auto& [index, row] : rows_) {
    if (++shown > kMostSamples) break;
    absl::StrAppend(&table, "<tr><th colspan=\"2\">", Shown(row.prompt), "</th></tr>\n");
    for (const Said* said : {&row.first, &row.last}) {
      if (said == &row.last && row.last.step == row.first.step) continue;
      absl::StrAppend(&table, "<tr><td class=\"key\">step ", WithCommas(said->step), "</td><td>",
                      Shown(said->answer), "</td></tr>\n");
    }
  }
  absl::StrAppend(&table, "</table>\n");
  if (rows_.size() <= kMostSamples) return table;
  return absl::StrCat(table, "<p class=\"key\">", rows_.size() - kMostSamples,
                      " more are in samples.jsonl</p>\n");
}

std::string RunPageText(const RunPageHead& head, const RunCurves& curves,
                        const ShownSamples& samples, bool done) {
  const std::string again = done ? "" : "<meta http-equiv=\"refresh\" content=\"30\">\n";
  return absl::StrCat(
      HtmlHead(head.title, again), "<p class=\"key\">", HowFar(head, curves, done), "</p>\n",
      Chart("loss", {curves.loss, curves.eval_loss}),
      Chart("learning rate", {curves.learning_rate}), Chart("gradient norm", {curves.grad_norm}),
      Chart("speed", {curves.tokens_per_second}),
      Chart("memory of the fullest rank", {curves.memory}), samples.Html(), WhereTimeWent(curves),
      "<h2>Layout</h2>\n<pre>", HtmlEscaped(head.summary), "</pre>\n<h2>Config</h2>\n<pre>",
      HtmlEscaped(head.config), "</pre>\n</body>\n</html>\n");
}

RunPage::RunPage(std::string path, RunPageHead head, const std::string& metrics_path,
                 const std::string& samples_path)
    : path_(std::move(path)), head_(std::move(head)) {
  std::ifstream before(metrics_path);
  for (std::string line; std::getline(before, line);) curves_.Add(line);
  std::ifstream said(samples_path);
  for (std::string line; std::getline(said, line);) samples_.Add(line);
}

RunPage::~RunPage() { Write(/*done=*/true); }

void RunPage::Write(bool done) {
  written_ = std::chrono::steady_clock::now();
  if (failed_) return;
  const absl::Status written =
      WriteFileAtomically(path_, RunPageText(head_, curves_, samples_, done));
  if (written.ok()) return;
  failed_ = true;
  LogInfo(absl::StrCat("warning    ", std::string(written.message()),
                       "; the page of curves stays as it is, metrics.jsonl goes on"));
}

absl::Status RunPage::OnStep(const StepMetrics& metrics) {
  curves_.Add(metrics);
  if (std::chrono::steady_clock::now() - written_ >= kEvery) Write(/*done=*/false);
  return absl::OkStatus();
}

absl::Status RunPage::OnEvaluation(int64_t step, const HeldOutLoss& held_out, bool /*lowest*/) {
  curves_.Add(step, held_out);
  return absl::OkStatus();
}

absl::Status RunPage::OnSamples(int64_t step, const std::vector<Sample>& samples) {
  for (size_t i = 0; i < samples.size(); ++i) samples_.Add(step, i, samples[i]);
  return absl::OkStatus();
}

}  // namespace fttrain
