// The architecture's arrows, as #include lines: launch -> {configs, data, model, parallel,
// runtime}; model -> {parallel, runtime}; parallel -> runtime; data -> runtime. Inside a folder a
// room includes rooms listed before it only. Nothing points back.
#include <gmock/gmock.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace fttrain {
namespace {

namespace fs = std::filesystem;
using Edges = std::map<std::string, std::set<std::string>>;
using Rooms = std::map<std::string, std::vector<std::string>>;

const Edges& Allowed() {
  static const Edges allowed = {
      {"runtime", {}},       {"parallel", {"runtime"}},
      {"data", {"runtime"}}, {"model", {"parallel", "runtime"}},
      {"configs", {}},       {"launch", {"configs", "data", "model", "parallel", "runtime"}},
  };
  return allowed;
}

// The rooms of each folder from the ground up. "" are files of the folder itself; main.cc alone
// stands above all rooms.
const Rooms& FromTheGroundUp() {
  static const Rooms rooms = {
      {"runtime", {"math", "memory", "process", "comm", "files"}},
      {"parallel", {"layout", "pipeline", "storage", "residency", "optimizer"}},
      {"data", {"text", "tokenizer", "chat", "formats", "packing"}},
      {"model",
       {"config", "kernels", "nf4", "matmul", "linears", "blocks", "ends", "network", "files"}},
      {"configs", {""}},
      {"launch",
       {"", "plan", "run", "checkpoint", "saving", "report", "doctor", "verify", "check", "init",
        "commands"}},
  };
  return rooms;
}

struct Place {
  std::string folder, room;
};

// "model/nf4/cuda/x.h" is in room nf4 of model.
Place PlaceOf(const std::string& path) {
  const size_t first = path.find('/'), second = path.find('/', first + 1);
  if (first == std::string::npos) return {path, ""};
  if (second == std::string::npos) return {path.substr(0, first), ""};
  return {path.substr(0, first), path.substr(first + 1, second - first - 1)};
}

// Its number from the ground up; -1 for a room that is not listed.
int FloorOf(const Place& place, const Rooms& rooms) {
  const std::vector<std::string>& all = rooms.at(place.folder);
  const auto found = std::find(all.begin(), all.end(), place.room);
  return found == all.end() ? -1 : static_cast<int>(found - all.begin());
}

// Complaints about one line of `file` ("model/nf4/nf4.h"), if any.
std::string Complaint(const std::string& file, const std::string& line,
                      const Edges& allowed = Allowed(), const Rooms& rooms = FromTheGroundUp()) {
  static const std::regex include(R"(^\s*#\s*include\s*[<"]([^>"]+)[>"])");
  if (line.find("include") == std::string::npos) return "";
  std::smatch match;
  if (!std::regex_search(line, match, include)) return "";
  const std::string path = match[1];
  const Place from = PlaceOf(file), to = PlaceOf(path);
  if (path == "torch/torch.h" || path == "torch/all.h") return "wide include " + path;
  if (path.ends_with(".pb.h") && from.folder != "configs" && from.folder != "launch" &&
      to.folder != "google") {
    return "protobuf outside configs and launch: " + path;
  }
  if (to.folder == "tests" || to.folder == "bench") return "includes " + path;
  if (allowed.count(to.folder) == 0) return "";
  if (to.folder != from.folder) {
    return allowed.at(from.folder).count(to.folder) > 0
               ? ""
               : "arrow " + from.folder + " -> " + to.folder;
  }
  if (file == "launch/main.cc" || FloorOf(to, rooms) <= FloorOf(from, rooms)) return "";
  return "room " + from.room + " -> " + to.room;
}

std::vector<std::string> Violations(const fs::path& root, const Edges& allowed = Allowed(),
                                    const Rooms& rooms = FromTheGroundUp()) {
  static const std::set<std::string> sources = {".h", ".cc", ".cu", ".inc"};
  std::vector<std::string> found;
  for (const auto& [folder, targets] : allowed) {
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      if (sources.count(entry.path().extension().string()) == 0) continue;
      const std::string file = fs::relative(entry.path(), root).string();
      if (FloorOf(PlaceOf(file), rooms) < 0 && file != "launch/main.cc") {
        found.push_back(file + ": in no room");
      }
      std::ifstream lines(entry.path());
      std::string line;
      for (int number = 1; std::getline(lines, line); ++number) {
        const std::string complaint = Complaint(file, line, allowed, rooms);
        if (complaint.empty()) continue;
        found.push_back(file + ":" + std::to_string(number) + ": " + complaint);
      }
    }
  }
  return found;
}

TEST(IncludeEdges, PointOneWay) {
  EXPECT_THAT(Violations(FTTRAIN_SOURCE_DIR), ::testing::IsEmpty());
}

TEST(IncludeEdges, AnArrowBackwardsIsSeen) {
  EXPECT_EQ(Complaint("runtime/math/bf16.h", "#include \"model/kernels/kernels.h\""),
            "arrow runtime -> model");
  EXPECT_EQ(Complaint("data/text/a.cc", "#include \"model/kernels/kernels.h\""),
            "arrow data -> model");
  EXPECT_EQ(Complaint("model/nf4/nf4.cc", "#include \"configs/run_config.pb.h\""),
            "protobuf outside configs and launch: configs/run_config.pb.h");
  EXPECT_EQ(Complaint("launch/run/a.cc", "#include \"tests/oracle.h\""), "includes tests/oracle.h");
  EXPECT_EQ(Complaint("model/nf4/nf4.cc", "#include <torch/torch.h>"),
            "wide include torch/torch.h");
  EXPECT_EQ(Complaint("model/nf4/nf4.cc", "#include \"parallel/layout/mesh.h\""), "");
}

TEST(IncludeEdges, ARoomAboveIsSeen) {
  EXPECT_EQ(Complaint("model/kernels/cuda/a.cu", "#include \"model/nf4/math.h\""),
            "room kernels -> nf4");
  EXPECT_EQ(Complaint("model/nf4/a.cu", "#include \"model/kernels/cuda/common.h\""), "");
  EXPECT_EQ(Complaint("launch/exit_code.h", "#include \"launch/run/trainer.h\""), "room  -> run");
}

// The test is of use only as long as the code leans on every arrow and on the order of the rooms.
TEST(IncludeEdges, ATurnedArrowOrRoomOrderTurnsTheTestRed) {
  Edges edges = Allowed();
  edges["model"].erase("parallel");
  edges["parallel"].insert("model");
  EXPECT_FALSE(Violations(FTTRAIN_SOURCE_DIR, edges).empty());
  for (const auto& [folder, rooms] : FromTheGroundUp()) {
    if (rooms.size() < 2) continue;
    Rooms turned = FromTheGroundUp();
    std::reverse(turned[folder].begin(), turned[folder].end());
    EXPECT_FALSE(Violations(FTTRAIN_SOURCE_DIR, Allowed(), turned).empty()) << folder;
  }
}

}  // namespace
}  // namespace fttrain
