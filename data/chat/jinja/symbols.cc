#include "data/chat/jinja/symbols.h"

namespace fttrain::jinja {

const Variable* Symbols::FindRef(const std::string& name) const {
  const auto found = refs.find(name);
  if (found != refs.end()) return &found->second;
  return parent == nullptr ? nullptr : parent->FindRef(name);
}

int Symbols::Define(const std::string& name, Opening opening) {
  const int slot = function->SlotOf(level, name);
  refs[name] = {function, slot};
  loads[slot] = std::move(opening);
  return slot;
}

void Symbols::Load(const std::string& name) {
  if (FindRef(name) == nullptr) Define(name, {Opening::kResolve, name, {}});
}

void Symbols::Store(const std::string& name) {
  stores.insert(name);
  if (refs.count(name) > 0) return;
  const Variable* outer = parent == nullptr ? nullptr : parent->FindRef(name);
  if (outer != nullptr) {
    Define(name, {Opening::kAlias, name, *outer});
  } else {
    Define(name, {Opening::kUnset, name, {}});
  }
}

int Symbols::Parameter(const std::string& name) {
  stores.insert(name);
  return Define(name, {Opening::kParameter, name, {}});
}

void Symbols::Merge(const std::vector<Symbols>& branches) {
  std::set<std::string> added;
  for (const Symbols& branch : branches) added.insert(branch.stores.begin(), branch.stores.end());
  for (const std::string& name : stores) added.erase(name);
  for (const Symbols& branch : branches) {
    for (const auto& [name, ref] : branch.refs) refs[name] = ref;
    for (const auto& [slot, load] : branch.loads) loads[slot] = load;
    stores.insert(branch.stores.begin(), branch.stores.end());
  }
  for (const std::string& name : added) {
    const Variable* outer = parent == nullptr ? nullptr : parent->FindRef(name);
    loads[refs.at(name).slot] = outer != nullptr ? Opening{Opening::kAlias, name, *outer}
                                                 : Opening{Opening::kResolve, name, {}};
  }
}

void CollectLoads(const Expr* expr, Symbols* symbols) {
  if (expr == nullptr) return;
  if (expr->kind == ExprKind::kName) symbols->Load(expr->name);
  ForEachBelow(*expr, [&](const Expr& below) { CollectLoads(&below, symbols); });
}

void CollectTargets(const Expr& target, bool as_parameters, Symbols* symbols) {
  if (target.kind == ExprKind::kTuple) {
    for (const ExprPtr& item : target.items) CollectTargets(*item, as_parameters, symbols);
  } else if (target.kind == ExprKind::kNamespaceRef) {
    symbols->Load(target.name);
  } else if (as_parameters) {
    symbols->Parameter(target.name);
  } else {
    symbols->Store(target.name);
  }
}

namespace {

// The first branch is the body; the tests and bodies of all `elif` are one branch, one after the
// other, each merged as an `if` of its own.
void CollectIf(const Stmt& stmt, Symbols* symbols) {
  CollectLoads(stmt.exprs[0].get(), symbols);
  std::vector<Symbols> branches(3, *symbols);
  CollectBody(stmt.bodies[0], &branches[0]);
  for (size_t i = 1; i < stmt.exprs.size(); ++i) {
    CollectLoads(stmt.exprs[i].get(), &branches[1]);
    std::vector<Symbols> inner(3, branches[1]);
    CollectBody(stmt.bodies[i], &inner[0]);
    branches[1].Merge(inner);
  }
  if (stmt.bodies.size() > stmt.exprs.size()) CollectBody(stmt.bodies.back(), &branches[2]);
  symbols->Merge(branches);
}

void Collect(const Stmt& stmt, Symbols* symbols) {
  switch (stmt.kind) {
    case StmtKind::kOutput:
    case StmtKind::kWith:
    case StmtKind::kCallBlock:
      for (const ExprPtr& expr : stmt.exprs) CollectLoads(expr.get(), symbols);
      break;
    case StmtKind::kFor:
      CollectLoads(stmt.exprs[0].get(), symbols);
      break;
    case StmtKind::kIf:
      CollectIf(stmt, symbols);
      break;
    case StmtKind::kSet:
      CollectLoads(stmt.exprs[0].get(), symbols);
      CollectTargets(*stmt.targets[0], false, symbols);
      break;
    case StmtKind::kSetBlock:
    case StmtKind::kMacro:
      CollectTargets(*stmt.targets[0], false, symbols);
      break;
    case StmtKind::kFilterBlock:
      CollectLoads(stmt.filter.get(), symbols);
      break;
    case StmtKind::kText:
    case StmtKind::kGeneration:
    case StmtKind::kBreak:
    case StmtKind::kContinue:
      break;
  }
}

// jinja2.compiler.UndeclaredNameVisitor, for one name; fields in the order of Jinja2's nodes.
class NameFinder {
 public:
  explicit NameFinder(const std::string& name) : name_(name) {}

  bool In(const Body& body) {
    for (const auto& stmt : body) Visit(*stmt);
    return found_;
  }

 private:
  void Visit(const Expr* expr) {
    if (expr == nullptr) return;
    if (expr->kind == ExprKind::kName && expr->name == name_ && !stored_) found_ = true;
    ForEachBelow(*expr, [this](const Expr& below) { Visit(&below); });
  }

  void Store(const Expr& target) {
    if (target.kind == ExprKind::kName && target.name == name_) stored_ = true;
    for (const ExprPtr& item : target.items) Store(*item);
  }

  void Visit(const MacroNode& macro) {
    for (const std::string& name : macro.parameters) stored_ = stored_ || name == name_;
    for (const ExprPtr& expr : macro.defaults) Visit(expr.get());
    In(macro.body);
  }

  void Visit(const Stmt& stmt) {
    if (stmt.kind != StmtKind::kMacro) {
      for (const ExprPtr& target : stmt.targets) Store(*target);
    }
    if (stmt.kind == StmtKind::kFor) {
      Visit(stmt.exprs[0].get());
      for (const Body& body : stmt.bodies) In(body);
      if (stmt.exprs.size() > 1) Visit(stmt.exprs[1].get());
    } else if (stmt.kind == StmtKind::kIf) {
      for (size_t i = 0; i < stmt.bodies.size(); ++i) {
        if (i < stmt.exprs.size()) Visit(stmt.exprs[i].get());
        In(stmt.bodies[i]);
      }
    } else {
      if (stmt.kind == StmtKind::kSetBlock) Visit(stmt.filter.get());
      for (const ExprPtr& expr : stmt.exprs) Visit(expr.get());
      for (const Body& body : stmt.bodies) In(body);
      if (stmt.kind == StmtKind::kFilterBlock) Visit(stmt.filter.get());
    }
    if (stmt.macro != nullptr) Visit(*stmt.macro);
  }

  const std::string& name_;
  bool found_ = false, stored_ = false;
};

}  // namespace

void CollectBody(const Body& body, Symbols* symbols) {
  for (const auto& stmt : body) Collect(*stmt, symbols);
}

bool Mentions(const Body& body, const std::string& name) { return NameFinder(name).In(body); }

}  // namespace fttrain::jinja
