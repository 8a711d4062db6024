// The filter tojson as transformers replaces it: json.dumps() with its options, nothing escaped for
// HTML.
#include <algorithm>
#include <cmath>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/chat/jinja/library.h"
#include "data/chat/jinja/methods.h"
#include "data/chat/jinja/operators.h"
#include "data/chat/jinja/text.h"
#include "data/text/unicode.h"

namespace fttrain::jinja {
namespace {

class Writer {
 public:
  Writer(Run& run, const Parameters& p) : run_(run) {
    ascii_ = p.Flag(1, false);
    if (p.Given(2)) {
      const int64_t spaces = p[2].Is(Kind::kString) ? 0 : std::max<int64_t>(Index(p[2]), 0);
      run.Make(spaces);
      indent_ =
          p[2].Is(Kind::kString) ? p[2].text() : std::string(static_cast<size_t>(spaces), ' ');
      comma_ = ',';
    }
    if (p.Given(3)) {
      const std::vector<Value> separators = ItemsOf(run, p[3]);
      if (separators.size() != 2) throw Error(ErrorKind::kValue, "separators must be a pair");
      for (const Value& separator : separators) {
        if (separator.Is(Kind::kString)) continue;
        throw Error(ErrorKind::kType, "separators must be strings");
      }
      comma_ = separators[0].text();
      colon_ = separators[1].text();
    }
    sort_ = p.Flag(4, false);
  }

  std::string Write(const Value& value) {
    One(value, 0);
    return std::move(out_);
  }

 private:
  void Put(const std::string& text) {
    run_.Make(static_cast<int64_t>(text.size()));
    out_ += text;
  }

  void NewLine(int level) {
    if (!indent_.has_value()) return;
    Put("\n");
    for (int i = 0; i < level; ++i) Put(*indent_);
  }

  void String(const std::string& text) {
    run_.Make(static_cast<int64_t>(text.size()));
    out_ += '"';
    for (size_t i = 0; i < text.size();) {
      const size_t length = Utf8Length(static_cast<unsigned char>(text[i]));
      Character(std::string_view(text).substr(i, length));
      i += length;
    }
    out_ += '"';
  }

  void Character(std::string_view c) {
    static constexpr std::string_view kPlain = "\"\\\n\r\t\f\b", kShort = "\"\\nrtfb";
    const size_t found = kPlain.find(c[0]);
    if (found != std::string_view::npos) {
      out_ += '\\';
      out_ += kShort[found];
      return;
    }
    const uint32_t point = Utf8CodePoint(c, 0);
    if (point >= 0x20 && (point < 0x7F || !ascii_)) {
      out_ += c;
    } else if (point < 0x10000) {
      absl::StrAppendFormat(&out_, "\\u%04x", point);
    } else {
      absl::StrAppendFormat(&out_, "\\u%04x\\u%04x", 0xD7C0 + (point >> 10),
                            0xDC00 + (point & 0x3FF));
    }
  }

  static std::string Real(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return RealText(value);
  }

  void List(const std::vector<Value>& items, int level) {
    if (items.empty()) return Put("[]");
    Put("[");
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) Put(comma_);
      NewLine(level + 1);
      One(items[i], level + 1);
    }
    NewLine(level);
    Put("]");
  }

  static std::string KeyOf(const Value& key) {
    switch (key.kind()) {
      case Kind::kString:
        return key.text();
      case Kind::kNone:
        return "null";
      case Kind::kBool:
        return key.boolean() ? "true" : "false";
      case Kind::kInt:
        return absl::StrCat(key.integer());
      case Kind::kFloat:
        return Real(key.real());
      default:
        throw Error(
            ErrorKind::kType,
            absl::StrCat("keys must be str, int, float, bool or None, not ", TypeName(key)));
    }
  }

  void Object(const DictObject& dict, int level) {
    if (dict.entries.empty()) return Put("{}");
    auto entries = dict.entries;
    if (sort_) {
      std::stable_sort(entries.begin(), entries.end(), [this](const auto& a, const auto& b) {
        return Compare(run_, a.first, b.first, "<") < 0;
      });
    }
    Put("{");
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) Put(comma_);
      NewLine(level + 1);
      String(KeyOf(entries[i].first));
      Put(colon_);
      One(entries[i].second, level + 1);
    }
    NewLine(level);
    Put("}");
  }

  void One(const Value& value, int level) {
    const Run::Deeper deeper(run_);
    run_.Step();
    switch (value.kind()) {
      case Kind::kNone:
        return Put("null");
      case Kind::kBool:
        return Put(value.boolean() ? "true" : "false");
      case Kind::kInt:
        return Put(absl::StrCat(value.integer()));
      case Kind::kFloat:
        return Put(Real(value.real()));
      case Kind::kString:
        return String(value.text());
      case Kind::kList:
      case Kind::kTuple:
        return List(value.items(), level);
      case Kind::kDict:
        return Object(value.As<DictObject>(), level);
      default:
        throw Error(ErrorKind::kType,
                    absl::StrCat("Object of type ", TypeName(value), " is not JSON serializable"));
    }
  }

  Run& run_;
  std::string out_;
  bool ascii_ = false, sort_ = false;
  std::optional<std::string> indent_;
  std::string comma_ = ", ", colon_ = ": ";
};

}  // namespace

Value ToJson(Run& run, Arguments& args) {
  const Parameters p("tojson", args, {"x", "ensure_ascii", "indent", "separators", "sort_keys"}, 1);
  return Value::String(Writer(run, p).Write(p[0]));
}

}  // namespace fttrain::jinja
