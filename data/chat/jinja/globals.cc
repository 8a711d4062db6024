#include <ctime>
#include <map>

#include "absl/strings/str_cat.h"
#include "data/chat/jinja/library.h"
#include "data/chat/jinja/methods.h"
#include "data/chat/jinja/operators.h"
#include "data/chat/jinja/text.h"

namespace fttrain::jinja {
namespace {

// dict(mapping or pairs, **names).
std::shared_ptr<DictObject> MakeDict(Run& run, const Arguments& args) {
  auto dict = std::make_shared<DictObject>();
  if (args.positional.size() > 1) {
    throw Error(ErrorKind::kType,
                absl::StrCat("dict expected at most 1 argument, got ", args.positional.size()));
  }
  if (!args.positional.empty()) {
    const Value& from = args.positional[0];
    if (from.Is(Kind::kUndefined)) FailUndefined(from);
    if (from.Is(Kind::kDict)) {
      run.Step(from.weight() / 16);
      for (const auto& [key, value] : from.As<DictObject>().entries) dict->Set(key, value);
    } else {
      for (const Value& pair : ItemsOf(run, from)) {
        const std::vector<Value> items = ItemsOf(run, pair);
        if (items.size() != 2) {
          throw Error(ErrorKind::kValue,
                      absl::StrCat("dictionary update sequence element has length ", items.size(),
                                   "; 2 is required"));
        }
        run.Step(items[0].weight() / 16);
        dict->Set(items[0], items[1]);
      }
    }
  }
  for (const auto& [name, value] : args.named) dict->Set(Value::String(name), value);
  run.Make(static_cast<int64_t>(dict->entries.size() * 4 * sizeof(Value)));
  return dict;
}

Value MakeNamespace(Run& run, Arguments& args) {
  auto space = std::make_shared<NamespaceObject>();
  space->attributes = MakeDict(run, args);
  for (const auto& [name, value] : space->attributes->entries) {
    if (!name.Is(Kind::kString) || !name.text().starts_with("_")) continue;
    throw Error(ErrorKind::kSecurity,
                absl::StrCat("Chat templates cannot store underscore-prefixed attributes on a "
                             "namespace, but got ",
                             Quoted(name.text()), ". Please rename the attribute."));
  }
  run.Keep(space);
  return Value::Of(Kind::kNamespace, std::move(space));
}

Value MakeRange(Run&, Arguments& args) {
  if (args.positional.empty() || args.positional.size() > 3 || !args.named.empty()) {
    throw Error(ErrorKind::kType, "range expected from 1 to 3 arguments");
  }
  auto range = std::make_shared<RangeObject>();
  const bool one = args.positional.size() == 1;
  if (!one) range->start = Index(args.positional[0]);
  range->stop = Index(args.positional[one ? 0 : 1]);
  if (args.positional.size() == 3) range->step = Index(args.positional[2]);
  if (range->step == 0) throw Error(ErrorKind::kValue, "range() arg 3 must not be zero");
  if (range->Length() > kMaxRange) {
    throw Error(ErrorKind::kArithmetic,
                absl::StrCat("Range too big. The sandbox blocks ranges larger than MAX_RANGE (",
                             kMaxRange, ")."));
  }
  return Value::Of(Kind::kRange, std::move(range));
}

Value MakeCycler(Run&, Arguments& args) {
  if (!args.named.empty()) throw Error(ErrorKind::kType, "cycler takes no keyword arguments");
  if (args.positional.empty()) {
    throw Error(ErrorKind::kRuntime, "at least one item has to be provided");
  }
  auto cycler = std::make_shared<CyclerObject>();
  cycler->depth = Value::List(args.positional).depth();
  cycler->items = std::move(args.positional);
  return Value::Of(Kind::kCycler, std::move(cycler));
}

Value MakeJoiner(Run&, Arguments& args) {
  const Parameters p("joiner", args, {"sep"}, 0);
  const Value separator = p.Or(0, Value::String(", "));
  auto used = std::make_shared<bool>(false);
  return Function(
      "joiner",
      [separator, used](Run&, Arguments& none) {
        TakesNothing("joiner", none);
        return std::exchange(*used, true) ? separator : Value::String("");
      },
      separator.depth());
}

Value RaiseException(Run& run, Arguments& args) {
  const Parameters p("raise_exception", args, {"message"}, 1);
  throw Error(ErrorKind::kRaised, Text(run, p[0]));
}

Value StrftimeNow(Run& run, Arguments& args) {
  run.asked_date = true;
  const Parameters p("strftime_now", args, {"format"}, 1);
  const std::string format = p.String(0) + " ";  // never empty, so that 0 means: too long
  std::string out(format.size() * 16 + 256, '\0');
  run.Make(static_cast<int64_t>(out.size()));
  const size_t length = std::strftime(out.data(), out.size(), format.c_str(), &run.now);
  if (length == 0) throw Error(ErrorKind::kValue, "strftime_now: the format is too long");
  out.resize(length - 1);
  return Value::String(std::move(out));
}

Value Lipsum(Run&, Arguments&) {
  throw Error(ErrorKind::kUnsupported, "lipsum is not supported: its text is random");
}

}  // namespace

std::optional<Value> GlobalOf(const std::string& name) {
  static const auto* globals = [] {
    auto* all = new std::map<std::string, Value>;  // never freed: values may outlive statics
    const std::pair<const char*, Builtin> kFunctions[] = {
        {"range", MakeRange},
        {"dict", [](Run& run, Arguments& args) { return Dict(MakeDict(run, args)); }},
        {"namespace", MakeNamespace},
        {"cycler", MakeCycler},
        {"joiner", MakeJoiner},
        {"lipsum", Lipsum},
        {"raise_exception", RaiseException},
        {"strftime_now", StrftimeNow},
    };
    for (const auto& [function, call] : kFunctions)
      all->emplace(function, Function(function, call));
    all->at("dict").As<FunctionObject>().is_class = true;
    return all;
  }();
  const auto found = globals->find(name);
  return found == globals->end() ? std::nullopt : std::optional<Value>(found->second.Borrowed());
}

}  // namespace fttrain::jinja
