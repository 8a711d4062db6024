#include "data/chat/jinja/scopes.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "data/chat/jinja/library.h"
#include "data/chat/jinja/symbols.h"
#include "data/chat/jinja/token_stream.h"

namespace fttrain::jinja {
namespace {

// A block's names, and what Jinja2's compiler knows of it.
struct Frame {
  Symbols symbols;
  bool in_loop = false;

  Frame() = default;
  // A frame inside; of a function of its own, if there is one.
  explicit Frame(const Frame& outer, FunctionScope* function = nullptr)
      : in_loop(function == nullptr && outer.in_loop) {
    symbols.parent = &outer.symbols;
    symbols.function = function != nullptr ? function : outer.symbols.function;
    symbols.level = outer.symbols.level + 1;
  }
};

Place PlaceOf(const Variable& variable, const FunctionScope* from) {
  Place place{0, variable.slot};
  for (; from != variable.function; from = from->outer) ++place.up;
  return place;
}

std::vector<Load> LoadsOf(const Symbols& symbols) {
  std::vector<Load> out;
  for (const auto& [slot, opening] : symbols.loads) {
    if (opening.start == Opening::kResolve) {
      out.push_back({Load::kResolve, slot, opening.name, {}});
    } else if (opening.start == Opening::kAlias) {
      out.push_back({Load::kAlias, slot, "", PlaceOf(opening.alias, symbols.function)});
    } else if (opening.start == Opening::kUnset) {
      out.push_back({Load::kUnset, slot, "", {}});
    }
  }
  return out;
}

[[noreturn]] void Fail(const std::string& message, int line) {
  throw Error(ErrorKind::kSyntax, message, line);
}

bool StoresLoop(const Expr& target) {
  if (target.kind == ExprKind::kName) return target.name == "loop";
  return std::any_of(target.items.begin(), target.items.end(),
                     [](const ExprPtr& item) { return StoresLoop(*item); });
}

// Whether a target below this statement is `loop`; `with` and parameters do not count.
bool StoresLoop(const Stmt& stmt) {
  const bool stores = stmt.kind == StmtKind::kFor || stmt.kind == StmtKind::kSet ||
                      stmt.kind == StmtKind::kSetBlock;
  if (stores && StoresLoop(*stmt.targets[0])) return true;
  const auto in = [](const Body& body) {
    return std::any_of(body.begin(), body.end(),
                       [](const auto& inner) { return StoresLoop(*inner); });
  };
  return std::any_of(stmt.bodies.begin(), stmt.bodies.end(), in) ||
         (stmt.macro != nullptr && in(stmt.macro->body));
}

ExprPtr CopyOfTarget(const Expr& target) {
  ExprPtr copy = NewExpr(target.kind, target.line);
  copy->name = target.name;
  for (const ExprPtr& item : target.items) copy->items.push_back(CopyOfTarget(*item));
  return copy;
}

// `soft`: inside an `if`, where an unknown filter is an error only once it is reached.
class Placer {
 public:
  void Root(TemplateNode* root) {
    FunctionScope function;
    Frame frame;
    frame.symbols.function = &function;
    if (Mentions(root->body, "self")) {
      throw Error(ErrorKind::kUnsupported,
                  "'self' is not supported: chat templates have no blocks");
    }
    CollectBody(root->body, &frame.symbols);
    All(&root->body, frame, false);
    root->frame.loads = LoadsOf(frame.symbols);
    root->slots = static_cast<int>(function.slots.size());
  }

 private:
  void All(Body* body, const Frame& frame, bool soft) {
    for (auto& stmt : *body) One(stmt.get(), frame, soft);
  }

  void One(Expr* expr, const Frame& frame, bool soft) {
    if (expr == nullptr) return;
    if (expr->kind == ExprKind::kName || expr->kind == ExprKind::kNamespaceRef) {
      const Variable* variable = frame.symbols.FindRef(expr->name);
      if (variable == nullptr) {  // a filter's argument in {% set x | f(name) %}
        Fail(absl::StrCat("Tried to resolve a name to a reference that was unknown to the frame ('",
                          expr->name, "')"),
             expr->line);
      }
      expr->place = PlaceOf(*variable, frame.symbols.function);
    }
    if (!soft) CheckKnown(*expr);
    const bool below_soft = soft || expr->kind == ExprKind::kCondition;
    ForEachBelow(*expr, [&](Expr& below) { One(&below, frame, below_soft); });
  }

  static void CheckKnown(const Expr& expr) {
    const bool filter = expr.kind == ExprKind::kFilter;
    if (!filter && expr.kind != ExprKind::kTest) return;
    if ((filter ? FindFilter(expr.name) : FindTest(expr.name)) != nullptr) return;
    Fail(absl::StrCat("No ", filter ? "filter" : "test", " named '", expr.name, "'."), expr.line);
  }

  void One(Stmt* stmt, const Frame& frame, bool soft) {
    switch (stmt->kind) {
      case StmtKind::kText:
        return;
      case StmtKind::kBreak:
      case StmtKind::kContinue:
        if (frame.in_loop) return;
        Fail(stmt->kind == StmtKind::kBreak ? "'break' outside loop"
                                            : "'continue' not properly in loop",
             stmt->line);
      case StmtKind::kIf:
        for (const ExprPtr& expr : stmt->exprs) One(expr.get(), frame, true);
        for (Body& body : stmt->bodies) All(&body, frame, true);
        return;
      case StmtKind::kFor:
        return For(stmt, frame, soft);
      case StmtKind::kSetBlock:
      case StmtKind::kFilterBlock:
      case StmtKind::kWith:
        return Block(stmt, frame, soft);
      default:
        for (const ExprPtr& expr : stmt->exprs) One(expr.get(), frame, soft);
        for (const ExprPtr& target : stmt->targets) One(target.get(), frame, soft);
        if (stmt->macro != nullptr) Macro(stmt->macro.get(), stmt->line, frame);
    }
  }

  // A block with names of its own.
  void Block(Stmt* stmt, const Frame& frame, bool soft) {
    Frame inner(frame);
    const bool with = stmt->kind == StmtKind::kWith;
    if (with) {
      for (const ExprPtr& target : stmt->targets) CollectTargets(*target, true, &inner.symbols);
    }
    CollectBody(stmt->bodies[0], &inner.symbols);
    if (stmt->kind == StmtKind::kFilterBlock) CollectLoads(stmt->filter.get(), &inner.symbols);
    for (const ExprPtr& target : stmt->targets) One(target.get(), with ? inner : frame, soft);
    for (const ExprPtr& expr : stmt->exprs) One(expr.get(), frame, soft);
    One(stmt->filter.get(), inner, false);
    All(&stmt->bodies[0], inner, false);
    stmt->frame.loads = LoadsOf(inner.symbols);
  }

  void For(Stmt* stmt, const Frame& frame, bool soft) {
    if (StoresLoop(*stmt)) {
      Fail("Can't assign to special loop variable in for-loop target", stmt->line);
    }
    One(stmt->exprs[0].get(), frame, soft);
    FunctionScope function;
    function.outer = frame.symbols.function;
    Frame loop(frame, stmt->recursive ? &function : nullptr);
    if (stmt->recursive || Mentions(stmt->bodies[0], "loop")) {
      stmt->loop_slot = loop.symbols.Parameter("loop");
    }
    CollectTargets(*stmt->targets[0], true, &loop.symbols);
    CollectBody(stmt->bodies[0], &loop.symbols);
    if (stmt->exprs.size() > 1) Test(stmt, frame);
    Frame otherwise(frame, stmt->recursive ? &function : nullptr);
    if (stmt->bodies.size() > 1) {
      CollectBody(stmt->bodies[1], &otherwise.symbols);
      All(&stmt->bodies[1], otherwise, false);
      stmt->else_frame.loads = LoadsOf(otherwise.symbols);
    }
    loop.in_loop = true;
    One(stmt->targets[0].get(), loop, false);
    All(&stmt->bodies[0], loop, false);
    stmt->frame.loads = LoadsOf(loop.symbols);
    stmt->loop_slots = static_cast<int>(function.slots.size());
  }

  void Test(Stmt* stmt, const Frame& frame) {
    FunctionScope function;
    function.outer = frame.symbols.function;
    Frame test(frame, &function);
    CollectTargets(*stmt->targets[0], true, &test.symbols);
    CollectLoads(stmt->exprs[1].get(), &test.symbols);
    stmt->test_target = CopyOfTarget(*stmt->targets[0]);
    One(stmt->test_target.get(), test, false);
    One(stmt->exprs[1].get(), test, false);
    stmt->test_frame.loads = LoadsOf(test.symbols);
    stmt->test_slots = static_cast<int>(function.slots.size());
  }

  void Macro(MacroNode* macro, int line, const Frame& frame) {
    FunctionScope function;
    function.outer = frame.symbols.function;
    Frame inner(frame, &function);
    for (const std::string& name : macro->parameters) {
      macro->parameter_slots.push_back(inner.symbols.Parameter(name));
    }
    const auto collect = [&] {
      for (const ExprPtr& expr : macro->defaults) CollectLoads(expr.get(), &inner.symbols);
      CollectBody(macro->body, &inner.symbols);
    };
    collect();
    const auto index = [&](const char* name) {
      return std::find(macro->parameters.begin(), macro->parameters.end(), name) -
             macro->parameters.begin();
    };
    const auto count = static_cast<std::ptrdiff_t>(macro->parameters.size());
    macro->explicit_caller = index("caller") < count;
    macro->takes_caller = Mentions(macro->body, "caller");
    if (macro->takes_caller && macro->explicit_caller) {
      if (index("caller") < count - static_cast<std::ptrdiff_t>(macro->defaults.size())) {
        Fail(
            "When defining macros or call blocks the special \"caller\" argument must be omitted "
            "or be given a default.",
            line);
      }
    } else if (macro->takes_caller) {
      macro->caller_slot = inner.symbols.Parameter("caller");
    }
    if (Mentions(macro->body, "kwargs") && index("kwargs") == count) {
      macro->catches_kwargs = true;
      macro->kwargs_slot = inner.symbols.Parameter("kwargs");
    }
    if (Mentions(macro->body, "varargs") && index("varargs") == count) {
      macro->catches_varargs = true;
      macro->varargs_slot = inner.symbols.Parameter("varargs");
    }
    collect();  // again, as Jinja2 does, now that the special names are parameters
    for (const ExprPtr& expr : macro->defaults) One(expr.get(), inner, false);
    All(&macro->body, inner, false);
    macro->frame.loads = LoadsOf(inner.symbols);
    macro->slots = static_cast<int>(function.slots.size());
  }
};

}  // namespace

void PlaceVariables(TemplateNode* root) { Placer().Root(root); }

}  // namespace fttrain::jinja
