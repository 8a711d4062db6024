// What may follow a value: subscripts, calls, filters, tests.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "data/chat/jinja/token_stream.h"

namespace fttrain::jinja {
ExprPtr NewExpr(ExprKind kind, int line) {
  auto node = std::make_unique<Expr>();
  node->kind = kind;
  node->line = line;
  return node;
}

void Deepen(const Expr& child, Expr* node) {
  node->depth = std::max(node->depth, child.depth + 1);
  if (node->depth > kMaxTreeDepth) {
    throw Error(ErrorKind::kLimit, "an expression is nested too deeply", node->line);
  }
}

namespace {

ExprPtr Over(ExprKind kind, int line, ExprPtr value) {
  ExprPtr node = NewExpr(kind, line);
  if (value != nullptr) Deepen(*value, node.get());
  node->items.push_back(std::move(value));
  return node;
}

}  // namespace

std::string Describe(const Token& token) {
  switch (token.kind) {
    case TokenKind::kData:
      return "template data / text";
    case TokenKind::kBlockBegin:
      return "begin of statement block";
    case TokenKind::kBlockEnd:
      return "end of statement block";
    case TokenKind::kVariableBegin:
      return "begin of print statement";
    case TokenKind::kVariableEnd:
      return "end of print statement";
    case TokenKind::kEnd:
      return "end of template";
    case TokenKind::kString:
      return "string";
    case TokenKind::kInteger:
      return "integer";
    case TokenKind::kFloat:
      return "float";
    default:
      return token.text;
  }
}

const Token& TokenStream::Take() {
  const Token& token = tokens_[at_];
  if (at_ + 1 < tokens_.size()) ++at_;
  return token;
}

bool TokenStream::SkipOperator(std::string_view op) {
  return Now().IsOperator(op) && (Take(), true);
}
bool TokenStream::SkipName(std::string_view name) { return Now().IsName(name) && (Take(), true); }

const Token& TokenStream::ExpectOperator(std::string_view op) {
  if (!Now().IsOperator(op)) FailExpected(op);
  return Take();
}
const Token& TokenStream::ExpectName(std::string_view name) {
  if (!Now().IsName(name)) FailExpected(name);
  return Take();
}
const Token& TokenStream::Expect(TokenKind kind, const char* described) {
  if (Now().kind != kind) FailExpected(described);
  return Take();
}

void TokenStream::Fail(const std::string& message, int line) const {
  throw Error(ErrorKind::kSyntax, message, line > 0 ? line : Now().line);
}
void TokenStream::FailExpected(std::string_view what) const {
  const std::string expected(what);
  Fail(Now().kind == TokenKind::kEnd
           ? absl::StrCat("unexpected end of template, expected '", expected, "'.")
           : absl::StrCat("expected token '", expected, "', got '", Describe(Now()), "'"));
}

ExprPtr ExpressionParser::Postfix(ExprPtr value) {
  while (true) {
    const Token& token = stream_.Now();
    if (token.IsOperator(".") || token.IsOperator("[")) {
      value = Subscript(std::move(value));
    } else if (token.IsOperator("(")) {
      value = Call(std::move(value));
    } else {
      return value;
    }
  }
}

ExprPtr ExpressionParser::FiltersAndTests(ExprPtr value) {
  while (true) {
    const Token& token = stream_.Now();
    if (token.IsOperator("|")) {
      value = Filters(std::move(value), false);
    } else if (token.IsName("is")) {
      value = Test(std::move(value));
    } else if (token.IsOperator("(")) {
      value = Call(std::move(value));
    } else {
      return value;
    }
  }
}

ExprPtr ExpressionParser::Subscript(ExprPtr value) {
  const Token& token = stream_.Take();
  const int line = token.line;
  if (token.text == ".") {
    const Token& attribute = stream_.Take();
    if (attribute.kind == TokenKind::kName) {
      ExprPtr node = Over(ExprKind::kAttribute, line, std::move(value));
      node->name = attribute.text;
      return node;
    }
    if (attribute.kind != TokenKind::kInteger) {
      stream_.Fail("expected name or number", attribute.line);
    }
    ExprPtr node = Over(ExprKind::kItem, line, std::move(value));
    ExprPtr index = NewExpr(ExprKind::kConst, line);
    index->value = attribute.value;
    node->items.push_back(std::move(index));
    return node;
  }
  ExprPtr node = Over(ExprKind::kItem, line, std::move(value));
  ExprPtr tuple = NewExpr(ExprKind::kTuple, line);
  while (!stream_.Now().IsOperator("]")) {
    if (!tuple->items.empty()) stream_.ExpectOperator(",");
    tuple->items.push_back(Subscribed());
    Deepen(*tuple->items.back(), tuple.get());
  }
  stream_.ExpectOperator("]");
  node->items.push_back(tuple->items.size() == 1 ? std::move(tuple->items[0]) : std::move(tuple));
  Deepen(*node->items[1], node.get());
  return node;
}

ExprPtr ExpressionParser::Subscribed() {
  ExprPtr slice = NewExpr(ExprKind::kSlice, stream_.Now().line);
  const auto ends = [&] { return stream_.Now().IsOperator("]") || stream_.Now().IsOperator(","); };
  const auto add = [&](ExprPtr part) {
    if (part != nullptr) Deepen(*part, slice.get());
    slice->items.push_back(std::move(part));
  };
  if (stream_.Now().IsOperator(":")) {
    add(nullptr);
  } else {
    ExprPtr value = Expression();
    if (!stream_.Now().IsOperator(":")) return value;
    add(std::move(value));
  }
  stream_.Take();
  add(stream_.Now().IsOperator(":") || ends() ? nullptr : Expression());
  add(stream_.SkipOperator(":") && !ends() ? Expression() : nullptr);
  return slice;
}

void ExpressionParser::CallArguments(Expr* node) {
  CallNode* call = &node->call;
  const auto argument = [&] {
    ExprPtr value = Expression();
    Deepen(*value, node);
    return value;
  };
  const int line = stream_.ExpectOperator("(").line;
  const auto ensure = [&](bool good) {
    if (!good) stream_.Fail("invalid syntax for function call expression", line);
  };
  bool comma = false;
  while (!stream_.Now().IsOperator(")")) {
    if (comma) {
      stream_.ExpectOperator(",");
      if (stream_.Now().IsOperator(")")) break;
    }
    if (stream_.SkipOperator("*")) {
      ensure(call->star == nullptr && call->double_star == nullptr);
      call->star = argument();
    } else if (stream_.SkipOperator("**")) {
      ensure(call->double_star == nullptr);
      call->double_star = argument();
    } else if (stream_.Now().kind == TokenKind::kName && stream_.After().IsOperator("=")) {
      ensure(call->double_star == nullptr);
      const std::string name = stream_.Take().text;
      stream_.Take();
      for (const auto& other : call->named) {
        if (other.first == name) {
          stream_.Fail(absl::StrCat("keyword argument repeated: ", name), line);
        }
      }
      call->named.emplace_back(name, argument());
    } else {
      ensure(call->star == nullptr && call->double_star == nullptr && call->named.empty());
      call->positional.push_back(argument());
    }
    comma = true;
  }
  stream_.ExpectOperator(")");
}

ExprPtr ExpressionParser::Call(ExprPtr callee) {
  const Nested nested(*this);
  ExprPtr node = Over(ExprKind::kCall, stream_.Now().line, std::move(callee));
  CallArguments(node.get());
  return node;
}

std::string ExpressionParser::DottedName() {
  std::string name = stream_.Expect(TokenKind::kName, "name").text;
  while (stream_.SkipOperator(".")) {
    name += "." + stream_.Expect(TokenKind::kName, "name").text;
  }
  return name;
}

ExprPtr ExpressionParser::OneFilter(ExprPtr value) {
  ExprPtr node = Over(ExprKind::kFilter, stream_.Now().line, std::move(value));
  node->name = DottedName();
  if (stream_.Now().IsOperator("(")) CallArguments(node.get());
  return node;
}

ExprPtr ExpressionParser::Filters(ExprPtr value, bool first_has_no_bar) {
  if (first_has_no_bar) value = OneFilter(std::move(value));
  while (stream_.SkipOperator("|")) value = OneFilter(std::move(value));
  return value;
}

ExprPtr ExpressionParser::Test(ExprPtr value) {
  const int line = stream_.Take().line;
  const bool negated = stream_.SkipName("not");
  ExprPtr node = Over(ExprKind::kTest, line, std::move(value));
  node->name = DottedName();
  const Token& token = stream_.Now();
  const bool literal = token.kind == TokenKind::kName || token.kind == TokenKind::kString ||
                       token.kind == TokenKind::kInteger || token.kind == TokenKind::kFloat ||
                       token.IsOperator("[") || token.IsOperator("{");
  const bool word = token.IsName("else") || token.IsName("or") || token.IsName("and");
  if (token.IsOperator("(")) {
    CallArguments(node.get());
  } else if (literal && !word) {
    if (token.IsName("is")) stream_.Fail("You cannot chain multiple tests with is");
    node->call.positional.push_back(Postfix(Primary()));
    Deepen(*node->call.positional[0], node.get());
  }
  return negated ? Over(ExprKind::kNot, line, std::move(node)) : std::move(node);
}

}  // namespace fttrain::jinja
