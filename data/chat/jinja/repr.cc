#include "absl/strings/str_cat.h"
#include "data/chat/jinja/loop.h"
#include "data/chat/jinja/macro.h"
#include "data/chat/jinja/operators.h"
#include "data/chat/jinja/text.h"

namespace fttrain::jinja {
namespace {

std::string ListText(Run& run, const std::vector<Value>& items, const char* open,
                     const char* close) {
  std::string out = open;
  bool first = true;
  for (const Value& item : items) {
    if (!first) out += ", ";
    first = false;
    const std::string one = Repr(run, item);
    run.Make(static_cast<int64_t>(one.size()));
    out += one;
  }
  return out + close;
}

std::string DictText(Run& run, const DictObject& dict) {
  std::string out = "{";
  for (const auto& [key, value] : dict.entries) {
    if (out.size() > 1) out += ", ";
    const std::string one = absl::StrCat(Repr(run, key), ": ", Repr(run, value));
    run.Make(static_cast<int64_t>(one.size()));
    out += one;
  }
  return out + "}";
}

std::string ViewText(Run& run, const Value& view) {
  return absl::StrCat(TypeName(view), "(", ListText(run, ItemsOf(run, view), "[", "]"), ")");
}

std::string RangeText(const RangeObject& range) {
  const std::string step = range.step == 1 ? "" : absl::StrCat(", ", range.step);
  return absl::StrCat("range(", range.start, ", ", range.stop, step, ")");
}

}  // namespace

std::string Repr(Run& run, const Value& value) {
  const Run::Deeper deeper(run);
  run.Step();
  switch (value.kind()) {
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "None";
    case Kind::kBool:
      return value.boolean() ? "True" : "False";
    case Kind::kInt:
      return absl::StrCat(value.integer());
    case Kind::kFloat:
      return RealText(value.real());
    case Kind::kString:
      run.Make(static_cast<int64_t>(value.text().size()));
      return value.markup() ? absl::StrCat("Markup(", Quoted(value.text()), ")")
                            : Quoted(value.text());
    case Kind::kList:
      return ListText(run, value.items(), "[", "]");
    case Kind::kTuple:
      return ListText(run, value.items(), "(", value.items().size() == 1 ? ",)" : ")");
    case Kind::kDict:
      return DictText(run, value.As<DictObject>());
    case Kind::kRange:
      return RangeText(value.As<RangeObject>());
    case Kind::kView:
      return ViewText(run, value);
    case Kind::kNamespace:
      return absl::StrCat("<Namespace ", DictText(run, *value.As<NamespaceObject>().attributes),
                          ">");
    case Kind::kMacro:
      return MacroText(value);
    case Kind::kLoop: {
      auto& loop = value.As<LoopObject>();
      return absl::StrCat("<LoopContext ", loop.index0 + 1, "/", loop.Length(run), ">");
    }
    case Kind::kSlice: {
      const auto& slice = value.As<SliceObject>();
      return absl::StrCat("slice(", Repr(run, slice.start), ", ", Repr(run, slice.stop), ", ",
                          Repr(run, slice.step), ")");
    }
    case Kind::kIterator:
    case Kind::kFunction:
    case Kind::kCycler:
      break;
  }
  throw Error(ErrorKind::kUnsupported,
              absl::StrCat("printing a ", TypeName(value),
                           " is not supported: Python writes its address in memory"));
}

std::string Text(Run& run, const Value& value) {
  if (value.Is(Kind::kString)) return value.text();
  if (value.Is(Kind::kUndefined)) return "";
  return Repr(run, value);
}

}  // namespace fttrain::jinja
