#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "data/chat/jinja/format.h"
#include "data/chat/jinja/methods.h"
#include "data/chat/jinja/operators.h"
#include "data/chat/jinja/string_split.h"
#include "data/chat/jinja/text.h"

namespace fttrain::jinja {
namespace {

using Method = Value (*)(Run&, const std::string&, Arguments&);

template <std::string (*kChange)(std::string_view)>
Value Changed(Run& run, const std::string& text, Arguments& args) {
  TakesNothing("str method", args);
  run.Make(static_cast<int64_t>(text.size()));
  return Value::String(kChange(text));
}

// All characters are `kIs`, and there is one.
template <bool (*kIs)(char32_t)>
Value All(Run& run, const std::string& text, Arguments& args) {
  TakesNothing("str method", args);
  run.Step(static_cast<int64_t>(text.size() / 16));
  const std::u32string points = CodePoints(text);
  return Value::Bool(!points.empty() && std::all_of(points.begin(), points.end(), kIs));
}

// There is a cased character, and all of them are `kIs`; title case counts as neither.
template <bool (*kIs)(char32_t), bool (*kOther)(char32_t)>
Value AllCased(Run& run, const std::string& text, Arguments& args) {
  TakesNothing("str method", args);
  run.Step(static_cast<int64_t>(text.size() / 16));
  bool any = false;
  for (const char32_t c : CodePoints(text)) {
    if (kOther(c) || IsTitle(c)) return Value::Bool(false);
    any = any || kIs(c);
  }
  return Value::Bool(any);
}

Value IsTitleCase(Run& run, const std::string& text, Arguments& args) {
  TakesNothing("istitle", args);
  run.Step(static_cast<int64_t>(text.size() / 16));
  bool any = false, inside = false;
  for (const char32_t c : CodePoints(text)) {
    const bool upper = IsUpper(c) || IsTitle(c), lower = IsLower(c);
    if ((upper && inside) || (lower && !inside)) return Value::Bool(false);
    inside = upper || lower;
    any = any || inside;
  }
  return Value::Bool(any);
}

template <bool kLeft, bool kRight>
Value Stripped(Run& run, const std::string& text, Arguments& args) {
  const Parameters p("strip", args, {"chars"}, 0, 1);
  run.Make(static_cast<int64_t>(text.size()));
  const std::string* chars = p.Given(0) ? &p.String(0) : nullptr;
  return Value::String(std::string(Strip(text, chars, kLeft, kRight)));
}

// text[start:end] of the methods that search, in bytes; nothing where it lies outside.
struct Part {
  std::string_view text;
  int64_t start = 0;  // in code points
  bool outside = false;
};

Part PartOf(const std::string& text, const Parameters& p, size_t first) {
  if (!p.Given(first) && !(p.Has(first + 1) && p.Given(first + 1))) return {text};
  const auto length = static_cast<int64_t>(LengthOf(text));
  const auto clip = [&](int64_t i) { return i < 0 ? std::max<int64_t>(i + length, 0) : i; };
  const int64_t start = p.Given(first) ? clip(Index(p[first])) : 0;
  const int64_t end = std::min(length, p.Given(first + 1) ? clip(Index(p[first + 1])) : length);
  if (start > end) return {{}, 0, true};
  const size_t from = ByteOffset(text, static_cast<size_t>(start));
  return {std::string_view(text).substr(from, ByteOffset(text, static_cast<size_t>(end)) - from),
          start};
}

template <bool kFromEnd, bool kMustBe>
Value Found(Run& run, const std::string& text, Arguments& args) {
  const Parameters p(kMustBe ? "index" : "find", args, {"sub", "start", "end"}, 1, 3);
  run.Step(static_cast<int64_t>(text.size() / 128));
  const Part part = PartOf(text, p, 1);
  const std::string& sub = p.String(0);
  const size_t at = part.outside ? std::string::npos
                    : kFromEnd   ? part.text.rfind(sub)
                                 : part.text.find(sub);
  if (at != std::string::npos) {
    return Value::Int(part.start + static_cast<int64_t>(LengthOf(part.text.substr(0, at))));
  }
  if (kMustBe) throw Error(ErrorKind::kValue, "substring not found");
  return Value::Int(-1);
}

Value Count(Run& run, const std::string& text, Arguments& args) {
  const Parameters p("count", args, {"sub", "start", "end"}, 1, 3);
  run.Step(static_cast<int64_t>(text.size() / 128));
  const Part part = PartOf(text, p, 1);
  const std::string& sub = p.String(0);
  if (part.outside) return Value::Int(0);
  if (sub.empty()) return Value::Int(static_cast<int64_t>(LengthOf(part.text)) + 1);
  int64_t count = 0;
  for (size_t at = part.text.find(sub); at != std::string::npos;
       at = part.text.find(sub, at + sub.size())) {
    ++count;
  }
  return Value::Int(count);
}

template <bool kEnd>
Value Affix(Run& run, const std::string& text, Arguments& args) {
  const char* name = kEnd ? "endswith" : "startswith";
  const Parameters p(name, args, {"affix", "start", "end"}, 1, 3);
  const Part part = PartOf(text, p, 1);
  const auto has = [&](const Value& affix) {
    run.Step();
    if (!affix.Is(Kind::kString)) {
      throw Error(
          ErrorKind::kType,
          absl::StrCat(name, " first arg must be str or a tuple of str, not ", TypeName(affix)));
    }
    if (part.outside) return false;
    return kEnd ? part.text.ends_with(affix.text()) : part.text.starts_with(affix.text());
  };
  if (!p[0].Is(Kind::kTuple)) return Value::Bool(has(p[0]));
  return Value::Bool(std::any_of(p[0].items().begin(), p[0].items().end(), has));
}

Value Replace(Run& run, const std::string& text, Arguments& args) {
  const Parameters p("replace", args, {"old", "new", "count"}, 2, 3);
  return Value::String(ReplaceText(run, text, p.String(0), p.String(1), p.Int(2, -1)));
}

Value Join(Run& run, const std::string& text, Arguments& args) {
  const Parameters p("join", args, {"iterable"}, 1, 1);
  std::string out;
  bool first = true;
  size_t i = 0;
  for (const Value& item : ItemsOf(run, p[0])) {
    if (!item.Is(Kind::kString)) {
      throw Error(ErrorKind::kType, absl::StrCat("sequence item ", i, ": expected str instance, ",
                                                 TypeName(item), " found"));
    }
    run.Make(static_cast<int64_t>(item.text().size() + text.size()));
    if (!first) out += text;
    out += item.text();
    first = false;
    ++i;
  }
  return Value::String(std::move(out));
}

template <int kSide>  // -1: text on the left, 0: in the middle, 1: on the right
Value Justified(Run& run, const std::string& text, Arguments& args) {
  const Parameters p("ljust", args, {"width", "fillchar"}, 1, 2);
  const std::string fill = p.Has(1) ? p.String(1) : " ";
  if (LengthOf(fill) != 1) {
    throw Error(ErrorKind::kType, "The fill character must be exactly one character long");
  }
  return Value::String(Justify(run, text, p.Int(0, 0), fill, kSide));
}

Value ZeroFilled(Run& run, const std::string& text, Arguments& args) {
  const Parameters p("zfill", args, {"width"}, 1, 1);
  const bool sign = !text.empty() && (text[0] == '+' || text[0] == '-');
  const std::string filled =
      Justify(run, sign ? text.substr(1) : text, p.Int(0, 0) - (sign ? 1 : 0), "0", 1);
  return Value::String(sign ? text.substr(0, 1) + filled : filled);
}

Value ExpandTabs(Run& run, const std::string& text, Arguments& args) {
  const Parameters p("expandtabs", args, {"tabsize"}, 0);
  const int64_t size = p.Int(0, 8);
  std::string out;
  int64_t column = 0;
  for (const char c : text) {
    if (c == '\t') {
      const int64_t spaces = size > 0 ? size - column % size : 0;
      run.Make(spaces);
      out.append(static_cast<size_t>(spaces), ' ');
      column += spaces;
      continue;
    }
    out += c;
    column = c == '\n' || c == '\r' ? 0 : column + ((c & 0xC0) != 0x80 ? 1 : 0);
  }
  return Value::String(std::move(out));
}

template <bool kEnd>
Value RemoveAffix(Run&, const std::string& text, Arguments& args) {
  const Parameters p(kEnd ? "removesuffix" : "removeprefix", args, {"affix"}, 1, 1);
  const std::string& affix = p.String(0);
  if (kEnd && text.ends_with(affix)) {
    return Value::String(text.substr(0, text.size() - affix.size()));
  }
  if (!kEnd && text.starts_with(affix)) return Value::String(text.substr(affix.size()));
  return Value::String(text);
}

Value Format(Run& run, const std::string& text, Arguments& args) {
  return Value::String(FormatBraces(run, text, args));
}

Value FormatMap(Run& run, const std::string& text, Arguments& args) {
  const Parameters p("format_map", args, {"mapping"}, 1, 1);
  return Value::String(FormatBraces(run, text, {}, &p[0]));
}

Value IsAsciiText(Run&, const std::string& text, Arguments& args) {
  TakesNothing("isascii", args);
  return Value::Bool(std::all_of(text.begin(), text.end(), [](char c) { return (c & 0x80) == 0; }));
}

Value IsIdentifierText(Run&, const std::string& text, Arguments& args) {
  TakesNothing("isidentifier", args);
  return Value::Bool(IsIdentifier(text));
}

Value IsPrintableText(Run&, const std::string& text, Arguments& args) {
  TakesNothing("isprintable", args);
  const std::u32string points = CodePoints(text);
  return Value::Bool(std::all_of(points.begin(), points.end(), IsPrintable));
}

const std::map<std::string, Method>& Methods() {
  static const std::map<std::string, Method> methods = {
      {"capitalize", Changed<Capitalize>},
      {"casefold", Changed<Casefold>},
      {"center", Justified<0>},
      {"count", Count},
      {"endswith", Affix<true>},
      {"expandtabs", ExpandTabs},
      {"find", Found<false, false>},
      {"format", Format},
      {"format_map", FormatMap},
      {"index", Found<false, true>},
      {"isalnum", All<IsAlphanumeric>},
      {"isalpha", All<IsAlpha>},
      {"isascii", IsAsciiText},
      {"isdecimal", All<IsDecimal>},
      {"isdigit", All<IsDigit>},
      {"isidentifier", IsIdentifierText},
      {"islower", AllCased<IsLower, IsUpper>},
      {"isnumeric", All<IsNumeric>},
      {"isprintable", IsPrintableText},
      {"isspace", All<IsSpace>},
      {"istitle", IsTitleCase},
      {"isupper", AllCased<IsUpper, IsLower>},
      {"join", Join},
      {"ljust", Justified<-1>},
      {"lower", Changed<Lower>},
      {"lstrip", Stripped<true, false>},
      {"partition", Partition<false>},
      {"removeprefix", RemoveAffix<false>},
      {"removesuffix", RemoveAffix<true>},
      {"replace", Replace},
      {"rfind", Found<true, false>},
      {"rindex", Found<true, true>},
      {"rjust", Justified<1>},
      {"rpartition", Partition<true>},
      {"rsplit", Split<true>},
      {"rstrip", Stripped<false, true>},
      {"split", Split<false>},
      {"splitlines", Lines},
      {"startswith", Affix<false>},
      {"strip", Stripped<true, true>},
      {"swapcase", Changed<SwapCase>},
      {"title", Changed<Title>},
      {"upper", Changed<Upper>},
      {"zfill", ZeroFilled},
  };
  return methods;
}

}  // namespace

std::optional<Value> StringMethod(const Value& text, const std::string& name) {
  const auto found = Methods().find(name);
  const bool refused = name == "encode" || name == "maketrans" || name == "translate";
  if (refused || (found != Methods().end() && text.markup())) {
    throw Error(ErrorKind::kUnsupported,
                absl::StrCat("'", TypeName(text), ".", name, "' is not supported"));
  }
  if (found == Methods().end()) return std::nullopt;
  const Method method = found->second;
  return Function(name, [text, method](Run& run, Arguments& args) {
    run.Step();
    return method(run, text.text(), args);
  });
}

}  // namespace fttrain::jinja
