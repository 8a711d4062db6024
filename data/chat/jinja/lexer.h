// A template's text -> tokens, as Jinja2 cuts it with trim_blocks and lstrip_blocks on.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "data/chat/jinja/value.h"

namespace fttrain::jinja {

enum class TokenKind {
  kData,
  kBlockBegin,
  kBlockEnd,
  kVariableBegin,
  kVariableEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,  // text is the operator
  kEnd
};

struct Token {
  TokenKind kind;
  int line;
  std::string text;  // of names, operators and data
  Value value;       // of literals

  bool IsOperator(std::string_view op) const { return kind == TokenKind::kOperator && text == op; }
  bool IsName(std::string_view name) const { return kind == TokenKind::kName && text == name; }
};

// The last token is kEnd. Errors: kSyntax, with the line. `source` is well-formed UTF-8.
std::vector<Token> Tokenize(std::string_view source);

// The value of a string literal, quotes and all.
std::string Unescaped(std::string_view literal, int line);

}  // namespace fttrain::jinja
