#include "data/formats/formats.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

struct Format {
  RowFormat format;
  const char* name;
  FormatNeeds needs;
};

constexpr Format kFormats[] = {
    {RowFormat::kAuto, "auto", {true, true}},
    {RowFormat::kMessages, "messages", {true, true}},
    {RowFormat::kShareGpt, "sharegpt", {true, true}},
    {RowFormat::kPromptCompletion, "prompt_completion", {true, true}},
    {RowFormat::kAlpaca, "alpaca", {true, true}},
    {RowFormat::kText, "text", {true, false}},
    {RowFormat::kTokens, "tokens", {false, false}},
    {RowFormat::kPreference, "preference", {true, true}},
};

const Format& Find(RowFormat format) {
  const Format* found = std::find_if(std::begin(kFormats), std::end(kFormats),
                                     [&](const Format& f) { return f.format == format; });
  FT_CHECK(found != std::end(kFormats), "row format ", static_cast<int>(format));
  return *found;
}

// A format whose rows have something under all of these keys; "" will do under `may_be_empty`.
struct Telling {
  RowFormat format;
  std::vector<const char*> keys;
  absl::string_view may_be_empty = "";
};

const std::vector<Telling>& AllTelling() {
  static const std::vector<Telling> all = {
      {RowFormat::kPromptCompletion, {"prompt", "completion"}, "prompt"},
      {RowFormat::kPreference, {"chosen", "rejected"}},
      {RowFormat::kAlpaca, {"instruction", "output"}},
      {RowFormat::kText, {"text"}},
      {RowFormat::kTokens, {"input_ids"}},
  };
  return all;
}

constexpr const char* kConversationKeys[] = {"messages", "conversations"};

// Of a list of messages: whether they are ShareGPT's, by the first.
FoundFormat GuessTurns(const RowObject& row, const char* key, const RowJson& list) {
  const RowJson first = list.is_array() && !list.empty() ? list[0] : RowJson();
  const RowObject turn(first, row.where(), KeyLevel::kTurn, row.context());
  const bool from = first.is_object() && turn.Find("from") != nullptr;
  const std::string name = row.Key(key);
  if (from) return {RowFormat::kShareGpt, absl::StrCat("rows have ", name, " of from and value")};
  return {RowFormat::kMessages, absl::StrCat("rows have ", name)};
}

}  // namespace

FormatNeeds NeedsOf(RowFormat format) { return Find(format).needs; }

const char* FormatName(RowFormat format) { return Find(format).name; }

std::vector<FoundFormat> GuessFormats(const RowObject& row) {
  std::vector<FoundFormat> out;
  for (const char* key : kConversationKeys) {
    const RowJson* const list = row.Something(key);
    if (list != nullptr) out.push_back(GuessTurns(row, key, *list));
  }
  for (const Telling& telling : AllTelling()) {
    const bool all = std::all_of(telling.keys.begin(), telling.keys.end(), [&](const char* key) {
      const RowJson* const value = row.Find(key);
      return row.Something(key) != nullptr ||
             (key == telling.may_be_empty && value != nullptr && *value == RowJson(""));
    });
    const auto name = [&](std::string* text, const char* key) { *text += row.Key(key); };
    if (!all) continue;
    out.push_back(
        {telling.format, absl::StrCat("rows have ", absl::StrJoin(telling.keys, " and ", name))});
  }
  return out;
}

bool HasTellingKey(const RowObject& row) {
  const auto has = [&](const char* key) { return row.Find(key) != nullptr; };
  return std::any_of(std::begin(kConversationKeys), std::end(kConversationKeys), has) ||
         std::any_of(AllTelling().begin(), AllTelling().end(), [&](const Telling& telling) {
           return std::any_of(telling.keys.begin(), telling.keys.end(), has);
         });
}

std::vector<std::string> TellingKeys(const DatasetSpec& spec) {
  std::vector<std::string> out(std::begin(kConversationKeys), std::end(kConversationKeys));
  for (const Telling& telling : AllTelling()) {
    out.insert(out.end(), telling.keys.begin(), telling.keys.end());
  }
  for (const auto& [name, key] : spec.fields) out.push_back(key);
  return out;
}

}  // namespace fttrain
