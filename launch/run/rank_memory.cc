#include "launch/run/rank_memory.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/files/whole_file.h"

namespace fttrain {
namespace {

using Json = nlohmann::ordered_json;

CategoryBytes BytesNow(MemoryPlace place, int64_t MemoryUse::*which) {
  CategoryBytes bytes;
  for (size_t i = 0; i < bytes.of.size(); ++i) {
    bytes.of[i] = MemoryOf(static_cast<MemoryCategory>(i), place).*which;
  }
  bytes.total = TotalMemory(place).*which;
  return bytes;
}

std::string ToString(const CategoryBytes& bytes) {
  std::string text;
  for (size_t i = 0; i < bytes.of.size(); ++i) {
    if (bytes.of[i] == 0) continue;
    absl::StrAppend(&text, std::string(MemoryCategoryName(static_cast<MemoryCategory>(i))), " ",
                    bytes.of[i], ", ");
  }
  return absl::StrCat(text, "in all ", bytes.total);
}

Json ToJson(const CategoryBytes& bytes) {
  Json json = Json::object();
  for (size_t i = 0; i < bytes.of.size(); ++i) {
    json[std::string(MemoryCategoryName(static_cast<MemoryCategory>(i)))] = bytes.of[i];
  }
  return json;
}

void AddTo(Json& json, const PlaceMemory& memory) {
  json["held"] = ToJson(memory.held);
  json["peak"] = ToJson(memory.peak);
  json["tracked_peak"] = memory.peak.total;
}

}  // namespace

RankMemory BeginMemory(int rank) {
  ResetMemoryPeaks();
  RankMemory memory;
  memory.rank = rank;
  memory.device.held = BytesNow(MemoryPlace::kDevice, &MemoryUse::current_bytes);
  memory.host.held = BytesNow(MemoryPlace::kHost, &MemoryUse::current_bytes);
  return memory;
}

RankMemory WithPeaks(RankMemory memory) {
  memory.device.peak = BytesNow(MemoryPlace::kDevice, &MemoryUse::peak_bytes);
  memory.host.peak = BytesNow(MemoryPlace::kHost, &MemoryUse::peak_bytes);
  return memory;
}

std::string ToString(const RankMemory& memory) {
  return absl::StrCat("rank ", memory.rank, " holds ", ToString(memory.device.held), "; at most ",
                      ToString(memory.device.peak), "; on the host ", ToString(memory.host.held),
                      "; at most ", ToString(memory.host.peak));
}

Json ToJson(const RankMemory& memory) {
  Json json = {{"rank", memory.rank}};
  AddTo(json, memory.device);
  Json host = Json::object();
  AddTo(host, memory.host);
  json["host"] = std::move(host);
  return json;
}

absl::Status WriteMemory(const RankMemory& memory, const std::string& folder,
                         const Process& process) {
  Json json = {{"ranks", Json::array()}};
  for (const std::string& text : process.GatherStrings(ToJson(memory).dump())) {
    json["ranks"].push_back(Json::parse(text));
  }
  absl::Status status = absl::OkStatus();
  if (process.rank() == 0) {
    status = WriteFileAtomically(absl::StrCat(folder, "/memory.json"), json.dump(2) + "\n");
  }
  return process.AgreeOnStatus(status);
}

}  // namespace fttrain
