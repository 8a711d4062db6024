#include "data/formats/row.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

constexpr size_t kShownKeys = 8;

bool IsHarmless(const RowJson& value, const char* harmless) {
  if (*harmless == 0) return false;
  return value == RowJson::parse(harmless);
}

}  // namespace

absl::StatusOr<KeyNames> KeyNames::Create(const std::map<std::string, std::string>& fields,
                                          RowFormat format) {
  const unsigned forms = FormsOf(format);
  const auto is_read = [&](KeyLevel level, absl::string_view name) {
    return FateOf(level, name, forms).what == KeyFate::kRead;
  };
  KeyNames out;
  for (const auto& [name, key] : fields) {
    const bool row = is_read(KeyLevel::kRow, name);
    if (!row && !is_read(KeyLevel::kTurn, name)) {
      const std::vector<std::string> of_rows = KeysRead(KeyLevel::kRow, forms);
      const std::vector<std::string> of_turns = KeysRead(KeyLevel::kTurn, forms);
      return absl::InvalidArgumentError(
          absl::StrCat("fields: ", Quoted(name), " is no key of format ", FormatName(format),
                       ": its are ", absl::StrJoin(of_rows, ", "),
                       of_turns.empty() ? "" : "; of messages ", absl::StrJoin(of_turns, ", ")));
    }
    Level& level = row ? out.rows_ : out.turns_;
    level.key_of[name] = key;
    if (!level.name_of.emplace(key, name).second) {
      return absl::InvalidArgumentError(absl::StrCat("fields: ", Quoted(level.name_of[key]),
                                                     " and ", Quoted(name), " are both ",
                                                     Quoted(key)));
    }
  }
  return out;
}

absl::string_view KeyNames::KeyOf(KeyLevel level, absl::string_view name) const {
  const auto& key_of = (level == KeyLevel::kRow ? rows_ : turns_).key_of;
  const auto found = key_of.find(name);
  return found == key_of.end() ? name : absl::string_view(found->second);
}

absl::string_view KeyNames::NameOf(KeyLevel level, absl::string_view key) const {
  const Level& names = level == KeyLevel::kRow ? rows_ : turns_;
  const auto found = names.name_of.find(key);
  if (found != names.name_of.end()) return found->second;
  return names.key_of.contains(key) ? absl::string_view() : key;
}

absl::Status RowObject::Error(absl::string_view what) const {
  return absl::InvalidArgumentError(absl::StrCat(where_, ": ", what));
}

absl::Status RowObject::WrongType(absl::string_view name, absl::string_view must,
                                  const RowJson& value) const {
  return Error(absl::StrCat(Key(name), " must be ", must, ", not ", TypeOf(value)));
}

std::string RowObject::Key(absl::string_view name) const {
  return Quoted(context_.names.KeyOf(level_, name));
}

const RowJson* RowObject::Find(absl::string_view name) const {
  const auto found = object_.find(context_.names.KeyOf(level_, name));
  return found == object_.end() ? nullptr : &*found;
}

const RowJson* RowObject::Something(absl::string_view name) const {
  const RowJson* const value = Find(name);
  return value == nullptr || IsNothing(*value) ? nullptr : value;
}

absl::StatusOr<const RowJson*> RowObject::Get(absl::string_view name) const {
  const RowJson* const value = Find(name);
  if (value != nullptr) return value;
  std::vector<std::string> keys;
  for (const auto& [key, ignored] : object_.items()) {
    if (keys.size() == kShownKeys) keys.back() = "...";
    if (keys.size() < kShownKeys) keys.push_back(Quoted(key));
  }
  return Error(absl::StrCat("key ", Key(name), " is missing", keys.empty() ? "" : "; there is ",
                            absl::StrJoin(keys, ", "),
                            keys.empty() ? "" : ": fields says what is called otherwise"));
}

absl::StatusOr<std::string> RowObject::String(absl::string_view name) const {
  FT_ASSIGN_OR_RETURN(const RowJson* const value, Get(name));
  if (!value->is_string()) return WrongType(name, "a string", *value);
  return value->get_ref<const std::string&>();
}

absl::StatusOr<std::string> RowObject::OptionalString(absl::string_view name) const {
  const RowJson* const value = Find(name);
  if (value == nullptr || value->is_null()) return std::string();
  return String(name);
}

absl::StatusOr<RowJson> RowObject::OptionalList(absl::string_view name) const {
  const RowJson* const value = Something(name);
  if (value == nullptr) return RowJson::array();
  RowJson list = *value;
  if (value->is_string()) {
    FT_ASSIGN_OR_RETURN(list, ParseRowJson(value->get_ref<const std::string&>(),
                                           absl::StrCat(where_, ": the text of ", Key(name))));
  }
  if (!list.is_array()) return WrongType(name, "a list, or the JSON text of one", list);
  return list;
}

absl::Status RowObject::JudgeKeys(unsigned forms, const std::string& prefix) const {
  for (const auto& [key, value] : object_.items()) {
    if (IsNothing(value)) continue;
    const absl::string_view name = context_.names.NameOf(level_, key);
    const KeyFate fate = name.empty() ? KeyFate() : FateOf(level_, name, forms);
    if (fate.what == KeyFate::kRead) continue;
    if (fate.what == KeyFate::kRefused && !IsHarmless(value, fate.harmless)) {
      return Error(absl::StrCat(Quoted(key), " is not supported: ", fate.remedy));
    }
    context_.notes->unused.insert(absl::StrCat(prefix, Printable(key)));
  }
  return absl::OkStatus();
}

}  // namespace fttrain
