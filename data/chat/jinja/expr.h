// Expressions, once parsed.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "data/chat/jinja/operators.h"
#include "data/chat/jinja/value.h"

namespace fttrain::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

// Where a variable lives: `up` frames of functions outward, at `slot`.
struct Place {
  int up = 0, slot = -1;
};

struct CallNode {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr star, double_star;  // *args, **kwargs
};

enum class ExprKind {
  kConst,
  kName,
  kNamespaceRef,  // ns.name, as a target only
  kTuple,
  kList,
  kDict,       // items: key, value, key, value
  kCondition,  // items: test, then, else (may be null)
  kAnd,
  kOr,
  kNot,
  kNegative,
  kPositive,
  kBinary,
  kConcat,
  kCompare,    // items: first, operands; ops
  kAttribute,  // items: object; name
  kItem,       // items: object, index
  kSlice,      // items: start, stop, step, each may be null; only as an index
  kCall,       // items: callee; call
  kFilter,     // items: value (null in a filter block); name, call
  kTest        // as kFilter
};

enum class CompareOp { kEq, kNe, kLt, kLe, kGt, kGe, kIn, kNotIn };

struct Expr {
  ExprKind kind;
  int line;
  int depth = 1;     // of the tree below
  std::string name;  // of a variable, attribute, filter or test
  Value value;       // kConst
  std::vector<ExprPtr> items;
  std::vector<CompareOp> ops;
  Operator op = Operator::kAdd;
  CallNode call;
  Place place;  // of kName and kNamespaceRef
};

}  // namespace fttrain::jinja
