#include "launch/saving/resume.h"

#include <torch/headeronly/version.h>

#include <filesystem>
#include <functional>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "launch/checkpoint/checkpoint_folder.h"
#include "launch/checkpoint/names.h"
#include "launch/exit_code.h"
#include "launch/saving/saved_state.h"
#include "launch/saving/saver.h"
#include "runtime/process/check.h"
#include "runtime/process/failpoint.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace fs = std::filesystem;
namespace {

// What one disk has to try, in its checkpoints/, and what is said of the rest.
struct OnDisk {
  std::vector<Committed> committed;  // newest first
  std::vector<std::string> steps;    // those of them that this run may go on from
  std::vector<std::string> damaged;
};

bool IsPath(const std::string& resume) { return resume != "auto" && resume != "never"; }

// However it is written.
std::string Plain(const std::string& path) {
  std::error_code error;
  const fs::path plain = fs::weakly_canonical(fs::path(path) / ".", error);
  return (plain.has_filename() ? plain : plain.parent_path()).string();
}

// The step of a folder step-N.
absl::StatusOr<int64_t> StepOfFolder(const std::string& path) {
  std::string name = fs::path(path).filename().string();
  if (name.empty()) name = fs::path(path).parent_path().filename().string();
  if (const std::optional<int64_t> step = StepOf(name)) return *step;
  return absl::InvalidArgumentError(
      absl::StrCat("'train.resume' ", path,
                   ": a checkpoint's folder is named step-N, as in "
                   "output_dir/checkpoints; auto and never are the other values"));
}

// NotFound where the folder that was asked for is none: that is not damage.
absl::Status CheckIsThere(const std::string& path, FileSystem& files) {
  FT_RETURN_IF_ERROR(StepOfFolder(path).status());
  FT_ASSIGN_OR_RETURN(const std::optional<EntryKind> kind, files.Kind(path));
  if (kind) return absl::OkStatus();
  return absl::NotFoundError(
      absl::StrCat("'train.resume' ", path,
                   ": no such folder; auto finds output_dir's newest checkpoint by itself"));
}

// InvalidArgument where the run would come to steps that are there already.
absl::Status CheckIsNewest(const TrainPlan& plan, const std::vector<Committed>& committed) {
  if (!IsIn(plan.output.folder, plan.output.resume) || committed.empty()) {
    return absl::OkStatus();
  }
  // By the name: whether that one is sound is found when it is opened.
  FT_ASSIGN_OR_RETURN(const int64_t step, StepOfFolder(plan.output.resume));
  const Committed& newest = committed.front();
  if (newest.step <= step) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "'train.resume' ", plan.output.resume, ": output_dir has newer checkpoints (", newest.path,
      "), which this run would come to again; choose another output_dir, or remove them"));
}

// Whether a run that was told to go on from PATH has made it: this one, which was started again.
bool IsOfRunFrom(const std::string& path, const RunIdentity& identity, const Manifest& manifest) {
  const auto origin = manifest.notes.find(kOriginNote);
  return origin != manifest.notes.end() && origin->second == Plain(path) &&
         CheckSameRun(IdentityIn(manifest), identity, /*allowed=*/{}, path).ok();
}

// Of this disk, whose leader calls it.
absl::StatusOr<OnDisk> LookInto(const TrainPlan& plan, const RunIdentity& identity,
                                FileSystem& files) {
  OnDisk found;
  CheckpointFolder folder(files, plan.output.folder);
  const absl::Status usable = folder.CleanUp();
  if (absl::IsInvalidArgument(usable)) return WithExitCode(usable, kExitCannotCreate);
  if (!usable.ok()) LogInfo(absl::StrCat("note       ", std::string(usable.message())));
  FT_ASSIGN_OR_RETURN(Listing listing, folder.List());
  const std::string& resume = plan.output.resume;
  for (const Committed& each : listing.committed) {
    const bool counts = !IsPath(resume) || IsOfRunFrom(resume, identity, each.manifest);
    if (counts) found.steps.push_back(absl::StrCat(each.step));
  }
  found.committed = std::move(listing.committed);
  for (const Rejected& each : listing.rejected) {
    found.damaged.push_back(std::string(each.why.message()));
  }
  return found;
}

// Lines that leaders have, of all disks.
std::vector<std::string> OfAllDisks(const std::vector<std::string>& lines, const Process& process) {
  std::vector<std::string> all;
  for (const std::string& of_rank : process.GatherStrings(absl::StrJoin(lines, "\n"))) {
    for (absl::string_view line : absl::StrSplit(of_rank, '\n', absl::SkipEmpty())) {
      all.emplace_back(line);
    }
  }
  return all;
}

// Newest first; those of every disk, for one that only one has is there to be told of.
std::vector<int64_t> StepsOf(const std::vector<std::string>& texts) {
  std::set<int64_t, std::greater<>> steps;
  for (const std::string& text : texts) {
    int64_t step = 0;
    if (absl::SimpleAtoi(text, &step)) steps.insert(step);
  }
  return {steps.begin(), steps.end()};
}

// What is damaged stays to be looked at, where no later checkpoint of its step needs the name.
void SetAside(const std::string& path, FileSystem& files) {
  if (files.Kind(path).value_or(std::nullopt) == std::nullopt) return;  // on another disk only
  const fs::path from(path);
  const fs::path to = from.parent_path() / absl::StrCat("damaged-", from.filename().string());
  const absl::Status moved = files.Rename(path, to.string());
  if (!moved.ok()) LogInfo("note       " + std::string(moved.message()));
}

// Each of a disk's ranks its share of the files.
absl::Status VerifyShare(const Committed& checkpoint, FileSystem& files, const Disk& disk,
                         const Process& process) {
  const std::vector<ManifestFile>& all = checkpoint.manifest.files;
  for (size_t i = 0; i < all.size(); ++i) {
    if (i % disk.ranks.size() != static_cast<size_t>(disk.PlaceOf(process.rank()))) continue;
    FT_RETURN_IF_ERROR(VerifyFile(files, checkpoint, all[i]));
  }
  return absl::OkStatus();
}

// On every rank, checked. Collective; agrees on errors.
absl::StatusOr<Committed> Open(const std::string& path, FileSystem& files, const Disk& disk,
                               const Process& process) {
  const absl::StatusOr<int64_t> step = StepOfFolder(path);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(step.status()));
  absl::StatusOr<Committed> read = ReadCommitted(files, path, *step);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(read.status()));
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(VerifyShare(*read, files, disk, process)));
  return read;
}

}  // namespace

absl::StatusOr<std::optional<Committed>> FindCheckpoint(const TrainPlan& plan,
                                                        const RunIdentity& identity,
                                                        FileSystem& files, const Disk& disk,
                                                        const Process& process) {
  const std::string& resume = plan.output.resume;
  if (resume == "never") return std::nullopt;
  OnDisk found;
  absl::Status looked;
  if (disk.leader() == process.rank()) {
    absl::StatusOr<OnDisk> on_disk = LookInto(plan, identity, files);
    looked = on_disk.status();
    if (on_disk.ok()) found = *std::move(on_disk);
  }
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(looked));
  const std::string own = CheckpointFolder(files, plan.output.folder).path();
  std::vector<std::string> paths;
  for (const int64_t step : StepsOf(OfAllDisks(found.steps, process))) {
    paths.push_back(absl::StrCat(own, "/", StepName(step)));
  }
  if (IsPath(resume)) {  // where the run has made none since, or none that can be used
    absl::Status usable = process.rank() == 0 ? CheckIsThere(resume, files) : absl::OkStatus();
    if (usable.ok() && paths.empty()) usable = CheckIsNewest(plan, found.committed);
    usable = process.AgreeOnStatus(usable);
    if (paths.empty()) FT_RETURN_IF_ERROR(usable);
    const bool outside = process.AnyRank(process.rank() == 0 && !IsIn(plan.output.folder, resume));
    if (usable.ok() && (outside || paths.empty())) paths.push_back(resume);
  }
  std::vector<std::string> damaged = OfAllDisks(found.damaged, process);
  for (const std::string& text : damaged) LogInfo("checkpoint " + text + "; it is not used");
  const bool several_disks = static_cast<int>(disk.ranks.size()) < process.world_size();
  const std::string first_host = process.BroadcastString(process.host());
  std::vector<std::string> to_set_aside;
  for (const std::string& path : paths) {
    absl::StatusOr<Committed> checkpoint = Open(path, files, disk, process);
    if (!checkpoint.ok() && path == resume) return checkpoint.status();
    if (!checkpoint.ok()) {
      const absl::string_view why = checkpoint.status().message();
      const bool says_where = !several_disks || absl::StartsWith(why, "rank ");
      damaged.push_back(says_where ? std::string(why)
                                   : absl::StrCat("rank 0 on host ", first_host, ": ", why));
      LogInfo("checkpoint " + damaged.back() + "; an older one is looked for");
      const bool may_pass =
          absl::IsUnavailable(checkpoint.status()) || absl::IsPermissionDenied(checkpoint.status());
      if (disk.leader() == process.rank() && !may_pass) to_set_aside.push_back(path);
      continue;
    }
    FT_RETURN_IF_ERROR(process.AgreeOnStatus(
        CheckSameRun(IdentityIn(checkpoint->manifest), identity, plan.output.allow_changed,
                     absl::StrCat("the checkpoint ", checkpoint->path))));
    // Only now: where none can be used they keep their names, or the next start would find no
    // checkpoint at all and begin anew.
    for (const std::string& each : to_set_aside) SetAside(each, files);
    FT_FAILPOINT("resume.found");
    return *std::move(checkpoint);
  }
  if (damaged.empty()) return std::nullopt;
  return absl::DataLossError(absl::StrCat(
      "no checkpoint of ", own, " can be used: ", absl::StrJoin(damaged, "; "),
      ". Repair it, or begin anew with train.resume: never, which moves them to previous-N"));
}

bool IsIn(const std::string& output_folder, const std::string& checkpoint) {
  std::error_code error;
  const fs::path own =
      fs::weakly_canonical(CheckpointFolder(RealFileSystem(), output_folder).path(), error);
  return !error && fs::weakly_canonical(checkpoint, error).parent_path() == own && !error;
}

std::string BegunWith(const TrainPlan& plan, const Committed& checkpoint) {
  if (IsPath(plan.output.resume)) return Plain(plan.output.resume);
  const auto note = checkpoint.manifest.notes.find(kOriginNote);
  return note == checkpoint.manifest.notes.end() ? "" : note->second;
}

std::string CheckpointsAround(const std::string& checkpoint) {
  std::error_code error;
  const fs::path whole = fs::absolute(checkpoint, error).lexically_normal();
  return (whole.filename().empty() ? whole.parent_path() : whole).parent_path().string();
}

absl::Status GoOnFrom(const Committed& checkpoint, Job& job, FileSystem& files,
                      const Process& process) {
  const Manifest& manifest = checkpoint.manifest;
  SavedState saved(files, checkpoint);
  const absl::Status read = ReadState(job, saved, process);
  const auto part = manifest.notes.find(kPartNote);
  if (!read.ok() && process.AnyRank(part != manifest.notes.end())) {
    return absl::Status(
        read.code(),
        absl::StrCat(
            std::string(read.message()),
            ". It was saved without a shared disk, each host its own ranks' state: go on in "
            "the layout and on the hosts that saved it (",
            manifest.layout, "), or put all hosts' files of it into one folder's step-N"));
  }
  FT_RETURN_IF_ERROR(read);
  FT_FAILPOINT("resume.read");
  const auto guard = manifest.notes.find(kGuardNote);
  if (guard == manifest.notes.end() || !job.guard.Restore(guard->second)) {
    return absl::DataLossError(
        absl::StrCat(checkpoint.path, "/manifest.json: notes.", kGuardNote, " cannot be read"));
  }
  // Of a checkpoint from before there were evaluations there is none.
  const auto evaluations = manifest.notes.find(kEvaluationsNote);
  if (evaluations != manifest.notes.end() && !job.evaluations.Restore(evaluations->second)) {
    return absl::DataLossError(absl::StrCat(checkpoint.path, "/manifest.json: notes.",
                                            kEvaluationsNote, " cannot be read"));
  }
  std::vector<std::string> notes;
  if (const std::string now = LayoutText(job); now != manifest.layout) {
    notes.push_back(absl::StrCat("it was laid out otherwise (", manifest.layout, ")"));
  }
  const auto torch = manifest.versions.find("torch");
  if (torch == manifest.versions.end() || torch->second != TORCH_VERSION) {
    notes.push_back(absl::StrCat("it was made with torch ",
                                 torch == manifest.versions.end() ? "?" : torch->second));
  }
  if (process.AnyRank(saved.requantised_blocks() > 0)) {
    notes.push_back("8-bit moments were quantised again, as this layout cuts their blocks");
  }
  LogInfo(absl::StrCat("resumed    from ", checkpoint.path, ", after step ", manifest.step));
  if (!notes.empty()) {
    LogInfo(
        absl::StrCat("note       the last bits of what follows may differ from a run that was "
                     "not stopped: ",
                     absl::StrJoin(notes, "; ")));
  }
  return absl::OkStatus();
}

absl::StatusOr<Committed> OpenBest(const Evaluations::Best& best, const std::string& output_folder,
                                   FileSystem& files, const Disk& disk, const Process& process) {
  const std::string folder =
      best.folder.empty() ? CheckpointFolder(files, output_folder).path() : best.folder;
  return Open(absl::StrCat(folder, "/", StepName(best.step)), files, disk, process);
}

}  // namespace fttrain
