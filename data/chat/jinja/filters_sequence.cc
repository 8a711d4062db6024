#include <algorithm>

#include "absl/strings/str_cat.h"
#include "data/chat/jinja/filters.h"
#include "data/chat/jinja/methods.h"
#include "data/chat/jinja/operators.h"
#include "data/chat/jinja/text.h"

namespace fttrain::jinja {
namespace {

const Value* Optional(const Parameters& p, size_t i) { return p.Has(i) ? &p[i] : nullptr; }

Value Join(Run& run, Arguments& args) {
  const Parameters p("join", args, {"value", "d", "attribute"}, 1);
  const AttributeGetter getter(Optional(p, 2));
  const std::string between = p.Has(1) ? Text(run, p[1]) : "";
  std::string out;
  bool first = true;
  const auto items = Iterate(run, p[0]);
  for (Value item; items->next(run, &item);) {
    const std::string text = Text(run, getter(run, std::move(item)));
    run.Make(static_cast<int64_t>(text.size() + between.size()));
    if (static_cast<int64_t>(out.size()) > run.max_output()) run.Make(INT64_MAX);
    if (!first) out += between;
    first = false;
    out += text;
  }
  return Value::String(std::move(out));
}

Value ListOf(Run& run, Arguments& args) {
  const Parameters p("list", args, {"value"}, 1);
  return Value::List(ItemsOf(run, p[0]));
}

Value First(Run& run, Arguments& args) {
  const Parameters p("first", args, {"seq"}, 1);
  Value item;
  if (Iterate(run, p[0])->next(run, &item)) return item;
  return Undefined("No first item, sequence was empty.");
}

bool IsReversible(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kString:
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kDict:
    case Kind::kRange:
    case Kind::kView:
      return true;
    default:
      return false;
  }
}

Value Last(Run& run, Arguments& args) {
  const Parameters p("last", args, {"seq"}, 1);
  if (!IsReversible(p[0])) {
    throw Error(ErrorKind::kType, absl::StrCat("'", TypeName(p[0]), "' object is not reversible"));
  }
  if (p[0].Is(Kind::kList) && !p[0].items().empty()) return p[0].items().back();
  std::vector<Value> items = ItemsOf(run, p[0]);
  return items.empty() ? Undefined("No last item, sequence was empty.") : items.back();
}

Value Reverse(Run& run, Arguments& args) {
  const Parameters p("reverse", args, {"value"}, 1);
  if (p[0].Is(Kind::kString)) {
    run.Make(static_cast<int64_t>(p[0].text().size()));
    std::u32string text = CodePoints(p[0].text());
    std::reverse(text.begin(), text.end());
    return Value::String(Utf8(text), p[0].markup());
  }
  const bool lazy = IsReversible(p[0]);
  std::vector<Value> items;
  try {
    items = ItemsOf(run, p[0]);
  } catch (const Error& error) {
    if (error.kind != ErrorKind::kType) throw;
    throw Error(ErrorKind::kRuntime, "argument must be iterable");
  }
  std::reverse(items.begin(), items.end());
  Value reversed = Value::List(std::move(items));
  if (!lazy) return reversed;
  return Iterator(
      [reversed, i = size_t{0}](Run& r, Value* out) mutable {
        r.Step();
        if (i >= reversed.items().size()) return false;
        *out = reversed.items()[i++];
        return true;
      },
      reversed.depth(), "list_reverseiterator");
}

// Values with the keys they are compared by.
struct Keyed {
  Value key, value;
};

void SortByKey(Run& run, bool reverse, std::vector<Keyed>* items) {
  std::stable_sort(items->begin(), items->end(), [&](const Keyed& a, const Keyed& b) {
    const Value &low = reverse ? b.key : a.key, &high = reverse ? a.key : b.key;
    return Compare(run, low, high, "<") < 0;
  });
}

Value Sorted(Run& run, bool reverse, std::vector<Keyed> items) {
  SortByKey(run, reverse, &items);
  std::vector<Value> out;
  for (Keyed& item : items) out.push_back(std::move(item.value));
  return Value::List(std::move(out));
}

Value Sort(Run& run, Arguments& args) {
  const Parameters p("sort", args, {"value", "reverse", "case_sensitive", "attribute"}, 1);
  std::vector<AttributeGetter> getters;
  if (p.Has(3) && p[3].Is(Kind::kString)) {  // "name,other.name"
    const std::string& text = p[3].text();
    for (size_t begin = 0; begin <= text.size();) {
      const size_t end = std::min(text.find(',', begin), text.size());
      const Value part = Value::String(text.substr(begin, end - begin));
      getters.emplace_back(&part);
      begin = end + 1;
    }
  } else {
    getters.emplace_back(Optional(p, 3));
  }
  const bool sensitive = p.Flag(2, false);
  std::vector<Keyed> items;
  for (Value& item : ItemsOf(run, p[0])) {
    std::vector<Value> keys;
    for (const AttributeGetter& getter : getters) {
      const Value key = getter(run, item);
      keys.push_back(sensitive ? key : LowerIfText(key));
    }
    items.push_back({Value::List(std::move(keys)), std::move(item)});
  }
  return Sorted(run, p.Flag(1, false), std::move(items));
}

Value DictSort(Run& run, Arguments& args) {
  const Parameters p("dictsort", args, {"value", "case_sensitive", "by", "reverse"}, 1);
  if (p[0].Is(Kind::kUndefined)) FailUndefined(p[0]);
  const std::string by = p.Has(2) && p[2].Is(Kind::kString) ? p[2].text() : p.Has(2) ? "" : "key";
  if (by != "key" && by != "value") {
    throw Error(ErrorKind::kRuntime, "You can only sort by either \"key\" or \"value\"");
  }
  if (!p[0].Is(Kind::kDict)) {
    throw Error(ErrorKind::kType,
                absl::StrCat("'", TypeName(p[0]), "' object has no attribute 'items'"));
  }
  const bool sensitive = p.Flag(1, false);
  std::vector<Keyed> items;
  for (const auto& [key, value] : p[0].As<DictObject>().entries) {
    const Value& by_what = by == "key" ? key : value;
    items.push_back({sensitive ? by_what : LowerIfText(by_what), Value::Tuple({key, value})});
  }
  return Sorted(run, p.Flag(3, false), std::move(items));
}

Value GroupBy(Run& run, Arguments& args) {
  const Parameters p("groupby", args, {"value", "attribute", "default", "case_sensitive"}, 2);
  const AttributeGetter getter(&p[1], Optional(p, 2));
  const bool sensitive = p.Flag(3, false);
  std::vector<Keyed> items;
  for (Value& item : ItemsOf(run, p[0])) {
    const Value key = getter(run, item);
    items.push_back({sensitive ? key : LowerIfText(key), std::move(item)});
  }
  SortByKey(run, false, &items);
  std::vector<Value> out;
  for (size_t begin = 0; begin < items.size();) {
    std::vector<Value> group;
    size_t end = begin;
    while (end < items.size() && Equal(run, items[begin].key, items[end].key)) {
      group.push_back(items[end++].value);
    }
    // A key that equals not even itself (NaN) is a group of its own.
    if (end == begin) group.push_back(items[end++].value);
    const Value grouper = sensitive ? items[begin].key : getter(run, group[0]);
    out.push_back(Value::Group(grouper, Value::List(std::move(group))));
    begin = end;
  }
  return Value::List(std::move(out));
}

template <bool kMax>
Value Extreme(Run& run, Arguments& args) {
  const Parameters p(kMax ? "max" : "min", args, {"value", "case_sensitive", "attribute"}, 1);
  const AttributeGetter getter(Optional(p, 2));
  const bool sensitive = p.Flag(1, false);
  const auto items = Iterate(run, p[0]);
  Value best, best_key;
  bool any = false;
  for (Value item; items->next(run, &item);) {
    Value key = getter(run, item);
    if (!sensitive) key = LowerIfText(key);
    const int order = any ? Compare(run, key, best_key, kMax ? ">" : "<") : 0;
    const bool better = !any || (order != kUnordered && (kMax ? order > 0 : order < 0));
    if (better) {
      best = std::move(item);
      best_key = std::move(key);
    }
    any = true;
  }
  return any ? best : Undefined("No aggregated item, sequence was empty.");
}

Value Sum(Run& run, Arguments& args) {
  const Parameters p("sum", args, {"iterable", "attribute", "start"}, 1);
  const AttributeGetter getter(Optional(p, 1));
  Value sum = p.Or(2, Value::Int(0));
  if (sum.Is(Kind::kString)) {
    throw Error(ErrorKind::kType, "sum() can't sum strings [use ''.join(seq) instead]");
  }
  const auto items = Iterate(run, p[0]);
  for (Value item; items->next(run, &item);) {
    sum = Apply(run, Operator::kAdd, sum, getter(run, std::move(item)));
  }
  return sum;
}

}  // namespace

const std::vector<FilterEntry>& SequenceFilters() {
  static const std::vector<FilterEntry> filters = {
      {"dictsort", DictSort}, {"first", First}, {"groupby", GroupBy},   {"join", Join},
      {"last", Last},         {"list", ListOf}, {"max", Extreme<true>}, {"min", Extreme<false>},
      {"reverse", Reverse},   {"sort", Sort},   {"sum", Sum},
  };
  return filters;
}

}  // namespace fttrain::jinja
