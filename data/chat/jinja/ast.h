// What a template is once parsed. Nodes are made by the parser, given their variables' places by
// scopes.h, and walked by the evaluator.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/chat/jinja/expr.h"

namespace fttrain::jinja {

struct Stmt;
using Body = std::vector<std::unique_ptr<Stmt>>;

// Before a frame's body runs, each of its variables is set to what it starts as.
struct Load {
  enum What { kResolve, kAlias, kUnset } what;
  int slot;
  std::string name;  // kResolve: a variable given to the template, or a global
  Place from;        // kAlias
};

struct FrameNode {
  std::vector<Load> loads;
};

// A macro, the body of a call block, or of `generation`.
struct MacroNode {
  std::string name;  // empty: anonymous
  std::vector<std::string> parameters;
  std::vector<int> parameter_slots;
  std::vector<ExprPtr> defaults;  // of the last parameters
  bool catches_kwargs = false, catches_varargs = false, takes_caller = false;
  bool explicit_caller = false;  // among the parameters
  int kwargs_slot = -1, varargs_slot = -1, caller_slot = -1;
  int slots = 0;
  FrameNode frame;
  Body body;
};

enum class StmtKind {
  kOutput,  // exprs
  kText,    // text
  kIf,      // exprs: a test for each body but the last, which is `else` where there is one more
  kFor,
  kSet,          // target, exprs[0]
  kSetBlock,     // target, frame, body, filter (may be null)
  kWith,         // targets, exprs, frame, body
  kFilterBlock,  // filter, frame, body
  kMacro,        // target, macro
  kCallBlock,    // exprs[0]: the call, macro: the caller
  kGeneration,   // macro
  kBreak,
  kContinue
};

struct Stmt {
  StmtKind kind;
  int line;
  std::string text;
  std::vector<ExprPtr> exprs;
  std::vector<ExprPtr> targets;
  ExprPtr filter;
  std::vector<Body> bodies;  // kIf: one a test, then `else`; kFor: the loop's, then `else`
  FrameNode frame;           // of the body
  std::unique_ptr<MacroNode> macro;

  // kFor: targets[0] in exprs[0], kept where exprs[1] (if there) is true. The test runs in frames
  // of its own, a recursive loop's body too.
  bool recursive = false;
  int loop_slot = -1;
  FrameNode test_frame, else_frame;
  ExprPtr test_target;  // the target, as the test sees it
  int test_slots = 0, loop_slots = 0;
};

struct TemplateNode {
  Body body;
  FrameNode frame;
  int slots = 0;
};

}  // namespace fttrain::jinja
