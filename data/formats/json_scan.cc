#include "data/formats/json_scan.h"

#include <algorithm>

#include "data/formats/row_json.h"

namespace fttrain {
namespace {

constexpr std::string_view kSpace = " \t\r\n";
constexpr size_t kMaxKeyBytes = 1000, kMaxMembers = 1000, kHeadBytes = 1000;

bool EndsScalar(char c) {
  return kSpace.find(c) != std::string_view::npos || c == ',' || c == ']' || c == '}';
}

// Runs over a value's bytes as they come.
class Scanner {
 public:
  explicit Scanner(char first) : scalar_(first != '{' && first != '[' && first != '"') {}

  // How many of the bytes belong to the value.
  size_t Run(std::string_view bytes) {
    size_t i = 0;
    for (; i < bytes.size() && !done_ && !broken_; ++i) {
      const char c = bytes[i];
      if (scalar_) {
        done_ = EndsScalar(c);
        if (done_) break;
        continue;
      }
      if (in_string_) {
        InString(c);
      } else if (c == '"') {
        in_string_ = true;
      } else if (c == '{' || c == '[') {
        ++depth_;
      } else if (c == '}' || c == ']') {
        --depth_;
      }
      done_ = depth_ <= 0 && !in_string_;
    }
    return i;
  }
  bool done() const { return done_; }
  bool broken() const { return broken_; }
  bool scalar() const { return scalar_; }

 private:
  void InString(char c) {
    if (escaped_) {
      escaped_ = false;
    } else if (c == '\\') {
      escaped_ = true;
    } else if (c == '"') {
      in_string_ = false;
    } else if (c == '\n') {
      broken_ = true;
    }
  }

  bool scalar_, in_string_ = false, escaped_ = false, done_ = false, broken_ = false;
  int64_t depth_ = 0;
};

// One member of the object whose "{" or "," is done with; false where there is none.
bool ScanMember(ByteReader* in, std::vector<Member>* members) {
  SkipSpace(in);
  std::optional<std::string> key = ScanKey(in);
  if (!key.has_value()) return false;
  SkipSpace(in);
  const bool list = in->Peek() == '[';
  std::string head;  // as far as a list's first item
  const Scanned value = ScanValue(in, kHeadBytes, &head);
  if (value == Scanned::kCut || value == Scanned::kBroken) return false;
  const size_t item = head.find_first_not_of(kSpace, 1);
  const bool rows = list && item != std::string::npos && (head[item] == '{' || head[item] == '[');
  members->push_back({*std::move(key), rows});
  return members->size() <= kMaxMembers;
}

}  // namespace

void SkipSpace(ByteReader* in) {
  for (;;) {
    const std::string_view ahead = in->Ahead();
    if (ahead.empty()) return;
    const size_t mark = ahead.starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0;
    const size_t end = std::min(ahead.find_first_not_of(kSpace, mark), ahead.size());
    if (end == 0) return;
    in->Take(end);
  }
}

Scanned ScanValue(ByteReader* in, size_t most, std::string* out) {
  const int first = in->Peek();
  if (first < 0) return Scanned::kCut;
  if (EndsScalar(static_cast<char>(first))) return Scanned::kBroken;
  Scanner scanner(static_cast<char>(first));
  size_t size = 0;
  while (!scanner.done() && !scanner.broken()) {
    const std::string_view ahead = in->Ahead();
    if (ahead.empty()) break;
    const size_t count = scanner.Run(ahead);
    if (out != nullptr && size < most) out->append(ahead.substr(0, std::min(count, most - size)));
    size += count;
    in->Take(count);
  }
  if (scanner.broken()) return Scanned::kBroken;
  if (!scanner.done() && !scanner.scalar()) return Scanned::kCut;
  return out != nullptr && size > most ? Scanned::kTooLong : Scanned::kValue;
}

std::optional<std::string> ScanKey(ByteReader* in) {
  std::string text;
  if (in->Peek() != '"' || ScanValue(in, kMaxKeyBytes, &text) != Scanned::kValue) {
    return std::nullopt;
  }
  const absl::StatusOr<RowJson> key = ParseRowJson(text, "");
  if (!key.ok() || !key->is_string()) return std::nullopt;
  SkipSpace(in);
  if (in->Peek() != ':') return std::nullopt;
  in->Take(1);
  return key->get<std::string>();
}

std::optional<FirstObject> ScanFirstObject(ByteReader* in) {
  FirstObject out;
  const int64_t before = in->lines();
  if (in->Peek() != '{') return std::nullopt;
  in->Take(1);
  SkipSpace(in);
  if (in->Peek() == '}') {
    in->Take(1);
  } else {
    for (int next = ','; next == ',';) {
      if (!ScanMember(in, &out.members)) return std::nullopt;
      SkipSpace(in);
      next = in->Peek();
      if (next != ',' && next != '}') return std::nullopt;
      in->Take(1);
    }
  }
  out.lines = in->lines() - before;
  SkipSpace(in);
  out.alone = in->Peek() < 0 && in->status().ok();
  return out;
}

}  // namespace fttrain
