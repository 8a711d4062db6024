#include <utility>

#include "absl/strings/str_cat.h"
#include "data/chat/jinja/capture.h"
#include "data/chat/jinja/evaluator.h"
#include "data/chat/jinja/library.h"
#include "data/chat/jinja/operators.h"
#include "data/chat/jinja/text.h"

namespace fttrain::jinja {

Evaluator::FramePtr Evaluator::NewFrame(int slots, const FramePtr& outer) {
  run_.Make(static_cast<int64_t>(static_cast<size_t>(slots) * sizeof(std::optional<Value>)) + 64);
  auto frame = std::make_shared<Activation>();
  frame->slots.resize(static_cast<size_t>(slots));
  frame->outer = outer;
  return frame;
}

void Evaluator::Enter(const FrameNode& node, const FramePtr& frame) {
  for (const Load& load : node.loads) {
    auto& slot = frame->slots[static_cast<size_t>(load.slot)];
    if (load.what == Load::kAlias) {
      slot = Slot(load.from, frame);
    } else if (load.what == Load::kUnset) {
      slot.reset();
    } else {
      slot = variables_.Find(load.name);
      if (!slot.has_value()) slot = GlobalOf(load.name);
    }
  }
}

void Evaluator::Write(const std::string& text) {
  run_.Make(static_cast<int64_t>(text.size()));
  if (static_cast<int64_t>(out_->size()) > run_.max_output()) run_.Make(INT64_MAX);
  *out_ += text;
}

void Evaluator::WriteText(const Value& value) {
  if (!value.Is(Kind::kString)) {
    throw Error(ErrorKind::kType,
                absl::StrCat("sequence item: expected str instance, ", TypeName(value), " found"));
  }
  Write(value.text());
}

std::string Evaluator::Render(const TemplateNode& root) {
  const Holder holder(run_, NewFrame(root.slots, nullptr));
  Enter(root.frame, holder.frame());
  Exec(root.body, holder.frame());
  return std::move(root_);
}

Evaluator::Flow Evaluator::Exec(const Body& body, const FramePtr& frame) {
  for (const auto& stmt : body) {
    try {
      const Flow flow = Exec(*stmt, frame);
      if (flow != Flow::kOn) return flow;
    } catch (Error& error) {
      if (error.line == 0) error.line = stmt->line;
      throw;
    }
  }
  return Flow::kOn;
}

Evaluator::Flow Evaluator::Exec(const Stmt& stmt, const FramePtr& frame) {
  const Run::Deeper deeper(run_);
  run_.Step();
  switch (stmt.kind) {
    case StmtKind::kText:
      Write(stmt.text);
      break;
    case StmtKind::kOutput:
      for (const ExprPtr& expr : stmt.exprs) {
        const Value value = Eval(*expr, frame);
        value.Is(Kind::kString) ? Write(value.text()) : Write(Text(run_, value));
      }
      break;
    case StmtKind::kIf:
      return If(stmt, frame);
    case StmtKind::kFor:
      return For(stmt, frame);
    case StmtKind::kSet:
      Set(stmt, frame);
      break;
    case StmtKind::kSetBlock:
    case StmtKind::kFilterBlock:
      return Captured(stmt, frame);
    case StmtKind::kWith:
      return With(stmt, frame);
    case StmtKind::kMacro:
      Assign(*stmt.targets[0], MacroOf(*stmt.macro, frame), frame);
      break;
    case StmtKind::kCallBlock: {
      const Value caller = MacroOf(*stmt.macro, frame);
      WriteText(EvalCall(*stmt.exprs[0], frame, &caller));
      break;
    }
    case StmtKind::kGeneration:
      Generation(stmt, frame);
      break;
    case StmtKind::kBreak:
      return Flow::kBreak;
    case StmtKind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kOn;
}

Evaluator::Flow Evaluator::If(const Stmt& stmt, const FramePtr& frame) {
  for (size_t i = 0; i < stmt.exprs.size(); ++i) {
    if (Truth(Eval(*stmt.exprs[i], frame))) return Exec(stmt.bodies[i], frame);
  }
  const bool otherwise = stmt.bodies.size() > stmt.exprs.size();
  return otherwise ? Exec(stmt.bodies.back(), frame) : Flow::kOn;
}

Evaluator::Flow Evaluator::For(const Stmt& stmt, const FramePtr& frame) {
  const Value iterable = Eval(*stmt.exprs[0], frame);
  if (!stmt.recursive) return Loop(stmt, iterable, 0, frame, frame);
  Write(Recurse(stmt, iterable, 0, frame).text());
  return Flow::kOn;
}

Value Evaluator::Recurse(const Stmt& stmt, const Value& iterable, int depth0,
                         const FramePtr& outer) {
  const Holder holder(run_, NewFrame(stmt.loop_slots, outer));
  Capture capture(&out_);
  Loop(stmt, iterable, depth0, outer, holder.frame());
  return Value::String(capture.Text());
}

// The items for which the loop's test is true. They are tried when they are asked for, as by a
// generator: the test sees what the loop's body has changed.
Value Evaluator::Filtered(const Stmt& stmt, const Value& iterable, const FramePtr& outer) {
  const FramePtr frame = NewFrame(stmt.test_slots, outer);
  run_.Keep(frame);
  const std::weak_ptr<Activation> held = frame;
  auto next = [this, &stmt, held, items = Iterate(run_, iterable), entered = false](
                  Run& run, Value* out) mutable {
    const FramePtr test = held.lock();
    if (test == nullptr || items == nullptr) return false;
    if (!std::exchange(entered, true)) Enter(stmt.test_frame, test);
    for (Value item; items->next(run, &item);) {
      Assign(*stmt.test_target, item, test);
      if (!Truth(Eval(*stmt.exprs[1], test))) continue;
      *out = TargetValue(*stmt.test_target, test);
      return true;
    }
    items = nullptr;
    return false;
  };
  return Iterator(std::move(next), iterable.depth());
}

Value Evaluator::TargetValue(const Expr& target, const FramePtr& frame) {
  if (target.kind != ExprKind::kTuple) return Eval(target, frame);
  std::vector<Value> items;
  for (const ExprPtr& item : target.items) items.push_back(TargetValue(*item, frame));
  return Value::Tuple(std::move(items));
}

Evaluator::Flow Evaluator::Loop(const Stmt& stmt, const Value& iterable, int depth0,
                                const FramePtr& outer, const FramePtr& frame) {
  const Value chosen = stmt.exprs.size() > 1 ? Filtered(stmt, iterable, outer) : iterable;
  auto loop = std::make_shared<LoopObject>();
  loop->iterable = chosen;
  loop->depth = chosen.depth() + 1;
  if (loop->depth > kMaxValueDepth) throw Error(ErrorKind::kLimit, "loops are nested too deeply");
  loop->items = Iterate(run_, chosen);
  loop->depth0 = depth0;
  if (stmt.recursive) {
    loop->recurse = [this, &stmt, held = std::weak_ptr<Activation>(outer)](Run&, const Value& inner,
                                                                           int depth) {
      const FramePtr again = held.lock();
      if (again == nullptr) throw Error(ErrorKind::kUnsupported, "the loop has ended");
      return Recurse(stmt, inner, depth, again);
    };
  }
  bool none = true;
  for (Value item; loop->Next(run_, &item);) {
    Assign(*stmt.targets[0], item, frame);
    if (stmt.loop_slot >= 0) {
      frame->slots[static_cast<size_t>(stmt.loop_slot)] = Value::Of(Kind::kLoop, loop);
    }
    Enter(stmt.frame, frame);
    const Flow flow = Exec(stmt.bodies[0], frame);
    if (flow == Flow::kBreak) break;
    // As Jinja2 has it, a pass that `continue` ended does not count for `else`.
    if (flow == Flow::kOn) none = false;
  }
  if (stmt.loop_slot >= 0) frame->slots[static_cast<size_t>(stmt.loop_slot)].reset();
  if (!none || stmt.bodies.size() < 2) return Flow::kOn;
  Enter(stmt.else_frame, frame);
  return Exec(stmt.bodies[1], frame);
}

// {% set x %}...{% endset %} and {% filter f %}...{% endfilter %}.
Evaluator::Flow Evaluator::Captured(const Stmt& stmt, const FramePtr& frame) {
  Value text;
  {
    Capture capture(&out_);
    Enter(stmt.frame, frame);
    const Flow flow = Exec(stmt.bodies[0], frame);
    if (flow != Flow::kOn) return flow;
    text = Value::String(capture.Text());
  }
  if (stmt.filter != nullptr) text = EvalFilter(*stmt.filter, frame, &text);
  if (stmt.kind == StmtKind::kSetBlock) {
    Assign(*stmt.targets[0], text, frame);
  } else {
    WriteText(text);
  }
  return Flow::kOn;
}

Evaluator::Flow Evaluator::With(const Stmt& stmt, const FramePtr& frame) {
  Enter(stmt.frame, frame);
  for (size_t i = 0; i < stmt.targets.size(); ++i) {
    Assign(*stmt.targets[i], Eval(*stmt.exprs[i], frame), frame);
  }
  return Exec(stmt.bodies[0], frame);
}

namespace {

template <typename Check>
void ForEachNamespace(const Expr& target, Check check) {
  if (target.kind == ExprKind::kNamespaceRef) check(target);
  for (const ExprPtr& item : target.items) ForEachNamespace(*item, check);
}

[[noreturn]] void NotANamespace() {
  throw Error(ErrorKind::kRuntime, "cannot assign attribute on non-namespace object");
}

}  // namespace

void Evaluator::Set(const Stmt& stmt, const FramePtr& frame) {
  ForEachNamespace(*stmt.targets[0], [&](const Expr& ref) {
    const std::optional<Value>& space = Slot(ref.place, frame);
    if (!space.has_value() || !space->Is(Kind::kNamespace)) NotANamespace();
  });
  Assign(*stmt.targets[0], Eval(*stmt.exprs[0], frame), frame);
}

void Evaluator::Assign(const Expr& target, const Value& value, const FramePtr& frame) {
  if (target.kind == ExprKind::kName) {
    Slot(target.place, frame) = value;
    return;
  }
  if (target.kind == ExprKind::kNamespaceRef) {
    const std::optional<Value>& space = Slot(target.place, frame);
    if (!space.has_value() || !space->Is(Kind::kNamespace)) NotANamespace();
    if (target.value.text().starts_with("_")) {
      throw Error(ErrorKind::kSecurity,
                  absl::StrCat("Chat templates cannot store underscore-prefixed attributes on a "
                               "namespace, but got ",
                               Quoted(target.value.text()), ". Please rename the attribute."));
    }
    space->As<NamespaceObject>().attributes->Set(target.value, value);
    return;
  }
  const auto items = Iterate(run_, value);
  std::vector<Value> values;
  for (Value item; values.size() <= target.items.size() && items->next(run_, &item);) {
    values.push_back(std::move(item));
  }
  if (values.size() != target.items.size()) {
    throw Error(ErrorKind::kValue,
                values.size() > target.items.size()
                    ? absl::StrCat("too many values to unpack (expected ", target.items.size(), ")")
                    : absl::StrCat("not enough values to unpack (expected ", target.items.size(),
                                   ", got ", values.size(), ")"));
  }
  for (size_t i = 0; i < values.size(); ++i) Assign(*target.items[i], values[i], frame);
}

Value Evaluator::MacroOf(const MacroNode& node, const FramePtr& frame) {
  auto macro = std::make_shared<MacroObject>();
  macro->node = &node;
  macro->outer = frame;
  return Value::Of(Kind::kMacro, std::move(macro));
}

// transformers counts from what was written to the result so far, also inside of a captured block.
void Evaluator::Generation(const Stmt& stmt, const FramePtr& frame) {
  const Value body = MacroOf(*stmt.macro, frame);
  Arguments none;
  const std::string text = Call(body, none).text();
  run_.generation.push_back({root_.size(), root_.size() + text.size(), out_ != &root_});
  Write(text);
}

}  // namespace fttrain::jinja
