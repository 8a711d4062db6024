// The architecture's arrows, as #include lines: launch -> {configs, data, model, parallel,
// runtime}; model -> {parallel, runtime}; parallel -> runtime; data -> runtime. Nothing points
// back.
#include <gmock/gmock.h>

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

const Edges& Allowed() {
  static const Edges allowed = {
      {"runtime", {}},       {"parallel", {"runtime"}},
      {"data", {"runtime"}}, {"model", {"parallel", "runtime"}},
      {"configs", {}},       {"launch", {"configs", "data", "model", "parallel", "runtime"}},
  };
  return allowed;
}

// Complaints about one line of a file of `folder`, if any.
std::string Complaint(const std::string& folder, const std::string& line) {
  static const std::regex include(R"(^\s*#\s*include\s*[<"]([^>"]+)[>"])");
  std::smatch match;
  if (!std::regex_search(line, match, include)) return "";
  const std::string path = match[1];
  if (path == "torch/torch.h" || path == "torch/all.h") return "wide include " + path;
  if (path.ends_with(".pb.h") && folder != "configs" && folder != "launch" &&
      !path.starts_with("google/")) {
    return "protobuf outside configs and launch: " + path;
  }
  const std::string target = path.substr(0, path.find('/'));
  if (target == "tests" || target == "bench") return "includes " + path;
  if (target == folder || Allowed().count(target) == 0) return "";
  return Allowed().at(folder).count(target) > 0 ? "" : "arrow " + folder + " -> " + target;
}

std::vector<std::string> Violations(const fs::path& root) {
  std::vector<std::string> found;
  for (const auto& [folder, targets] : Allowed()) {
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      const std::string extension = entry.path().extension().string();
      if (extension != ".h" && extension != ".cc" && extension != ".cu" && extension != ".inc")
        continue;
      std::ifstream file(entry.path());
      std::string line;
      for (int number = 1; std::getline(file, line); ++number) {
        const std::string complaint = Complaint(folder, line);
        if (!complaint.empty()) {
          found.push_back(fs::relative(entry.path(), root).string() + ":" + std::to_string(number) +
                          ": " + complaint);
        }
      }
    }
  }
  return found;
}

TEST(IncludeEdges, PointOneWay) {
  EXPECT_THAT(Violations(FTTRAIN_SOURCE_DIR), ::testing::IsEmpty());
}

TEST(IncludeEdges, AnArrowBackwardsIsSeen) {
  EXPECT_EQ(Complaint("runtime", "#include \"model/attention.h\""), "arrow runtime -> model");
  EXPECT_EQ(Complaint("data", "#include \"model/kernels.h\""), "arrow data -> model");
  EXPECT_EQ(Complaint("model", "#include \"configs/run_config.pb.h\""),
            "protobuf outside configs and launch: configs/run_config.pb.h");
  EXPECT_EQ(Complaint("launch", "#include \"tests/oracle.h\""), "includes tests/oracle.h");
  EXPECT_EQ(Complaint("model", "#include <torch/torch.h>"), "wide include torch/torch.h");
  EXPECT_EQ(Complaint("model", "#include \"parallel/mesh.h\""), "");
}

}  // namespace
}  // namespace fttrain
