// The parser's place among the tokens, and its depth; for parser.cc and expressions.cc.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/chat/jinja/ast.h"
#include "data/chat/jinja/lexer.h"

namespace fttrain::jinja {

std::string Describe(const Token& token);  // for messages
ExprPtr NewExpr(ExprKind kind, int line);
void Deepen(const Expr& child, Expr* node);  // `node` stands above `child`; kLimit if too high

class TokenStream {
 public:
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& Now() const { return tokens_[at_]; }
  const Token& After() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  const Token& Take();
  bool SkipOperator(std::string_view op);
  bool SkipName(std::string_view name);
  const Token& ExpectOperator(std::string_view op);
  const Token& ExpectName(std::string_view name);
  const Token& Expect(TokenKind kind, const char* described);

  [[noreturn]] void Fail(const std::string& message, int line = 0) const;
  [[noreturn]] void FailExpected(std::string_view what) const;

 private:
  std::vector<Token> tokens_;
  size_t at_ = 0;
};

// Expressions, by precedence from the loosest.
class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream& stream) : stream_(stream) {}

  ExprPtr Expression(bool with_condition = true);
  // One expression, or a tuple without brackets; `end`, a name, ends it too.
  ExprPtr TupleOrOne(bool with_condition = true, std::string_view end = {},
                     bool parentheses = false);
  // What can be assigned to: names, tuples of them, and with `with_namespace` ns.name.
  ExprPtr Target(std::string_view end = {}, bool with_namespace = false);
  std::string TargetName();
  ExprPtr Filters(ExprPtr value, bool first_has_no_bar);

  // Held while brackets or blocks are open.
  class Nested {
   public:
    explicit Nested(ExpressionParser& parser);
    ~Nested() { --parser_.nesting_; }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;

   private:
    ExpressionParser& parser_;
  };

 private:
  ExprPtr Condition();
  ExprPtr Or();
  ExprPtr And();
  ExprPtr Not();
  ExprPtr Comparison();
  ExprPtr Sum();
  ExprPtr Concat();
  ExprPtr Product();
  ExprPtr Power();
  ExprPtr Unary(bool with_filter = true);
  ExprPtr Primary(bool with_namespace = false);
  ExprPtr ListLiteral();
  ExprPtr DictLiteral();
  ExprPtr Postfix(ExprPtr value);
  ExprPtr FiltersAndTests(ExprPtr value);
  ExprPtr Subscript(ExprPtr value);
  ExprPtr Subscribed();
  ExprPtr Call(ExprPtr callee);
  ExprPtr OneFilter(ExprPtr value);
  ExprPtr Test(ExprPtr value);
  void CallArguments(Expr* node);
  std::string DottedName();
  void CheckTarget(const Expr& target) const;

  TokenStream& stream_;
  int nesting_ = 0;
};

}  // namespace fttrain::jinja
