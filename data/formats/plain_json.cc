#include "data/formats/plain_json.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "data/text/unicode.h"

namespace fttrain {
namespace {

constexpr size_t kMostKeys = 32;  // of an object: they are compared with each other
constexpr int kMostDigits = 18;   // of an integer: fewer than any that overflows

// Bytes at which a string's plain stretch ends. A text's end is a NUL, which is one.
constexpr std::array<bool, 256> MakeStops() {
  std::array<bool, 256> stops = {};
  for (size_t c = 0; c < 0x20; ++c) stops[c] = true;
  stops['"'] = stops['\\'] = true;
  return stops;
}
constexpr std::array<bool, 256> kStops = MakeStops();

class PlainReader {
 public:
  explicit PlainReader(const std::string& text)
      : at_(text.c_str()), end_(text.c_str() + text.size()) {}

  bool Read(RowJson* out) {
    SkipSpace();
    if (!Value(out, 1)) return false;
    SkipSpace();
    return at_ == end_;
  }

 private:
  void SkipSpace() {
    while (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t') ++at_;
  }
  bool Take(char c) {
    if (*at_ != c) return false;
    ++at_;
    return true;
  }
  bool Word(std::string_view word) {
    if (!std::string_view(at_, static_cast<size_t>(end_ - at_)).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }

  // `depth`: of the brackets that a list or an object here would be.
  bool Value(RowJson* out, size_t depth) {
    switch (*at_) {
      case '{':
        return depth <= kMaxJsonDepth && Object(out, depth);
      case '[':
        return depth <= kMaxJsonDepth && Array(out, depth);
      case '"': {
        *out = std::string();
        return String(out->get_ptr<std::string*>());
      }
      case 't':
        *out = true;
        return Word("true");
      case 'f':
        *out = false;
        return Word("false");
      case 'n':
        *out = nullptr;
        return Word("null");
      default:
        return Integer(out);
    }
  }

  bool Object(RowJson* out, size_t depth) {
    ++at_;
    *out = RowJson::object();
    auto& members = out->get_ref<RowJson::object_t&>();
    SkipSpace();
    if (Take('}')) return true;
    members.reserve(8);  // a member that moves is copied
    for (;;) {
      std::string key;
      if (*at_ != '"' || !String(&key)) return false;
      const bool twice = std::any_of(members.begin(), members.end(),
                                     [&](const auto& member) { return member.first == key; });
      if (twice || members.size() == kMostKeys) return false;
      SkipSpace();
      if (!Take(':')) return false;
      SkipSpace();
      if (!Value(&members.emplace_back(std::move(key), nullptr).second, depth + 1)) return false;
      SkipSpace();
      if (Take('}')) return true;
      if (!Take(',')) return false;
      SkipSpace();
    }
  }

  bool Array(RowJson* out, size_t depth) {
    ++at_;
    *out = RowJson::array();
    auto& items = out->get_ref<RowJson::array_t&>();
    SkipSpace();
    if (Take(']')) return true;
    for (;;) {
      if (!Value(&items.emplace_back(), depth + 1)) return false;
      SkipSpace();
      if (Take(']')) return true;
      if (!Take(',')) return false;
      SkipSpace();
    }
  }

  bool Integer(RowJson* out) {
    const bool negative = Take('-');
    const char* const first = at_;
    int64_t value = 0;
    for (; *at_ >= '0' && *at_ <= '9'; ++at_) {
      if (at_ - first == kMostDigits) return false;
      value = 10 * value + (*at_ - '0');
    }
    if (at_ == first || (*first == '0' && at_ - first > 1)) return false;
    if (*at_ == '.' || *at_ == 'e' || *at_ == 'E') return false;
    if (negative) {
      *out = -value;
    } else {
      *out = static_cast<uint64_t>(value);
    }
    return true;
  }

  // Appends the string that begins here.
  bool String(std::string* out) {
    ++at_;
    for (;;) {
      const char* const begin = at_;
      while (!kStops[static_cast<unsigned char>(*at_)]) ++at_;
      out->append(begin, at_);
      if (Take('"')) return true;
      if (!Take('\\') || !Escape(out)) return false;
    }
  }

  bool Escape(std::string* out) {
    constexpr std::string_view kNames = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
    const char c = *at_++;
    if (c == 'u') return CodePoint(out);
    const size_t which = kNames.find(c);
    if (which == std::string_view::npos) return false;
    *out += kMeanings[which];
    return true;
  }

  // Behind "\u": of two surrogates the one after the other.
  bool CodePoint(std::string* out) {
    uint32_t code = 0, low = 0;
    if (!Hex(&code)) return false;
    if (code >= 0xDC00 && code < 0xE000) return false;
    if (code >= 0xD800 && code < 0xDC00) {
      if (!Word("\\u") || !Hex(&low) || low < 0xDC00 || low >= 0xE000) return false;
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    AppendUtf8(code, out);
    return true;
  }
  bool Hex(uint32_t* out) {
    if (end_ - at_ < 4) return false;
    for (int i = 0; i < 4; ++i) {
      const char c = *at_++;
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) return false;
      *out = *out << 4 | static_cast<uint32_t>(digit);
    }
    return true;
  }

  const char* at_;
  const char* end_;  // where a NUL stands
};

}  // namespace

bool ReadPlainJson(const std::string& text, RowJson* out) { return PlainReader(text).Read(out); }

}  // namespace fttrain
