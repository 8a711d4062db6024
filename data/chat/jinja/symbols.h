// What jinja2/idtracking.py finds out about names; for scopes.cc.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "data/chat/jinja/ast.h"

namespace fttrain::jinja {

// What Jinja2 compiles to one Python function: variables are its locals, and one that is named in
// several blocks at one level is one local.
struct FunctionScope {
  FunctionScope* outer = nullptr;
  std::map<std::pair<int, std::string>, int> slots;

  int SlotOf(int level, const std::string& name) {
    return slots.emplace(std::pair(level, name), static_cast<int>(slots.size())).first->second;
  }
};

// A variable: the local of a function.
struct Variable {
  FunctionScope* function = nullptr;
  int slot = -1;
};

// What a variable is where its frame begins.
struct Opening {
  enum Start { kParameter, kResolve, kAlias, kUnset } start;
  std::string name;
  Variable alias;
};

// The names of one frame (jinja2.idtracking.Symbols).
struct Symbols {
  const Symbols* parent = nullptr;
  FunctionScope* function = nullptr;
  int level = 0;
  std::map<std::string, Variable> refs;
  std::map<int, Opening> loads;  // by slot
  std::set<std::string> stores;

  const Variable* FindRef(const std::string& name) const;
  void Load(const std::string& name);
  void Store(const std::string& name);
  int Parameter(const std::string& name);  // its slot
  void Merge(const std::vector<Symbols>& branches);

 private:
  int Define(const std::string& name, Opening opening);
};

// What the frame's own statements load and store, in their order; inner frames are not entered.
void CollectBody(const Body& body, Symbols* symbols);
void CollectLoads(const Expr* expr, Symbols* symbols);  // null: nothing
void CollectTargets(const Expr& target, bool as_parameters, Symbols* symbols);

// Whether `name` is loaded in the body before it is stored there, inner frames included.
bool Mentions(const Body& body, const std::string& name);

// Calls visit(const Expr&) for every expression directly below one.
template <typename Visit>
void ForEachBelow(const Expr& expr, Visit visit) {
  for (const ExprPtr& item : expr.items) {
    if (item != nullptr) visit(*item);
  }
  for (const ExprPtr& arg : expr.call.positional) visit(*arg);
  for (const auto& [name, arg] : expr.call.named) visit(*arg);
  if (expr.call.star != nullptr) visit(*expr.call.star);
  if (expr.call.double_star != nullptr) visit(*expr.call.double_star);
}

}  // namespace fttrain::jinja
