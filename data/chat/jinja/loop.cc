#include "data/chat/jinja/loop.h"

#include "data/chat/jinja/operators.h"

namespace fttrain::jinja {

Run::~Run() {
  for (const auto& space : namespaces_) space->attributes.reset();
  for (const auto& frame : frames_) {
    frame->slots.clear();
    frame->outer.reset();
  }
}

void Run::TooMany(const char* what) {
  throw Error(ErrorKind::kLimit, std::string("the template needs too many ") + what);
}
void Run::TooDeep() { throw Error(ErrorKind::kLimit, "maximum recursion depth exceeded"); }

bool LoopObject::Next(Run& run, Value* item) {
  run.Step();
  if (after.has_value()) {
    *item = *std::exchange(after, std::nullopt);
  } else if (!items->next(run, item)) {
    return false;
  }
  ++index0;
  before = std::exchange(current, *item);
  return true;
}

bool LoopObject::Peek(Run& run) {
  if (after.has_value()) return true;
  Value item;
  if (!items->next(run, &item)) return false;
  after = std::move(item);
  return true;
}

int64_t LoopObject::Length(Run& run) {
  if (length_.has_value()) return *length_;
  const int64_t known = LengthOrNone(run, iterable);
  if (known >= 0) {
    length_ = known;
  } else {  // what is left is read at once
    const Value rest = Value::List(ItemsOf(run, Value::Of(Kind::kIterator, items)));
    items = Iterate(run, rest);
    length_ = static_cast<int64_t>(rest.items().size()) + index0 + 1 + (after.has_value() ? 1 : 0);
  }
  return *length_;
}

namespace {

Value Cycle(Run&, const Value& loop, Arguments& args) {
  if (args.positional.empty()) throw Error(ErrorKind::kType, "no items for cycling given");
  const auto at = static_cast<size_t>(loop.As<LoopObject>().index0) % args.positional.size();
  return args.positional[at];
}

Value Changed(Run& run, const Value& loop, Arguments& args) {
  LoopObject& object = loop.As<LoopObject>();
  Value now = Value::Tuple(args.positional);
  const bool changed = !object.last_changed.has_value() || !Equal(run, *object.last_changed, now);
  object.last_changed = std::move(now);
  return Value::Bool(changed);
}

}  // namespace

std::optional<Value> LoopAttribute(Run& run, const Value& loop, const std::string& name) {
  LoopObject& object = loop.As<LoopObject>();
  if (name == "index") return Value::Int(object.index0 + 1);
  if (name == "index0") return Value::Int(object.index0);
  if (name == "first") return Value::Bool(object.index0 == 0);
  if (name == "last") return Value::Bool(!object.Peek(run));
  if (name == "length") return Value::Int(object.Length(run));
  if (name == "revindex") return Value::Int(object.Length(run) - object.index0);
  if (name == "revindex0") return Value::Int(object.Length(run) - object.index0 - 1);
  if (name == "depth") return Value::Int(object.depth0 + 1);
  if (name == "depth0") return Value::Int(object.depth0);
  if (name == "previtem") {
    return object.before.has_value() ? *object.before : Undefined("there is no previous item");
  }
  if (name == "nextitem") {
    return object.Peek(run) ? *object.after : Undefined("there is no next item");
  }
  const std::weak_ptr<Object> self = loop.object();  // a loop may not hold itself
  const auto bound = [self](Value (*method)(Run&, const Value&, Arguments&)) {
    return [self, method](Run& r, Arguments& args) {
      const auto held = self.lock();
      if (held == nullptr) throw Error(ErrorKind::kUnsupported, "the loop has ended");
      return method(r, Value::Of(Kind::kLoop, held), args);
    };
  };
  if (name == "cycle") return Function(name, bound(Cycle));
  if (name == "changed") return Function(name, bound(Changed));
  return std::nullopt;
}

}  // namespace fttrain::jinja
