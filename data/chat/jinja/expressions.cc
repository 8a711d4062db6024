#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "data/chat/jinja/text.h"
#include "data/chat/jinja/token_stream.h"

namespace fttrain::jinja {
namespace {

// Puts `child` (which may be null) below `node`.
void Add(ExprPtr child, Expr* node) {
  if (child != nullptr) Deepen(*child, node);
  node->items.push_back(std::move(child));
}

ExprPtr Binary(ExprKind kind, int line, ExprPtr left, ExprPtr right) {
  ExprPtr node = NewExpr(kind, line);
  Add(std::move(left), node.get());
  Add(std::move(right), node.get());
  return node;
}

bool IsConstantName(const std::string& name) {
  return name == "true" || name == "false" || name == "none" || name == "True" || name == "False" ||
         name == "None";
}

}  // namespace

ExpressionParser::Nested::Nested(ExpressionParser& parser) : parser_(parser) {
  if (++parser_.nesting_ > kMaxNesting) {
    throw Error(ErrorKind::kLimit, "the template is nested too deeply", parser_.stream_.Now().line);
  }
}

ExprPtr ExpressionParser::Expression(bool with_condition) {
  const Nested nested(*this);
  return with_condition ? Condition() : Or();
}

ExprPtr ExpressionParser::Condition() {
  const Nested nested(*this);
  int line = stream_.Now().line;
  ExprPtr value = Or();
  while (stream_.SkipName("if")) {
    ExprPtr node = NewExpr(ExprKind::kCondition, line);
    Add(Or(), node.get());
    Add(std::move(value), node.get());
    Add(stream_.SkipName("else") ? Condition() : nullptr, node.get());
    value = std::move(node);
    line = stream_.Now().line;
  }
  return value;
}

ExprPtr ExpressionParser::Or() {
  int line = stream_.Now().line;
  ExprPtr left = And();
  while (stream_.SkipName("or")) {
    left = Binary(ExprKind::kOr, line, std::move(left), And());
    line = stream_.Now().line;
  }
  return left;
}

ExprPtr ExpressionParser::And() {
  int line = stream_.Now().line;
  ExprPtr left = Not();
  while (stream_.SkipName("and")) {
    left = Binary(ExprKind::kAnd, line, std::move(left), Not());
    line = stream_.Now().line;
  }
  return left;
}

ExprPtr ExpressionParser::Not() {
  if (!stream_.Now().IsName("not")) return Comparison();
  const Nested nested(*this);
  ExprPtr node = NewExpr(ExprKind::kNot, stream_.Take().line);
  Add(Not(), node.get());
  return node;
}

ExprPtr ExpressionParser::Comparison() {
  static const std::pair<const char*, CompareOp> kOps[] = {
      {"==", CompareOp::kEq}, {"!=", CompareOp::kNe}, {"<", CompareOp::kLt},
      {"<=", CompareOp::kLe}, {">", CompareOp::kGt},  {">=", CompareOp::kGe}};
  ExprPtr node = NewExpr(ExprKind::kCompare, stream_.Now().line);
  Add(Sum(), node.get());
  while (true) {
    const Token& token = stream_.Now();
    const auto* found = std::find_if(std::begin(kOps), std::end(kOps),
                                     [&](const auto& op) { return token.IsOperator(op.first); });
    if (found != std::end(kOps)) {
      stream_.Take();
      node->ops.push_back(found->second);
    } else if (stream_.SkipName("in")) {
      node->ops.push_back(CompareOp::kIn);
    } else if (token.IsName("not") && stream_.After().IsName("in")) {
      stream_.Take();
      stream_.Take();
      node->ops.push_back(CompareOp::kNotIn);
    } else {
      break;
    }
    Add(Sum(), node.get());
  }
  return node->ops.empty() ? std::move(node->items[0]) : std::move(node);
}

ExprPtr ExpressionParser::Sum() {
  ExprPtr left = Concat();
  while (stream_.Now().IsOperator("+") || stream_.Now().IsOperator("-")) {
    const Token& token = stream_.Take();
    const Operator op = token.text == "+" ? Operator::kAdd : Operator::kSubtract;
    const int line = token.line;
    left = Binary(ExprKind::kBinary, line, std::move(left), Concat());
    left->op = op;
  }
  return left;
}

ExprPtr ExpressionParser::Concat() {
  ExprPtr node = NewExpr(ExprKind::kConcat, stream_.Now().line);
  Add(Product(), node.get());
  while (stream_.SkipOperator("~")) Add(Product(), node.get());
  return node->items.size() == 1 ? std::move(node->items[0]) : std::move(node);
}

ExprPtr ExpressionParser::Product() {
  static const std::pair<const char*, Operator> kOps[] = {{"*", Operator::kMultiply},
                                                          {"/", Operator::kDivide},
                                                          {"//", Operator::kFloorDivide},
                                                          {"%", Operator::kModulo}};
  ExprPtr left = Power();
  while (true) {
    const auto* found = std::find_if(std::begin(kOps), std::end(kOps), [&](const auto& op) {
      return stream_.Now().IsOperator(op.first);
    });
    if (found == std::end(kOps)) return left;
    const int line = stream_.Take().line;
    left = Binary(ExprKind::kBinary, line, std::move(left), Power());
    left->op = found->second;
  }
}

ExprPtr ExpressionParser::Power() {
  ExprPtr left = Unary();
  while (stream_.Now().IsOperator("**")) {  // from the left, unlike Python's
    const int line = stream_.Take().line;
    left = Binary(ExprKind::kBinary, line, std::move(left), Unary());
    left->op = Operator::kPower;
  }
  return left;
}

ExprPtr ExpressionParser::Unary(bool with_filter) {
  const Nested nested(*this);
  const Token& token = stream_.Now();
  ExprPtr node;
  if (token.IsOperator("-") || token.IsOperator("+")) {
    node = NewExpr(token.text == "-" ? ExprKind::kNegative : ExprKind::kPositive, token.line);
    stream_.Take();
    Add(Unary(false), node.get());
  } else {
    node = Primary();
  }
  node = Postfix(std::move(node));
  return with_filter ? FiltersAndTests(std::move(node)) : std::move(node);
}

ExprPtr ExpressionParser::Primary(bool with_namespace) {
  const Token& token = stream_.Now();
  const int line = token.line;
  if (token.kind == TokenKind::kName) {
    const std::string name = stream_.Take().text;
    ExprPtr node = NewExpr(IsConstantName(name) ? ExprKind::kConst : ExprKind::kName, line);
    node->name = name;
    if (node->kind == ExprKind::kConst) {
      const char first = static_cast<char>(name[0] | 0x20);
      node->value = first == 'n' ? Value::None() : Value::Bool(first == 't');
    } else if (with_namespace && stream_.SkipOperator(".")) {
      node->kind = ExprKind::kNamespaceRef;
      node->value = Value::String(stream_.Expect(TokenKind::kName, "name").text);
    }
    return node;
  }
  if (token.kind == TokenKind::kString) {
    ExprPtr node = NewExpr(ExprKind::kConst, line);
    std::string text;
    while (stream_.Now().kind == TokenKind::kString) text += stream_.Take().value.text();
    node->value = Value::String(std::move(text));
    return node;
  }
  if (token.kind == TokenKind::kInteger || token.kind == TokenKind::kFloat) {
    ExprPtr node = NewExpr(ExprKind::kConst, line);
    node->value = stream_.Take().value;
    return node;
  }
  if (stream_.SkipOperator("(")) {
    ExprPtr node = TupleOrOne(true, {}, true);
    stream_.ExpectOperator(")");
    return node;
  }
  if (token.IsOperator("[")) return ListLiteral();
  if (token.IsOperator("{")) return DictLiteral();
  stream_.Fail(absl::StrCat("unexpected '", Describe(token), "'"));
}

ExprPtr ExpressionParser::TupleOrOne(bool with_condition, std::string_view end, bool parentheses) {
  ExprPtr tuple = NewExpr(ExprKind::kTuple, stream_.Now().line);
  bool is_tuple = false;
  while (true) {
    if (!tuple->items.empty()) stream_.ExpectOperator(",");
    const Token& token = stream_.Now();
    if (token.kind == TokenKind::kVariableEnd || token.kind == TokenKind::kBlockEnd ||
        token.IsOperator(")") || (!end.empty() && token.IsName(end))) {
      break;
    }
    Add(Expression(with_condition), tuple.get());
    if (!stream_.Now().IsOperator(",")) break;
    is_tuple = true;
  }
  if (is_tuple) return tuple;
  if (!tuple->items.empty()) return std::move(tuple->items[0]);
  if (!parentheses) {
    stream_.Fail(absl::StrCat("Expected an expression, got '", Describe(stream_.Now()), "'"));
  }
  return tuple;
}

ExprPtr ExpressionParser::Target(std::string_view end, bool with_namespace) {
  ExprPtr tuple = NewExpr(ExprKind::kTuple, stream_.Now().line);
  bool is_tuple = false;
  while (true) {
    if (!tuple->items.empty()) stream_.ExpectOperator(",");
    const Token& token = stream_.Now();
    if (token.kind == TokenKind::kVariableEnd || token.kind == TokenKind::kBlockEnd ||
        token.IsOperator(")") || (!end.empty() && token.IsName(end))) {
      break;
    }
    Add(Primary(with_namespace), tuple.get());
    if (!stream_.Now().IsOperator(",")) break;
    is_tuple = true;
  }
  if (tuple->items.empty() && !is_tuple) {
    stream_.Fail(absl::StrCat("Expected an expression, got '", Describe(stream_.Now()), "'"));
  }
  ExprPtr target = is_tuple ? std::move(tuple) : std::move(tuple->items[0]);
  CheckTarget(*target);
  return target;
}

void ExpressionParser::CheckTarget(const Expr& target) const {
  if (target.kind == ExprKind::kName || target.kind == ExprKind::kNamespaceRef) return;
  if (target.kind != ExprKind::kTuple) stream_.Fail("can't assign to an expression", target.line);
  for (const ExprPtr& item : target.items) CheckTarget(*item);
}

std::string ExpressionParser::TargetName() {
  const Token& token = stream_.Expect(TokenKind::kName, "name");
  if (IsConstantName(token.text)) stream_.Fail("can't assign to 'name'", token.line);
  return token.text;
}

ExprPtr ExpressionParser::ListLiteral() {
  ExprPtr node = NewExpr(ExprKind::kList, stream_.ExpectOperator("[").line);
  while (!stream_.Now().IsOperator("]")) {
    if (!node->items.empty()) stream_.ExpectOperator(",");
    if (stream_.Now().IsOperator("]")) break;
    Add(Expression(), node.get());
  }
  stream_.ExpectOperator("]");
  return node;
}

ExprPtr ExpressionParser::DictLiteral() {
  ExprPtr node = NewExpr(ExprKind::kDict, stream_.ExpectOperator("{").line);
  while (!stream_.Now().IsOperator("}")) {
    if (!node->items.empty()) stream_.ExpectOperator(",");
    if (stream_.Now().IsOperator("}")) break;
    Add(Expression(), node.get());
    stream_.ExpectOperator(":");
    Add(Expression(), node.get());
  }
  stream_.ExpectOperator("}");
  return node;
}

}  // namespace fttrain::jinja
