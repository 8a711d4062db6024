// One row while it is taken apart: its keys under the names that formats have for them, and what is
// noted on the way. Include in .cc files only (JSON is slow to compile).
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/formats/dataset.h"
#include "data/formats/keys.h"
#include "data/formats/row_json.h"

namespace fttrain {

// The names of a file's keys: DatasetSpec.fields. A name that stands there is read under its other
// key alone; a key of that name is one like any other then.
class KeyNames {
 public:
  // InvalidArgument if `fields` has a name that rows and turns of the format do not have, or one
  // key for two names.
  static absl::StatusOr<KeyNames> Create(const std::map<std::string, std::string>& fields,
                                         RowFormat format);

  // The key of a name.
  absl::string_view KeyOf(KeyLevel level, absl::string_view name) const;
  // The name of a key; empty where the name belongs to another key.
  absl::string_view NameOf(KeyLevel level, absl::string_view key) const;

 private:
  struct Level {
    std::map<std::string, std::string, std::less<>> key_of, name_of;
  };
  Level rows_, turns_;
};

// Of one row, beside its examples.
struct RowNotes {
  std::set<std::string> unused;  // "id", "messages[].id"
  int64_t straddling = 0, dropped_reasoning = 0, cut_texts = 0, pieces = 0;
  std::string special_text;  // "message 1 (user) has <|im_end|>"; empty: none
  bool labels_tell = false;  // there are enough to see whether they are shifted
  bool labels_are_shifted = false;
};

// What is the same for all rows of a file, and the notes on this one.
struct RowContext {
  const DatasetOptions& options;
  const KeyNames& names;
  RowNotes* notes;
};

// An object of a row, or the row itself; `object` and `context` must outlive it.
class RowObject {
 public:
  RowObject(const RowJson& object, std::string where, KeyLevel level, const RowContext& context)
      : object_(object), where_(std::move(where)), level_(level), context_(context) {}

  RowObject(RowJson&& object, std::string where, KeyLevel level,
            const RowContext& context) = delete;

  const RowJson& json() const { return object_; }
  const std::string& where() const { return where_; }
  const RowContext& context() const { return context_; }

  // InvalidArgument "WHERE: WHAT".
  absl::Status Error(absl::string_view what) const;
  absl::Status WrongType(absl::string_view name, absl::string_view must,
                         const RowJson& value) const;

  // "'key'", as the row has it.
  std::string Key(absl::string_view name) const;
  // The value; null if there is none, `Something` also if it is nothing (row_json.h).
  const RowJson* Find(absl::string_view name) const;
  const RowJson* Something(absl::string_view name) const;
  // The value; an error that says what there is instead.
  absl::StatusOr<const RowJson*> Get(absl::string_view name) const;
  absl::StatusOr<std::string> String(absl::string_view name) const;
  // Absent and null are the empty string.
  absl::StatusOr<std::string> OptionalString(absl::string_view name) const;
  // The items of a list, or of one written as JSON text. Nothing is an empty list.
  absl::StatusOr<RowJson> OptionalList(absl::string_view name) const;

  // Refuses keys that would change what is learnt and notes those that are not read, as
  // PREFIX + key.
  absl::Status JudgeKeys(unsigned forms, const std::string& prefix) const;

 private:
  const RowJson& object_;
  std::string where_;
  KeyLevel level_;
  const RowContext& context_;
};

}  // namespace fttrain
