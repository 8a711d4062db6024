#include "data/chat/jinja/filters.h"

#include <algorithm>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "data/chat/jinja/methods.h"
#include "data/chat/jinja/operators.h"
#include "data/chat/jinja/text.h"

namespace fttrain::jinja {
namespace {

Value Default(Run&, Arguments& args) {
  const Parameters p("default", args, {"value", "default_value", "boolean"}, 1);
  const bool absent = p[0].Is(Kind::kUndefined) || (p.Flag(2, false) && !Truth(p[0]));
  return absent ? p.Or(1, Value::String("")) : p[0];
}

Value Attr(Run& run, Arguments& args) {
  const Parameters p("attr", args, {"obj", "name"}, 2);
  return GetAttributeOnly(run, p[0], p.String(1));
}

Value Count(Run& run, Arguments& args) {
  const Parameters p("len", args, {"obj"}, 1, 1);
  return Value::Int(Length(run, p[0]));
}

// Jinja2 has them; what they give depends on chance, or is meant for HTML pages.
bool IsRefused(const std::string& name) {
  for (const char* refused : {"pprint", "random", "striptags", "urlize", "wordwrap", "xmlattr"}) {
    if (name == refused) return true;
  }
  return false;
}

}  // namespace

Builtin FindFilter(const std::string& name) {
  static const auto* filters = [] {
    auto* all = new std::unordered_map<std::string, Builtin>({{"default", Default},
                                                              {"d", Default},
                                                              {"attr", Attr},
                                                              {"length", Count},
                                                              {"count", Count},
                                                              {"tojson", ToJson}});
    for (const auto* part :
         {&TextFilters(), &NumberFilters(), &SequenceFilters(), &LazyFilters()}) {
      all->insert(part->begin(), part->end());
    }
    return all;
  }();
  const auto found = filters->find(name);
  if (found != filters->end()) return found->second;
  if (IsRefused(name)) {
    throw Error(ErrorKind::kUnsupported,
                absl::StrCat("the filter '", name, "' is not supported in chat templates"));
  }
  return nullptr;
}

Value CallFilter(Run& run, const std::string& name, Arguments& args) {
  const Builtin filter = FindFilter(name);
  if (filter == nullptr) {
    throw Error(ErrorKind::kRuntime, absl::StrCat("No filter named ", Quoted(name), "."));
  }
  return filter(run, args);
}

AttributeGetter::AttributeGetter(const Value* attribute, const Value* fallback) {
  if (fallback != nullptr && !fallback->Is(Kind::kNone)) fallback_ = *fallback;
  if (attribute == nullptr || attribute->Is(Kind::kNone)) return;
  if (!attribute->Is(Kind::kString)) {
    parts_.push_back(*attribute);
    return;
  }
  const std::string& text = attribute->text();
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('.', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    const bool number =
        !part.empty() && part.size() < 18 &&
        std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
    parts_.push_back(number ? Value::Int(std::stoll(part)) : Value::String(part));
    begin = end + 1;
  }
}

Value AttributeGetter::operator()(Run& run, Value item) const {
  for (const Value& part : parts_) {
    item = GetItem(run, item, part);
    if (fallback_.has_value() && item.Is(Kind::kUndefined)) item = *fallback_;
  }
  return item;
}

int AttributeGetter::depth() const { return fallback_.has_value() ? fallback_->depth() : 1; }

Value LowerIfText(const Value& value) {
  return value.Is(Kind::kString) ? Value::String(Lower(value.text())) : value;
}

}  // namespace fttrain::jinja
