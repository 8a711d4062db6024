// Walks a template's tree and writes its text.
#pragma once

#include <memory>
#include <string>

#include "data/chat/jinja/ast.h"
#include "data/chat/jinja/given.h"
#include "data/chat/jinja/loop.h"
#include "data/chat/jinja/macro.h"
#include "data/chat/jinja/run.h"

namespace fttrain::jinja {

class Evaluator {
 public:
  // Nothing is copied; `run` collects the spans of `generation`. The template must outlive *this.
  Evaluator(Run& run, const Given& variables) : run_(run), variables_(variables) {}

  std::string Render(const TemplateNode& root);

 private:
  using FramePtr = std::shared_ptr<Activation>;
  enum class Flow { kOn, kBreak, kContinue };
  class Holder;
  class Capture;

  // statements.cc
  Flow Exec(const Body& body, const FramePtr& frame);
  Flow Exec(const Stmt& stmt, const FramePtr& frame);
  Flow If(const Stmt& stmt, const FramePtr& frame);
  Flow For(const Stmt& stmt, const FramePtr& frame);
  Flow Loop(const Stmt& stmt, const Value& iterable, int depth0, const FramePtr& outer,
            const FramePtr& frame);
  Value Filtered(const Stmt& stmt, const Value& iterable, const FramePtr& outer);
  Value Recurse(const Stmt& stmt, const Value& iterable, int depth0, const FramePtr& outer);
  Flow Captured(const Stmt& stmt, const FramePtr& frame);
  Flow With(const Stmt& stmt, const FramePtr& frame);
  void Set(const Stmt& stmt, const FramePtr& frame);
  void Generation(const Stmt& stmt, const FramePtr& frame);
  void Write(const std::string& text);
  void WriteText(const Value& value);  // what a call or filter block gives must be a string
  void Enter(const FrameNode& node, const FramePtr& frame);
  FramePtr NewFrame(int slots, const FramePtr& outer);
  void Assign(const Expr& target, const Value& value, const FramePtr& frame);
  Value MacroOf(const MacroNode& node, const FramePtr& frame);

  // evaluator.cc
  Value Eval(const Expr& expr, const FramePtr& frame);
  Value EvalCompare(const Expr& expr, const FramePtr& frame);
  Value EvalConcat(const Expr& expr, const FramePtr& frame);
  Value EvalFilter(const Expr& expr, const FramePtr& frame, const Value* block = nullptr);
  Value EvalTest(const Expr& expr, const FramePtr& frame);
  Value EvalCall(const Expr& expr, const FramePtr& frame, const Value* caller = nullptr);
  Value EvalSlice(const Expr& expr, const FramePtr& frame);
  Value EvalDict(const Expr& expr, const FramePtr& frame);
  Value TargetValue(const Expr& target, const FramePtr& frame);
  std::vector<Value> EvalAll(const std::vector<ExprPtr>& exprs, const FramePtr& frame);
  void CallArguments(const CallNode& call, const FramePtr& frame, Arguments* args);
  std::optional<Value>& Slot(const Place& place, const FramePtr& frame);
  Value Call(const Value& callee, Arguments& args);
  Value CallMacro(const MacroObject& macro, Arguments& args);
  void BindMacro(const MacroNode& node, Arguments& args, Activation* frame);

  Run& run_;
  const Given& variables_;
  std::string root_;
  std::string* out_ = &root_;  // where text goes: the result, or a block that is captured
};

}  // namespace fttrain::jinja
