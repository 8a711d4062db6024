#include "runtime/process/status_payload.h"

#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace fttrain {
namespace {

constexpr const char* kOrigin = "fttrain/origin";

// A length and that many bytes.
void AppendField(std::string& packed, absl::string_view field) {
  absl::StrAppend(&packed, field.size(), ":", field);
}

// The fields of a packed status; false if it is none.
bool SplitFields(std::string_view packed, std::vector<std::string>& fields) {
  while (!packed.empty()) {
    const size_t colon = packed.find(':');
    uint64_t size = 0;
    if (colon == std::string_view::npos ||
        !absl::SimpleAtoi(std::string(packed.substr(0, colon)), &size) ||
        size > packed.size() - colon - 1) {
      return false;
    }
    fields.emplace_back(packed.substr(colon + 1, size));
    packed.remove_prefix(colon + 1 + size);
  }
  return fields.size() >= 2 && fields.size() % 2 == 0;
}

}  // namespace

absl::Status WithPayloadsOf(const absl::Status& from, absl::Status status) {
  from.ForEachPayload(
      [&](absl::string_view url, const absl::Cord& value) { status.SetPayload(url, value); });
  return status;
}

absl::Status WithOrigin(absl::Status status, const Origin& origin) {
  status.SetPayload(kOrigin,
                    absl::Cord(absl::StrCat(origin.rank, " ", origin.pid, " ", origin.host)));
  return status;
}

std::optional<Origin> OriginOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kOrigin);
  if (!payload) return std::nullopt;
  const std::string text(*payload);
  const std::vector<std::string> words = absl::StrSplit(text, absl::MaxSplits(' ', 2));
  Origin origin;
  if (words.size() != 3 || !absl::SimpleAtoi(words[0], &origin.rank) ||
      !absl::SimpleAtoi(words[1], &origin.pid)) {
    return std::nullopt;
  }
  origin.host = words[2];
  return origin;
}

std::string Pack(const absl::Status& status) {
  std::string packed;
  AppendField(packed, absl::StrCat(static_cast<int>(status.code())));
  AppendField(packed, status.message());
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& value) {
    AppendField(packed, url);
    AppendField(packed, std::string(value));
  });
  return packed;
}

absl::Status Unpack(std::string_view packed) {
  std::vector<std::string> fields;
  int code = 0;
  if (!SplitFields(packed, fields) || !absl::SimpleAtoi(fields[0], &code)) {
    return absl::InternalError("a rank sent what is no status");
  }
  absl::Status status(static_cast<absl::StatusCode>(code), fields[1]);
  for (size_t i = 2; i < fields.size(); i += 2) {
    status.SetPayload(fields[i], absl::Cord(fields[i + 1]));
  }
  return status;
}

}  // namespace fttrain
