#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/chat/jinja/filters.h"
#include "data/chat/jinja/format.h"
#include "data/chat/jinja/markup.h"
#include "data/chat/jinja/methods.h"
#include "data/chat/jinja/operators.h"
#include "data/chat/jinja/string_split.h"
#include "data/chat/jinja/text.h"
#include "data/text/unicode.h"

namespace fttrain::jinja {

std::string Escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

namespace {

void RefuseMarkup(const Value& value) {
  if (!value.markup()) return;
  throw Error(ErrorKind::kUnsupported, "this filter is not supported behind safe or escape");
}

// str() that leaves Markup as it is.
std::string SoftText(Run& run, const Value& value) {
  std::string text = Text(run, value);
  run.Make(static_cast<int64_t>(text.size()));
  return text;
}

template <std::string (*kChange)(std::string_view)>
Value Changed(Run& run, Arguments& args) {
  const Parameters p("filter", args, {"s"}, 1);
  return Value::String(kChange(SoftText(run, p[0])), p[0].markup());
}

Value StringOf(Run& run, Arguments& args) {
  const Parameters p("string", args, {"s"}, 1, 1);
  return Value::String(SoftText(run, p[0]), p[0].markup());
}

Value Trim(Run& run, Arguments& args) {
  const Parameters p("trim", args, {"value", "chars"}, 1);
  const std::string text = SoftText(run, p[0]);
  const std::string* chars = p.Given(1) ? &p.String(1) : nullptr;
  return Value::String(std::string(Strip(text, chars, true, true)), p[0].markup());
}

Value Center(Run& run, Arguments& args) {
  const Parameters p("center", args, {"value", "width"}, 1);
  return Value::String(Justify(run, SoftText(run, p[0]), p.Int(1, 80), " ", 0), p[0].markup());
}

Value TitleFilter(Run& run, Arguments& args) {
  const Parameters p("title", args, {"s"}, 1);
  RefuseMarkup(p[0]);
  const std::string text = SoftText(run, p[0]);
  const auto separates = [](char32_t c) {
    return c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || IsSpace(c);
  };
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const bool between = separates(Utf8CodePoint(text, i));
    size_t end = i;
    while (end < text.size() && separates(Utf8CodePoint(text, end)) == between) {
      end += Utf8Length(static_cast<unsigned char>(text[end]));
    }
    const std::string_view piece = std::string_view(text).substr(i, end - i);
    const size_t first = ByteOffset(piece, 1);
    out += Upper(piece.substr(0, first)) + Lower(piece.substr(first));
    i = end;
  }
  return Value::String(std::move(out));
}

Value ReplaceFilter(Run& run, Arguments& args) {
  const Parameters p("replace", args, {"s", "old", "new", "count"}, 3);
  const int64_t count = p.Given(3) ? p.Int(3, -1) : -1;
  return Value::String(
      ReplaceText(run, SoftText(run, p[0]), Text(run, p[1]), Text(run, p[2]), count));
}

const std::string& NeedText(const char* filter, const Value& value) {
  if (value.Is(Kind::kUndefined)) FailUndefined(value);
  RefuseMarkup(value);
  if (value.Is(Kind::kString)) return value.text();
  throw Error(ErrorKind::kType, absl::StrCat(filter, ": expected str, not ", TypeName(value)));
}

Value Indent(Run& run, Arguments& args) {
  const Parameters p("indent", args, {"s", "width", "first", "blank"}, 1);
  const std::string& text = NeedText("indent", p[0]);
  const bool by_text = p.Has(1) && p[1].Is(Kind::kString);
  const int64_t width = by_text ? 0 : std::max<int64_t>(p.Int(1, 4), 0);
  run.Make(width);
  const std::string indention =
      by_text ? p[1].text() : std::string(static_cast<size_t>(width), ' ');
  std::string out = p.Flag(2, false) ? indention : "";
  bool first = true;
  ForEachLine(text + "\n", false, [&](std::string_view line) {
    run.Make(static_cast<int64_t>(line.size() + indention.size() + 1));
    if (!first) {
      out += '\n';
      if (p.Flag(3, false) || !line.empty()) out += indention;
    }
    out += line;
    first = false;
  });
  return Value::String(std::move(out));
}

Value Truncate(Run& run, Arguments& args) {
  const Parameters p("truncate", args, {"s", "length", "killwords", "end", "leeway"}, 1);
  RefuseMarkup(p[0]);
  const std::string end = p.Has(3) ? p.String(3) : "...";
  const int64_t length = p.Int(1, 255), leeway = p.Given(4) ? p.Int(4, 5) : 5;
  const auto ending = static_cast<int64_t>(LengthOf(end));
  if (length < ending || leeway < 0) {
    throw Error(ErrorKind::kRuntime,
                absl::StrCat("truncate: length ", length, " is less than that of the end, ", ending,
                             ", or leeway ", leeway, " is negative"));
  }
  if (leeway > INT64_MAX - length || Length(run, p[0]) <= length + leeway) return p[0];
  const std::string& text = NeedText("truncate", p[0]);
  run.Make(static_cast<int64_t>(text.size()));
  std::string kept = text.substr(0, ByteOffset(text, static_cast<size_t>(length - ending)));
  if (!p.Flag(2, false)) kept = kept.substr(0, std::min(kept.rfind(' '), kept.size()));
  return Value::String(kept + end);
}

Value FormatFilter(Run& run, Arguments& args) {
  RefuseMarkup(args.positional[0]);
  const std::string text = SoftText(run, args.positional[0]);
  std::vector<Value> values(args.positional.begin() + 1, args.positional.end());
  if (!values.empty() && !args.named.empty()) {
    throw Error(ErrorKind::kRuntime,
                "can't handle positional and keyword arguments at the same time");
  }
  if (args.named.empty()) {
    return Value::String(FormatPercent(run, text, Value::Tuple(std::move(values))));
  }
  auto named = std::make_shared<DictObject>();
  for (const auto& [name, value] : args.named) named->Set(Value::String(name), value);
  return Value::String(FormatPercent(run, text, Dict(std::move(named))));
}

Value Safe(Run& run, Arguments& args) {
  const Parameters p("safe", args, {"value"}, 1);
  return Value::String(SoftText(run, p[0]), true);
}

Value EscapeFilter(Run& run, Arguments& args) {
  const Parameters p("escape", args, {"s"}, 1, 1);
  if (p[0].markup()) return p[0];
  const std::string text = SoftText(run, p[0]);
  run.Make(static_cast<int64_t>(text.size() * 5));
  return Value::String(Escape(text), true);
}

Value ForceEscape(Run& run, Arguments& args) {
  const Parameters p("forceescape", args, {"value"}, 1);
  const std::string text = SoftText(run, p[0]);
  run.Make(static_cast<int64_t>(text.size() * 5));
  return Value::String(Escape(text), true);
}

std::string UrlQuoted(Run& run, const Value& value, bool query) {
  const std::string text = SoftText(run, value);
  run.Make(static_cast<int64_t>(text.size() * 3));
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                       std::string_view("_.-~").find(c) != std::string_view::npos;
    if (plain || (c == '/' && !query)) {
      out += c;
    } else if (c == ' ' && query) {
      out += '+';
    } else {
      absl::StrAppendFormat(&out, "%%%02X", static_cast<unsigned char>(c));
    }
  }
  return out;
}

Value UrlEncode(Run& run, Arguments& args) {
  const Parameters p("urlencode", args, {"value"}, 1);
  const Value& value = p[0];
  const bool one = value.Is(Kind::kString) || value.IsNumber() || value.Is(Kind::kNone) ||
                   value.Is(Kind::kMacro) || value.Is(Kind::kFunction) ||
                   value.Is(Kind::kNamespace) || value.Is(Kind::kCycler);
  if (one) return Value::String(UrlQuoted(run, value, false));
  Value pairs = value;
  if (value.Is(Kind::kDict)) {
    auto view = std::make_shared<ViewObject>();
    view->what = ViewObject::kItems;
    view->dict = std::static_pointer_cast<DictObject>(value.object());
    pairs = Value::Of(Kind::kView, std::move(view));
  }
  std::string out;
  for (const Value& pair : ItemsOf(run, pairs)) {
    const std::vector<Value> items = ItemsOf(run, pair);
    if (items.size() != 2) throw Error(ErrorKind::kValue, "urlencode: an item is not a pair");
    if (!out.empty()) out += '&';
    absl::StrAppend(&out, UrlQuoted(run, items[0], true), "=", UrlQuoted(run, items[1], true));
  }
  return Value::String(std::move(out));
}

Value WordCount(Run& run, Arguments& args) {
  const Parameters p("wordcount", args, {"s"}, 1);
  int64_t count = 0;
  bool inside = false;
  for (const char32_t c : CodePoints(SoftText(run, p[0]))) {
    const bool word = c == '_' || IsAlphanumeric(c);
    count += word && !inside ? 1 : 0;
    inside = word;
  }
  return Value::Int(count);
}

}  // namespace

const std::vector<FilterEntry>& TextFilters() {
  static const std::vector<FilterEntry> filters = {
      {"capitalize", Changed<Capitalize>},
      {"center", Center},
      {"e", EscapeFilter},
      {"escape", EscapeFilter},
      {"forceescape", ForceEscape},
      {"format", FormatFilter},
      {"indent", Indent},
      {"lower", Changed<Lower>},
      {"replace", ReplaceFilter},
      {"safe", Safe},
      {"string", StringOf},
      {"title", TitleFilter},
      {"trim", Trim},
      {"truncate", Truncate},
      {"upper", Changed<Upper>},
      {"urlencode", UrlEncode},
      {"wordcount", WordCount},
  };
  return filters;
}

}  // namespace fttrain::jinja
