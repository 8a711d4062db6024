// 'text'.format(...), as Jinja2's sandbox formats: fields look attributes up as templates do.
#include <optional>

#include "absl/strings/str_cat.h"
#include "data/chat/jinja/format.h"
#include "data/chat/jinja/operators.h"
#include "data/chat/jinja/text.h"

namespace fttrain::jinja {
namespace {

[[noreturn]] void Bad(std::string message) { throw Error(ErrorKind::kValue, std::move(message)); }

// The number that a field's name is, if it is one.
std::optional<int64_t> NumberIn(const std::string& text) {
  if (text.empty() || text.size() > 9) return std::nullopt;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
  }
  return std::stoll(text);
}

class Braces {
 public:
  Braces(Run& run, const Arguments& args, const Value* mapping)
      : run_(run), args_(args), mapping_(mapping) {}

  std::string Format(const std::string& text, int depth) {
    if (depth < 0) Bad("Max string recursion exceeded");
    std::string out;
    for (size_t i = 0; i < text.size();) {
      const char c = text[i++];
      if (c != '{' && c != '}') {
        out += c;
        continue;
      }
      if (i < text.size() && text[i] == c) {
        out += c;
        ++i;
        continue;
      }
      if (c == '}') Bad("Single '}' encountered in format string");
      const std::string field = Field(text, depth, &i);
      run_.Make(static_cast<int64_t>(field.size()));
      out += field;
    }
    return out;
  }

 private:
  // The field that begins at *i, behind its brace; *i goes behind its end.
  std::string Field(const std::string& text, int depth, size_t* i) {
    if (*i >= text.size()) Bad("Single '{' encountered in format string");
    const size_t begin = *i;
    int open = 1;
    bool bracket = false;
    size_t name_end = std::string::npos;
    size_t at = begin;
    for (; at < text.size(); ++at) {
      const char c = text[at];
      const bool in_name = name_end == std::string::npos;
      if (in_name && bracket) {
        bracket = c != ']';
        continue;
      }
      if (in_name && c == '[') bracket = true;
      if (in_name && open == 1 && (c == ':' || c == '!')) name_end = at;
      if (c == '{') {
        if (in_name) Bad("unexpected '{' in field name");
        ++open;
      }
      if (c == '}' && --open == 0) break;
    }
    if (open > 0) Bad("expected '}' before end of string");
    *i = at + 1;
    if (name_end == std::string::npos) name_end = at;
    char conversion = 0;
    size_t spec = name_end;
    if (spec < at && text[spec] == '!') {
      if (spec + 1 >= at) Bad("end of string while looking for conversion specifier");
      conversion = text[spec + 1];
      spec += 2;
      if (spec < at && text[spec] != ':') Bad("expected ':' after conversion specifier");
    }
    Value value = Lookup(text.substr(begin, name_end - begin));
    if (conversion == 's') {
      value = Value::String(Text(run_, value));
    } else if (conversion == 'r') {
      value = Value::String(Repr(run_, value));
    } else if (conversion != 0) {
      Bad(absl::StrCat("Unknown conversion specifier ", std::string(1, conversion)));
    }
    const std::string inner = spec < at ? text.substr(spec + 1, at - spec - 1) : "";
    return FormatSpec(run_, value, Format(inner, depth - 1));
  }

  Value First(const std::string& name) {
    std::optional<int64_t> number = NumberIn(name);
    if (name.empty()) {
      if (manual_)
        Bad("cannot switch from manual field specification to automatic field numbering");
      number = automatic_++;
    } else if (number.has_value()) {
      if (automatic_ > 0) {
        Bad("cannot switch from manual field specification to automatic field numbering");
      }
      manual_ = true;
    }
    if (number.has_value()) {
      if (mapping_ == nullptr && *number < static_cast<int64_t>(args_.positional.size())) {
        return args_.positional[static_cast<size_t>(*number)];
      }
      throw Error(ErrorKind::kLookup, "Replacement index out of range for positional args tuple");
    }
    if (mapping_ != nullptr) {
      if (!mapping_->Is(Kind::kDict)) {
        throw Error(ErrorKind::kUnsupported, "format_map with other than a dict");
      }
      const Value* found = mapping_->As<DictObject>().Find(std::string_view(name));
      if (found != nullptr) return *found;
    } else if (const Value* found = args_.Named(name)) {
      return *found;
    }
    throw Error(ErrorKind::kLookup, Quoted(name));
  }

  // "0.name[key].other"
  Value Lookup(const std::string& path) {
    size_t i = std::min(path.find_first_of(".["), path.size());
    Value value = First(path.substr(0, i));
    while (i < path.size()) {
      if (path[i] == '.') {
        const size_t end = std::min(path.find_first_of(".[", i + 1), path.size());
        if (end == i + 1) Bad("Empty attribute in format string");
        value = GetAttribute(run_, value, path.substr(i + 1, end - i - 1));
        i = end;
      } else if (path[i] == '[') {
        const size_t end = path.find(']', i);
        if (end == std::string::npos) Bad("Missing ']' in format string");
        const std::string key = path.substr(i + 1, end - i - 1);
        if (key.empty()) Bad("Empty attribute in format string");
        const auto number = NumberIn(key);
        value = GetItem(run_, value, number.has_value() ? Value::Int(*number) : Value::String(key));
        i = end + 1;
      } else {
        Bad("Only '.' or '[' may follow ']' in format field specifier");
      }
    }
    return value;
  }

  Run& run_;
  const Arguments& args_;
  const Value* mapping_;
  int64_t automatic_ = 0;
  bool manual_ = false;
};

}  // namespace

std::string FormatBraces(Run& run, const std::string& text, const Arguments& args,
                         const Value* mapping) {
  run.Make(static_cast<int64_t>(text.size()));
  return Braces(run, args, mapping).Format(text, 2);
}

}  // namespace fttrain::jinja
