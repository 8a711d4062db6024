// Where model.path leads: folders, Hugging Face's cache, names of the hub; and ~ in every path.
#include "launch/plan/paths.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <optional>

#include "configs/load_config.h"
#include "tests/status_text.h"
#include "tests/temp_folder.h"

namespace fttrain {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A cache with org/tiny, as its downloads lay it out: snapshots of links into blobs.
class HubCache : public ::testing::Test {
 protected:
  HubCache() : model_(root_ / "models--org--tiny") {
    fs::create_directories(model_ + "/blobs");
    fs::create_directories(model_ + "/refs");
  }

  void AddSnapshot(const std::string& revision) {
    fs::create_directories(Snapshot(revision));
    root_.Write("models--org--tiny/blobs/c0ffee", "{}");
    fs::create_symlink("../../blobs/c0ffee", Snapshot(revision) + "/config.json");
  }
  void SetMain(const std::string& revision) {
    root_.Write("models--org--tiny/refs/main", revision);
  }
  std::string Snapshot(const std::string& revision) const {
    return model_ + "/snapshots/" + revision;
  }
  absl::StatusOr<std::string> Find(const std::string& path) const {
    return FindModelFolder(path, "model.path", {"/nowhere/hub", root_.path()});
  }

  TempFolder root_;
  std::string model_;
};

TEST_F(HubCache, AFolderWithAModelIsItself) {
  const std::string plain = root_ / "plain";
  fs::create_directories(plain);
  EXPECT_EQ(Find(plain).value_or(""), plain) << "what it lacks is said where it is read";
  AddSnapshot("a1");
  EXPECT_EQ(Find(Snapshot("a1")).value_or(""), Snapshot("a1"));
}

TEST_F(HubCache, TheFolderAboveLeadsToTheSnapshotOfMain) {
  AddSnapshot("a1");
  EXPECT_EQ(Find(model_).value_or(""), Snapshot("a1")) << "the only one";
  AddSnapshot("b2");
  EXPECT_THAT(Find(model_), IsError(absl::StatusCode::kInvalidArgument,
                                    "has 2 snapshots and no refs/main: give the folder of one, "
                                    "snapshots/a1 or snapshots/b2"));
  SetMain("b2\n");
  EXPECT_EQ(Find(model_).value_or(""), Snapshot("b2"));
  EXPECT_EQ(Find(model_ + "/").value_or(""), Snapshot("b2"));
}

TEST_F(HubCache, ANameIsLookedUpInTheRoots) {
  AddSnapshot("a1");
  SetMain("a1");
  EXPECT_EQ(Find("org/tiny").value_or(""), Snapshot("a1"));
  EXPECT_THAT(Find("org/other"),
              IsError(absl::StatusCode::kNotFound,
                      "model.path org/other: no such folder, and no model of that name in Hugging "
                      "Face's cache (looked in /nowhere/hub, " +
                          root_.path() +
                          "); models are not downloaded: `hf download org/other --local-dir "
                          "models/other` does, then give models/other"));
  for (const char* path :
       {"other", "/org/tiny", "a/org/tiny", "org/..", "org/a b", "org/a--b", ""}) {
    const std::string says = ErrorText(Find(path));
    EXPECT_THAT(says, HasSubstr("no such folder; models are not downloaded")) << path;
  }
}

TEST_F(HubCache, AFolderOfThatNameComesFirst) {
  AddSnapshot("a1");
  const fs::path before = fs::current_path();
  fs::create_directories(root_ / "here/org/tiny");
  fs::current_path(root_ / "here");
  EXPECT_EQ(Find("org/tiny").value_or(""), "org/tiny");
  fs::current_path(before);
}

TEST_F(HubCache, AnIncompleteDownloadIsCalledSo) {
  EXPECT_THAT(Find("org/tiny"), IsError(absl::StatusCode::kNotFound,
                                        "models--org--tiny is an incomplete download: it has no "
                                        "snapshot; finish it with `hf download org/tiny`"));
  SetMain("a1");
  EXPECT_THAT(Find("org/tiny"),
              IsError(absl::StatusCode::kNotFound, "refs/main names a1, which is"));
  AddSnapshot("a1");
  fs::create_symlink("../../blobs/gone", Snapshot("a1") + "/model.safetensors");
  for (const std::string& path : {std::string("org/tiny"), model_, Snapshot("a1")}) {
    EXPECT_THAT(Find(path),
                IsError(absl::StatusCode::kNotFound,
                        "snapshots/a1 is an incomplete download: model.safetensors is a link to "
                        "nothing; finish it with `hf download org/tiny`"))
        << path;
  }
  fs::remove(Snapshot("a1") + "/model.safetensors");
  fs::remove(Snapshot("a1") + "/config.json");
  EXPECT_THAT(Find("org/tiny"), IsError(absl::StatusCode::kNotFound, "it has no config.json"));
}

TEST_F(HubCache, AFileIsNoFolder) {
  const std::string file = root_.Write("model.safetensors", "x");
  EXPECT_THAT(FindModelFolder(file, "--model", {}),
              IsError(absl::StatusCode::kInvalidArgument,
                      "--model " + file + " is a file: give the model's folder"));
}

TEST_F(HubCache, ASnapshotHasTheHubsName) {
  EXPECT_EQ(HubNameOf(Snapshot("a1")), "org/tiny");
  EXPECT_EQ(HubNameOf(Snapshot("a1") + "/"), "org/tiny");
  EXPECT_EQ(HubNameOf("models/tiny"), "models/tiny");
  EXPECT_EQ(HubNameOf("x/snapshots/a1"), "x/snapshots/a1");
}

// Sets variables of the environment (null: takes them out) for a test.
class Environment {
 public:
  ~Environment() {
    for (const auto& [name, value] : before_) Put(name, value);
  }
  void Set(const std::string& name, const char* value) {
    const char* old = std::getenv(name.c_str());
    before_.emplace_back(name, old == nullptr ? std::optional<std::string>() : old);
    Put(name, value == nullptr ? std::optional<std::string>() : value);
  }

 private:
  static void Put(const std::string& name, const std::optional<std::string>& value) {
    value ? setenv(name.c_str(), value->c_str(), 1) : unsetenv(name.c_str());
  }
  std::vector<std::pair<std::string, std::optional<std::string>>> before_;
};

TEST(HubCacheRoots, FollowTheEnvironment) {
  Environment environment;
  for (const char* name : {"HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"}) {
    environment.Set(name, nullptr);
  }
  environment.Set("HOME", "/h");
  EXPECT_THAT(HubCacheRoots(), ElementsAre("/h/.cache/huggingface/hub"));
  environment.Set("XDG_CACHE_HOME", "/x");
  environment.Set("HF_HOME", "~/hf");
  environment.Set("HF_HUB_CACHE", "/c");
  EXPECT_THAT(HubCacheRoots(),
              ElementsAre("/c", "/h/hf/hub", "/x/huggingface/hub", "/h/.cache/huggingface/hub"));
  environment.Set("HF_HUB_CACHE", "/h/hf/hub");
  environment.Set("XDG_CACHE_HOME", "");
  EXPECT_THAT(HubCacheRoots(), ElementsAre("/h/hf/hub", "/h/.cache/huggingface/hub"));
}

TEST(ExpandPaths, ReachesEveryPathKeyAndNothingElse) {
  Environment environment;
  environment.Set("HOME", "/h");
  auto loaded = config::ParseRunConfig(
      "model: {path: ~/m}\nadapter: {init_from: ~/a, target_modules: '~/x'}\n"
      "data: {train: [{path: ~/t.jsonl, format: text}, {path: t.jsonl, format: text}],\n"
      "       eval: [{path: ~/e.jsonl, format: text}]}\n"
      "memory: {scratch_folder: ~/s}\noutput_dir: '~'\n",
      "run.yaml", {});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  config::RunConfig& run = loaded->config;
  ExpandPaths(run);
  EXPECT_EQ(run.model().path(), "/h/m");
  EXPECT_EQ(run.adapter().init_from(), "/h/a");
  EXPECT_THAT(run.adapter().target_modules(), ElementsAre("~/x"));
  EXPECT_EQ(run.data().train(0).path(), "/h/t.jsonl");
  EXPECT_EQ(run.data().train(1).path(), "t.jsonl");
  EXPECT_EQ(run.data().eval(0).path(), "/h/e.jsonl");
  EXPECT_EQ(run.memory().scratch_folder(), "/h/s");
  EXPECT_EQ(run.output_dir(), "/h");
}

}  // namespace
}  // namespace fttrain
