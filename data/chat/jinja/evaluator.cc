#include "data/chat/jinja/evaluator.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "data/chat/jinja/library.h"
#include "data/chat/jinja/operators.h"

namespace fttrain::jinja {

std::optional<Value>& Evaluator::Slot(const Place& place, const FramePtr& frame) {
  Activation* at = frame.get();
  for (int up = place.up; up > 0; --up) at = at->outer.get();
  return at->slots[static_cast<size_t>(place.slot)];
}

Value Evaluator::Eval(const Expr& expr, const FramePtr& frame) {
  const Run::Deeper deeper(run_);
  run_.Step();
  switch (expr.kind) {
    case ExprKind::kConst:
      return expr.value.Borrowed();
    case ExprKind::kName: {
      const std::optional<Value>& value = Slot(expr.place, frame);
      return value.has_value() ? *value : UndefinedName(expr.name);
    }
    case ExprKind::kTuple:
      return Value::Tuple(EvalAll(expr.items, frame));
    case ExprKind::kList:
      return Value::List(EvalAll(expr.items, frame));
    case ExprKind::kDict:
      return EvalDict(expr, frame);
    case ExprKind::kCondition:
      if (Truth(Eval(*expr.items[0], frame))) return Eval(*expr.items[1], frame);
      if (expr.items[2] != nullptr) return Eval(*expr.items[2], frame);
      return Undefined(absl::StrCat("the inline if-expression on line ", expr.line,
                                    " evaluated to false and no else section was defined."));
    case ExprKind::kAnd: {
      Value left = Eval(*expr.items[0], frame);
      return Truth(left) ? Eval(*expr.items[1], frame) : left;
    }
    case ExprKind::kOr: {
      Value left = Eval(*expr.items[0], frame);
      return Truth(left) ? left : Eval(*expr.items[1], frame);
    }
    case ExprKind::kNot:
      return Value::Bool(!Truth(Eval(*expr.items[0], frame)));
    case ExprKind::kNegative:
      return Negative(Eval(*expr.items[0], frame));
    case ExprKind::kPositive:
      return Positive(Eval(*expr.items[0], frame));
    case ExprKind::kBinary: {
      const Value left = Eval(*expr.items[0], frame);
      return Apply(run_, expr.op, left, Eval(*expr.items[1], frame));
    }
    case ExprKind::kConcat:
      return EvalConcat(expr, frame);
    case ExprKind::kCompare:
      return EvalCompare(expr, frame);
    case ExprKind::kAttribute:
      return GetAttribute(run_, Eval(*expr.items[0], frame), expr.name);
    case ExprKind::kItem: {
      const Value object = Eval(*expr.items[0], frame);
      const Value item = Eval(*expr.items[1], frame);
      return item.Is(Kind::kSlice) ? GetSlice(run_, object, item.As<SliceObject>())
                                   : GetItem(run_, object, item);
    }
    case ExprKind::kSlice:
      return EvalSlice(expr, frame);
    case ExprKind::kCall:
      return EvalCall(expr, frame);
    case ExprKind::kFilter:
      return EvalFilter(expr, frame);
    case ExprKind::kTest:
      return EvalTest(expr, frame);
    case ExprKind::kNamespaceRef:
      break;
  }
  throw Error(ErrorKind::kSyntax, "a namespace's attribute can only be set", expr.line);
}

std::vector<Value> Evaluator::EvalAll(const std::vector<ExprPtr>& exprs, const FramePtr& frame) {
  std::vector<Value> out;
  run_.Make(static_cast<int64_t>(exprs.size() * sizeof(Value)));
  out.reserve(exprs.size());
  for (const ExprPtr& expr : exprs) out.push_back(Eval(*expr, frame));
  return out;
}

Value Evaluator::EvalDict(const Expr& expr, const FramePtr& frame) {
  auto dict = std::make_shared<DictObject>();
  run_.Make(static_cast<int64_t>(expr.items.size() * 2 * sizeof(Value)));
  for (size_t i = 0; i + 1 < expr.items.size(); i += 2) {
    const Value key = Eval(*expr.items[i], frame);
    run_.Step(key.weight() / 16);
    dict->Set(key, Eval(*expr.items[i + 1], frame));
  }
  return Dict(std::move(dict));
}

Value Evaluator::EvalSlice(const Expr& expr, const FramePtr& frame) {
  auto slice = std::make_shared<SliceObject>();
  const auto part = [&](size_t i) {
    return expr.items[i] == nullptr ? Value::None() : Eval(*expr.items[i], frame);
  };
  slice->start = part(0);
  slice->stop = part(1);
  slice->step = part(2);
  return Value::Of(Kind::kSlice, std::move(slice));
}

namespace {

constexpr size_t kReserved = size_t{1} << 20;  // bytes: more is made room for as it is counted

}  // namespace

Value Evaluator::EvalConcat(const Expr& expr, const FramePtr& frame) {
  std::string out;
  const std::vector<Value> values = EvalAll(expr.items, frame);
  size_t bytes = 0;
  for (const Value& value : values) bytes += value.Is(Kind::kString) ? value.text().size() : 0;
  if (bytes < kReserved) out.reserve(bytes);
  const auto append = [&](const std::string& text) {
    run_.Make(static_cast<int64_t>(out.size() + text.size()));
    out += text;
  };
  for (const Value& value : values) {
    value.Is(Kind::kString) ? append(value.text()) : append(Text(run_, value));
  }
  return Value::String(std::move(out));
}

Value Evaluator::EvalCompare(const Expr& expr, const FramePtr& frame) {
  Value left = Eval(*expr.items[0], frame);
  for (size_t i = 0; i < expr.ops.size(); ++i) {
    Value right = Eval(*expr.items[i + 1], frame);
    run_.Step();
    bool holds = false;
    switch (expr.ops[i]) {
      case CompareOp::kEq:
        holds = Equal(run_, left, right);
        break;
      case CompareOp::kNe:
        holds = !Equal(run_, left, right);
        break;
      case CompareOp::kLt:
        holds = Compare(run_, left, right, "<") < 0;
        break;
      case CompareOp::kLe:
        holds = Compare(run_, left, right, "<=") <= 0;
        break;
      case CompareOp::kGt: {
        const int order = Compare(run_, left, right, ">");
        holds = order > 0 && order != kUnordered;
        break;
      }
      case CompareOp::kGe: {
        const int order = Compare(run_, left, right, ">=");
        holds = order >= 0 && order != kUnordered;
        break;
      }
      case CompareOp::kIn:
        holds = Contains(run_, right, left);
        break;
      case CompareOp::kNotIn:
        holds = !Contains(run_, right, left);
        break;
    }
    if (!holds) return Value::Bool(false);
    left = std::move(right);
  }
  return Value::Bool(true);
}

void Evaluator::CallArguments(const CallNode& call, const FramePtr& frame, Arguments* args) {
  for (const ExprPtr& expr : call.positional) args->positional.push_back(Eval(*expr, frame));
  for (const auto& [name, expr] : call.named) args->named.emplace_back(name, Eval(*expr, frame));
  if (call.star != nullptr) {
    for (Value& value : ItemsOf(run_, Eval(*call.star, frame))) {
      args->positional.push_back(std::move(value));
    }
  }
  if (call.double_star == nullptr) return;
  const Value more = Eval(*call.double_star, frame);
  if (more.Is(Kind::kUndefined)) FailUndefined(more);
  if (!more.Is(Kind::kDict)) {
    throw Error(ErrorKind::kType,
                absl::StrCat("argument after ** must be a mapping, not ", TypeName(more)));
  }
  for (const auto& [key, value] : more.As<DictObject>().entries) {
    if (!key.Is(Kind::kString)) throw Error(ErrorKind::kType, "keywords must be strings");
    if (args->Named(key.text()) != nullptr) {
      throw Error(ErrorKind::kType,
                  absl::StrCat("got multiple values for keyword argument '", key.text(), "'"));
    }
    args->named.emplace_back(key.text(), value);
  }
}

Value Evaluator::EvalFilter(const Expr& expr, const FramePtr& frame, const Value* block) {
  Arguments args;
  // A chain of filters over a block: the block is below the last of them.
  args.positional.push_back(expr.items[0] != nullptr
                                ? (expr.items[0]->kind == ExprKind::kFilter && block != nullptr
                                       ? EvalFilter(*expr.items[0], frame, block)
                                       : Eval(*expr.items[0], frame))
                                : *block);
  CallArguments(expr.call, frame, &args);
  const Builtin filter = FindFilter(expr.name);
  if (filter == nullptr) {
    throw Error(ErrorKind::kRuntime, absl::StrCat("No filter named '", expr.name, "' found."));
  }
  return filter(run_, args);
}

Value Evaluator::EvalTest(const Expr& expr, const FramePtr& frame) {
  Arguments args;
  args.positional.push_back(Eval(*expr.items[0], frame));
  CallArguments(expr.call, frame, &args);
  const Builtin test = FindTest(expr.name);
  if (test == nullptr) {
    throw Error(ErrorKind::kRuntime, absl::StrCat("No test named '", expr.name, "' found."));
  }
  return test(run_, args);
}

Value Evaluator::EvalCall(const Expr& expr, const FramePtr& frame, const Value* caller) {
  const Value callee = Eval(*expr.items[0], frame);
  Arguments args;
  CallArguments(expr.call, frame, &args);
  if (caller != nullptr) {
    if (args.Named("caller") != nullptr) {
      throw Error(ErrorKind::kType, "got multiple values for keyword argument 'caller'");
    }
    args.named.emplace_back("caller", *caller);
  }
  return Call(callee, args);
}

Value Evaluator::Call(const Value& callee, Arguments& args) {
  const Run::Deeper deeper(run_);
  switch (callee.kind()) {
    case Kind::kUndefined:
      FailUndefined(callee);
    case Kind::kFunction:
      return callee.As<FunctionObject>().call(run_, args);
    case Kind::kMacro:
      return CallMacro(callee.As<MacroObject>(), args);
    case Kind::kLoop: {
      const auto& loop = callee.As<LoopObject>();
      if (loop.recurse == nullptr) {
        throw Error(ErrorKind::kType,
                    "The loop must have the 'recursive' marker to be called recursively.");
      }
      if (args.positional.size() != 1 || !args.named.empty()) {
        throw Error(ErrorKind::kType, "loop() takes one argument");
      }
      return loop.recurse(run_, args.positional[0], loop.depth0 + 1);
    }
    default:
      throw Error(ErrorKind::kType,
                  absl::StrCat("'", TypeName(callee), "' object is not callable"));
  }
}

}  // namespace fttrain::jinja
