#include "launch/saving/run_identity.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "configs/defaults.h"
#include "configs/result_keys.h"
#include "data/packing/token_cache.h"
#include "launch/exit_code.h"
#include "model/files/adapter_config.h"
#include "runtime/files/file_system.h"
#include "runtime/files/sha256.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace fs = std::filesystem;
namespace {

constexpr char kModel[] = "model", kInitFrom[] = "adapter.init_from";
constexpr char kRowsNote[] = "rows_per_step";
constexpr char kKeyNote[] = "key ";

// A file's size, its ends and samples between: other weights differ in all of them.
absl::Status AddFile(FileSystem& files, const std::string& path, Sha256& hash) {
  constexpr int64_t kWhole = 1 << 20, kSample = 1 << 12;
  constexpr int64_t kSamples = 64;
  FT_ASSIGN_OR_RETURN(const int64_t bytes, files.Size(path));
  hash.Add(&bytes, sizeof(bytes));
  std::string buffer(static_cast<size_t>(std::min(bytes, kWhole)), '\0');
  const auto add = [&](int64_t offset, int64_t size) {
    FT_RETURN_IF_ERROR(files.ReadAt(path, offset, buffer.data(), size));
    hash.Add(buffer.data(), size);
    return absl::OkStatus();
  };
  FT_RETURN_IF_ERROR(add(0, std::min(bytes, kWhole)));
  for (int64_t i = 1; bytes > kWhole && i <= kSamples; ++i) {
    FT_RETURN_IF_ERROR(add((bytes - kSample) / kSamples * i, kSample));
  }
  return absl::OkStatus();
}

// A model's or an adapter's config, and the weights in the order of their names.
absl::StatusOr<std::string> WeightsDigest(const std::string& folder) {
  std::set<fs::path> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const fs::path name = entry.path().filename();
    const bool config = name == "config.json" || name == kAdapterConfigFile;
    if (name.extension() == ".safetensors" || config) names.insert(name);
  }
  Sha256 hash;
  for (const fs::path& name : names) {
    const std::string text = name.string();
    hash.Add(text.c_str(), static_cast<int64_t>(text.size()) + 1);
    // A cache's folder holds links to its files.
    const fs::path real = fs::canonical(fs::path(folder) / name, error);
    FT_RETURN_IF_ERROR(AddFile(RealFileSystem(), real.string(), hash));
  }
  return hash.Hex();
}

// What each file's rows became.
std::vector<std::string> DataDigests(const TrainPlan& plan) {
  const ExampleList& examples = plan.inputs.rows->examples();
  std::vector<std::string> digests;
  size_t begin = 0;
  for (const int64_t end : plan.file_ends) {
    digests.push_back(examples.Digest(begin, static_cast<size_t>(end)));
    begin = static_cast<size_t>(end);
  }
  return digests;
}

std::string Was(const std::string& what, const std::string& saved, const std::string& now) {
  const auto shown = [](const char* verb, const std::string& value) {
    // A list's elements each have a blank behind them.
    return absl::StrCat(verb,
                        value.empty() ? "not set" : absl::StripTrailingAsciiWhitespace(value));
  };
  return absl::StrCat(what, shown(" was ", saved), shown(", is ", now));
}

// Both values of every key that differs.
std::map<std::string, std::pair<std::string, std::string>> Different(
    const std::map<std::string, std::string>& saved,
    const std::map<std::string, std::string>& now) {
  std::map<std::string, std::pair<std::string, std::string>> both;
  for (const auto& [key, value] : saved) both[key].first = value;
  for (const auto& [key, value] : now) both[key].second = value;
  std::erase_if(both, [](const auto& each) { return each.second.first == each.second.second; });
  return both;
}

}  // namespace

absl::StatusOr<RunIdentity> IdentityOf(const TrainPlan& plan) {
  RunIdentity identity;
  identity.keys = config::ResultKeys(plan.run);
  identity.rows_per_step = plan.task.rows_per_step;
  FT_ASSIGN_OR_RETURN(identity.digests[kModel], FromFile(WeightsDigest(plan.task.model_path)));
  if (plan.run.adapter().has_init_from()) {
    FT_ASSIGN_OR_RETURN(identity.digests[kInitFrom],
                        FromFile(WeightsDigest(plan.run.adapter().init_from())));
  }
  const std::vector<std::string> data = DataDigests(plan);
  for (size_t i = 0; i < data.size(); ++i) {
    identity.digests[absl::StrCat("data.train[", i, "]")] = data[i];
  }
  if (plan.inputs.held_out != nullptr) {
    const ExampleList& held_out = plan.inputs.held_out->examples();
    identity.held_out = held_out.Digest(0, held_out.size());
    const bool decides = plan.output.keeps_best || plan.task.stopping.patience > 0;
    if (decides) identity.digests["data.eval"] = identity.held_out;
  }
  return identity;
}

std::string DigestOf(const RunIdentity& identity) {
  Manifest manifest;
  AddIdentity(identity, manifest);
  return Sha256Hex(absl::StrCat(absl::StrJoin(manifest.digests, "\n", absl::PairFormatter("=")),
                                "\n",
                                absl::StrJoin(manifest.notes, "\n", absl::PairFormatter("="))));
}

void AddIdentity(const RunIdentity& identity, Manifest& manifest) {
  manifest.digests.insert(identity.digests.begin(), identity.digests.end());
  for (const auto& [key, value] : identity.keys) {
    manifest.notes[absl::StrCat(kKeyNote, key)] = value;
  }
  manifest.notes[kRowsNote] = absl::StrCat(identity.rows_per_step);
}

RunIdentity IdentityIn(const Manifest& manifest) {
  RunIdentity identity;
  identity.digests = manifest.digests;
  for (const auto& [name, value] : manifest.notes) {
    absl::string_view key = name;
    if (absl::ConsumePrefix(&key, kKeyNote)) identity.keys[std::string(key)] = value;
    if (name == kRowsNote && !absl::SimpleAtoi(value, &identity.rows_per_step)) {
      identity.rows_per_step = -1;
    }
  }
  return identity;
}

absl::Status CheckSameRun(const RunIdentity& saved, const RunIdentity& now,
                          const std::vector<std::string>& allowed, const std::string& where) {
  const auto may_differ = [&](const std::string& name) {
    return std::count(allowed.begin(), allowed.end(), name) > 0;
  };
  std::vector<std::string> differences, names;
  const auto add = [&](const std::string& name, const std::string& text) {
    if (may_differ(name)) return;
    differences.push_back(text);
    if (std::count(names.begin(), names.end(), name) == 0) names.push_back(name);
  };
  // A key that the program of the checkpoint did not know had what is its default now.
  std::map<std::string, std::string> then = saved.keys;
  config::RunConfig plain;
  config::FillDefaults(plain);
  for (const auto& [key, value] : config::ResultKeys(plain)) {
    if (now.keys.count(key) > 0) then.emplace(key, value);
  }
  for (const auto& [key, values] : Different(then, now.keys)) {
    add(key, Was(key, values.first, values.second));
  }
  for (const auto& [key, values] : Different(saved.digests, now.digests)) {
    const bool adapter = key == kInitFrom, set = !values.first.empty() && !values.second.empty();
    add(key == kModel || adapter ? key : "data",
        key == kModel           ? "the files of model.path are others"
        : adapter && set        ? absl::StrCat("the files of ", key, " are others")
        : values.first.empty()  ? absl::StrCat(key, " was not there")
        : values.second.empty() ? absl::StrCat(key, " is gone")
                                : absl::StrCat("what the rows of ", key, " become is another"));
  }
  if (saved.rows_per_step != now.rows_per_step) {
    return absl::InvalidArgumentError(absl::StrCat(
        where, " is of a run with ", saved.rows_per_step, " rows a step, this one has ",
        now.rows_per_step,
        " (ranks / (parallel.tensor x parallel.pipeline) x train.micro_batch_size x "
        "train.gradient_accumulation_steps): where it stands in the data would be unknown; make "
        "them equal, or begin anew with train.resume: never"));
  }
  if (differences.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(where, " is of another run: ", absl::StrJoin(differences, "; "),
                   ". Undo that, allow it with train.allow_changed: [", absl::StrJoin(names, ", "),
                   "], or begin anew with train.resume: never"));
}

absl::Status CheckSameOnAllRanks(const RunIdentity& identity, const config::RunConfig& run,
                                 const Process& process) {
  std::vector<std::string> lines;
  for (const auto& [key, value] : config::KeysOfAllRanks(run)) {
    lines.push_back(absl::StrCat(key, "=", value));
  }
  const absl::StatusOr<std::string> program = DigestOfProgram();
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(program.status()));
  lines.push_back(absl::StrCat("the program=", *program));
  for (const auto& [key, value] : identity.digests) lines.push_back(absl::StrCat(key, "=", value));
  lines.push_back(absl::StrCat("rows of a step=", identity.rows_per_step));
  lines.push_back(absl::StrCat("held-out rows=", identity.held_out));
  const std::vector<std::string> all = process.GatherStrings(absl::StrJoin(lines, "\n"));
  std::set<std::string> keys;
  std::vector<std::map<std::string, std::string>> values;
  for (const std::string& of_rank : all) {
    std::map<std::string, std::string>& of_key = values.emplace_back();
    for (absl::string_view line : absl::StrSplit(of_rank, '\n')) {
      of_key.insert(absl::StrSplit(line, absl::MaxSplits('=', 1)));
    }
    for (const auto& [key, value] : of_key) keys.insert(key);
  }
  std::vector<std::string> differences;
  for (const std::string& key : keys) {
    std::map<std::string, std::vector<size_t>> ranks_of;
    for (size_t rank = 0; rank < values.size(); ++rank) {
      const auto found = values[rank].find(key);
      ranks_of[found == values[rank].end() ? "not set" : found->second].push_back(rank);
    }
    if (ranks_of.size() == 1) continue;
    std::vector<std::string> groups;
    for (const auto& [value, ranks] : ranks_of) {
      groups.push_back(absl::StrCat(Printable(value), " on rank ", absl::StrJoin(ranks, ", ")));
    }
    differences.push_back(absl::StrCat(key, ": ", absl::StrJoin(groups, "; ")));
  }
  if (differences.empty()) return absl::OkStatus();
  const std::string text = absl::StrCat(
      "ranks read different files or settings, so that they would train different things: ",
      absl::StrJoin(differences, ". "));
  return WithExitCode(absl::FailedPreconditionError(text), kExitRanksDisagree);
}

}  // namespace fttrain
