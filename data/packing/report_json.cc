#include "data/packing/report_json.h"

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/match.h"

namespace fttrain {
namespace {

using Json = nlohmann::json;

// Whether it begins with the path, and what follows.
Json Placed(const std::string& text, const std::string& source) {
  const bool begins = absl::StartsWith(text, source);
  return Json::array({begins, begins ? text.substr(source.size()) : text});
}
std::string Read(const Json& placed, const std::string& source) {
  return (placed.at(0).get<bool>() ? source : "") + placed.at(1).get<std::string>();
}

// Pairs of first and how many.
Json StretchesOf(const std::vector<bool>& ids) {
  Json out = Json::array();
  for (size_t i = 0; i < ids.size();) {
    size_t end = i;
    while (end < ids.size() && ids[end]) ++end;
    if (end > i) out.push_back(Json::array({i, end - i}));
    i = end + 1;
  }
  return out;
}
std::vector<bool> IdsOf(const Json& stretches) {
  std::vector<bool> ids;
  for (const Json& stretch : stretches) {
    const auto begin = stretch.at(0).get<size_t>(), count = stretch.at(1).get<size_t>();
    ids.resize(begin, false);
    ids.resize(begin + count, true);
  }
  return ids;
}

}  // namespace

std::string ReportJson(const StoredReport& stored, const std::string& source) {
  const DatasetReport& report = stored.report;
  Json faults = Json::array();
  for (const std::string& fault : report.faults) faults.push_back(Placed(fault, source));
  const Json json = {{"key", stored.key},
                     {"digest", stored.digest},
                     {"there", StretchesOf(stored.use.there)},
                     {"learnt", StretchesOf(stored.use.learnt)},
                     {"format", static_cast<int>(report.format)},
                     {"rows", report.rows},
                     {"skipped", report.skipped},
                     {"faults", std::move(faults)},
                     {"unused", report.unused},
                     {"straddling", report.straddling},
                     {"dropped_reasoning", report.dropped_reasoning},
                     {"cut_texts", report.cut_texts},
                     {"pieces", report.pieces},
                     {"special_texts", report.special_texts},
                     {"first_special_text", Placed(report.first_special_text, source)},
                     {"shifted_labels", report.shifted_labels},
                     {"first_shifted", Placed(report.first_shifted, source)}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

absl::StatusOr<StoredReport> ParseReportJson(const std::string& text, const std::string& source) {
  try {
    const Json json = Json::parse(text);
    StoredReport stored;
    stored.key = json.at("key").get<std::string>();
    stored.digest = json.at("digest").get<std::string>();
    stored.use = {IdsOf(json.at("there")), IdsOf(json.at("learnt"))};
    DatasetReport& report = stored.report;
    report.format = static_cast<RowFormat>(json.at("format").get<int>());
    report.rows = json.at("rows").get<int64_t>();
    report.skipped = json.at("skipped").get<int64_t>();
    for (const Json& fault : json.at("faults")) report.faults.push_back(Read(fault, source));
    report.unused = json.at("unused").get<std::map<std::string, int64_t>>();
    report.straddling = json.at("straddling").get<int64_t>();
    report.dropped_reasoning = json.at("dropped_reasoning").get<int64_t>();
    report.cut_texts = json.at("cut_texts").get<int64_t>();
    report.pieces = json.at("pieces").get<int64_t>();
    report.special_texts = json.at("special_texts").get<int64_t>();
    report.first_special_text = Read(json.at("first_special_text"), source);
    report.shifted_labels = json.at("shifted_labels").get<int64_t>();
    report.first_shifted = Read(json.at("first_shifted"), source);
    return stored;
  } catch (const Json::exception& error) {
    return absl::DataLossError(error.what());
  }
}

}  // namespace fttrain
