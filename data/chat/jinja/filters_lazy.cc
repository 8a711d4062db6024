#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/chat/jinja/filters.h"
#include "data/chat/jinja/methods.h"
#include "data/chat/jinja/operators.h"
#include "data/chat/jinja/text.h"

namespace fttrain::jinja {
namespace {

int DepthOf(const Arguments& args) {
  int depth = 1;
  for (const Value& value : args.positional) depth = std::max(depth, value.depth());
  for (const auto& [name, value] : args.named) depth = std::max(depth, value.depth());
  return depth;
}

// A generator that begins with `start` when its first item is asked for, as Python's do: errors of
// its arguments come only then. `start` gives what makes the items, or null for none.
using Next = std::function<bool(Run&, Value*)>;
Value Generator(std::function<Next(Run&)> start, int depth) {
  return Iterator(
      [start = std::move(start), next = Next()](Run& run, Value* out) mutable {
        run.Step();
        if (start != nullptr) {
          next = start(run);
          start = nullptr;
        }
        if (next == nullptr) return false;
        if (next(run, out)) return true;
        next = nullptr;
        return false;
      },
      depth);
}

void NeedValue(const char* filter, const Arguments& args) {
  if (args.positional.empty()) {
    throw Error(ErrorKind::kType, absl::StrCat(filter, ": missing a required argument: 'value'"));
  }
}

// What map applies to each item.
std::function<Value(Run&, Value)> Mapping(const Arguments& args) {
  if (args.positional.size() == 1 && args.Named("attribute") != nullptr) {
    for (const auto& [name, value] : args.named) {
      if (name == "attribute" || name == "default") continue;
      throw Error(ErrorKind::kRuntime, absl::StrCat("Unexpected keyword argument ", Quoted(name)));
    }
    const AttributeGetter getter(args.Named("attribute"), args.Named("default"));
    return [getter](Run& run, Value item) { return getter(run, std::move(item)); };
  }
  if (args.positional.size() < 2) {
    throw Error(ErrorKind::kRuntime, "map requires a filter argument");
  }
  return [args](Run& run, Value item) {
    const Value& name = args.positional[1];
    if (!name.Is(Kind::kString)) throw Error(ErrorKind::kRuntime, "map: no such filter");
    Arguments inner;
    inner.positional = {std::move(item)};
    inner.positional.insert(inner.positional.end(), args.positional.begin() + 2,
                            args.positional.end());
    inner.named = args.named;
    const Run::Deeper deeper(run);
    return CallFilter(run, name.text(), inner);
  };
}

Value Map(Run&, Arguments& args) {
  NeedValue("map", args);
  return Generator(
      [args](Run& run) -> Next {
        if (!Truth(args.positional[0])) return nullptr;
        return [map = Mapping(args), items = Iterate(run, args.positional[0])](Run& r, Value* out) {
          Value item;
          if (!items->next(r, &item)) return false;
          *out = map(r, std::move(item));
          return true;
        };
      },
      DepthOf(args));
}

// Whether an item is chosen: by a test, or by being true.
std::function<bool(Run&, Value)> Choosing(const Arguments& args, bool by_attribute) {
  size_t used = 1;
  AttributeGetter getter(nullptr);
  if (by_attribute) {
    if (args.positional.size() < 2) {
      throw Error(ErrorKind::kRuntime, "Missing parameter for attribute name");
    }
    getter = AttributeGetter(&args.positional[1]);
    used = 2;
  }
  if (args.positional.size() <= used) {
    return [getter](Run& run, Value item) { return Truth(getter(run, std::move(item))); };
  }
  return [getter, used, args](Run& run, Value item) {
    const Value& name = args.positional[used];
    Arguments inner;
    inner.positional = {getter(run, std::move(item))};
    inner.positional.insert(inner.positional.end(),
                            args.positional.begin() + static_cast<std::ptrdiff_t>(used) + 1,
                            args.positional.end());
    inner.named = args.named;
    if (!name.Is(Kind::kString)) throw Error(ErrorKind::kRuntime, "select: no such test");
    const Run::Deeper deeper(run);
    return CallTest(run, name.text(), inner);
  };
}

template <bool kKeep, bool kByAttribute>
Value Select(Run&, Arguments& args) {
  NeedValue("select", args);
  return Generator(
      [args](Run& run) -> Next {
        if (!Truth(args.positional[0])) return nullptr;
        return [choose = Choosing(args, kByAttribute), items = Iterate(run, args.positional[0])](
                   Run& r, Value* out) {
          for (Value item; items->next(r, &item);) {
            if (choose(r, item) != kKeep) continue;
            *out = std::move(item);
            return true;
          }
          return false;
        };
      },
      DepthOf(args));
}

Value Items(Run&, Arguments& args) {
  const Parameters p("items", args, {"value"}, 1);
  const Value value = p[0];
  return Generator(
      [value](Run& run) -> Next {
        if (value.Is(Kind::kUndefined)) return nullptr;
        if (!value.Is(Kind::kDict)) {
          throw Error(ErrorKind::kType, "Can only get item pairs from a mapping.");
        }
        auto view = std::make_shared<ViewObject>();
        view->what = ViewObject::kItems;
        view->dict = std::static_pointer_cast<DictObject>(value.object());
        return Iterate(run, Value::Of(Kind::kView, std::move(view)))->next;
      },
      value.depth());
}

Value Unique(Run&, Arguments& args) {
  const Parameters p("unique", args, {"value", "case_sensitive", "attribute"}, 1);
  const AttributeGetter getter(p.Has(2) ? &p[2] : nullptr);
  return Generator(
      [value = p[0], sensitive = p.Flag(1, false), getter](Run& run) -> Next {
        return [items = Iterate(run, value), seen = std::make_shared<DictObject>(), sensitive,
                getter](Run& r, Value* out) {
          for (Value item; items->next(r, &item);) {
            Value key = getter(r, item);
            if (!sensitive) key = LowerIfText(key);
            r.Step(key.weight() / 16);
            if (seen->Find(key) != nullptr) continue;
            r.Make(static_cast<int64_t>(4 * sizeof(Value)));
            seen->Set(key, Value::None());
            *out = std::move(item);
            return true;
          }
          return false;
        };
      },
      DepthOf(args));
}

Value Batch(Run&, Arguments& args) {
  const Parameters p("batch", args, {"value", "linecount", "fill_with"}, 2);
  return Generator(
      [value = p[0], count = p[1], fill = p.Or(2, Value::None())](Run& run) -> Next {
        return [items = Iterate(run, value), count, fill, pending = std::optional<Value>()](
                   Run& r, Value* out) mutable {
          std::vector<Value> row;
          if (pending.has_value()) row.push_back(*std::exchange(pending, std::nullopt));
          for (Value item; items->next(r, &item);) {
            if (Equal(Value::Int(static_cast<int64_t>(row.size())), count)) {
              pending = std::move(item);
              *out = Value::List(std::move(row));
              return true;
            }
            r.Make(static_cast<int64_t>(sizeof(Value)));
            row.push_back(std::move(item));
          }
          if (row.empty()) return false;
          if (!fill.Is(Kind::kNone)) {
            const int64_t missing = Index(count) - static_cast<int64_t>(row.size());
            if (missing > r.max_output()) r.Make(INT64_MAX);
            r.Make(std::max<int64_t>(missing, 0) * static_cast<int64_t>(sizeof(Value)));
            for (int64_t i = 0; i < missing; ++i) row.push_back(fill);
          }
          *out = Value::List(std::move(row));
          return true;
        };
      },
      DepthOf(args));
}

Value Slice(Run&, Arguments& args) {
  const Parameters p("slice", args, {"value", "slices", "fill_with"}, 2);
  return Generator(
      [value = p[0], slices = p[1], fill = p.Or(2, Value::None())](Run& run) -> Next {
        const Value all = Value::List(ItemsOf(run, value));
        const int64_t count = Index(slices), length = static_cast<int64_t>(all.items().size());
        if (count == 0) throw Error(ErrorKind::kArithmetic, "integer division or modulo by zero");
        return [all, count, fill, each = length / count, extra = length % count, i = int64_t{0},
                offset = int64_t{0}](Run& r, Value* out) mutable {
          if (i >= count) return false;
          const int64_t start = offset + i * each;
          if (i < extra) ++offset;
          const int64_t end = offset + (i + 1) * each;
          std::vector<Value> part(all.items().begin() + start, all.items().begin() + end);
          r.Make(static_cast<int64_t>((part.size() + 1) * sizeof(Value)));
          if (!fill.Is(Kind::kNone) && i >= extra) part.push_back(fill);
          ++i;
          *out = Value::List(std::move(part));
          return true;
        };
      },
      DepthOf(args));
}

}  // namespace

const std::vector<FilterEntry>& LazyFilters() {
  static const std::vector<FilterEntry> filters = {
      {"batch", Batch},
      {"items", Items},
      {"map", Map},
      {"reject", Select<false, false>},
      {"rejectattr", Select<false, true>},
      {"select", Select<true, false>},
      {"selectattr", Select<true, true>},
      {"slice", Slice},
      {"unique", Unique},
  };
  return filters;
}

}  // namespace fttrain::jinja
