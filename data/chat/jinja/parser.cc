#include "data/chat/jinja/parser.h"

#include <algorithm>
#include <initializer_list>

#include "absl/strings/str_cat.h"
#include "data/chat/jinja/scopes.h"
#include "data/chat/jinja/token_stream.h"

namespace fttrain::jinja {
namespace {

using Ends = std::initializer_list<const char*>;
using StmtPtr = std::unique_ptr<Stmt>;

class Parser {
 public:
  explicit Parser(std::string_view source) : stream_(Tokenize(source)), expressions_(stream_) {}

  TemplateNode Parse() {
    TemplateNode root;
    root.body = Statements({});
    return root;
  }

 private:
  static StmtPtr Node(StmtKind kind, int line) {
    auto node = std::make_unique<Stmt>();
    node->kind = kind;
    node->line = line;
    return node;
  }

  // Statements up to a block that begins with one of `ends`, whose name is then the current token;
  // up to the end of the template for none.
  Body Statements(Ends ends) {
    const ExpressionParser::Nested nested(expressions_);
    Body body;
    while (stream_.Now().kind != TokenKind::kEnd) {
      const Token& token = stream_.Take();
      if (token.kind == TokenKind::kData) {
        body.push_back(Node(StmtKind::kText, token.line));
        body.back()->text = token.text;
      } else if (token.kind == TokenKind::kVariableBegin) {
        body.push_back(Node(StmtKind::kOutput, token.line));
        body.back()->exprs.push_back(expressions_.TupleOrOne());
        stream_.Expect(TokenKind::kVariableEnd, "end of print statement");
      } else {
        const Token& name = stream_.Now();
        if (std::any_of(ends.begin(), ends.end(), [&](const char* e) { return name.IsName(e); })) {
          return body;
        }
        if (name.kind != TokenKind::kName) stream_.Fail("tag name expected");
        body.push_back(Statement(ends));
        stream_.Expect(TokenKind::kBlockEnd, "end of statement block");
      }
    }
    if (ends.size() > 0) FailUnclosed("Unexpected end of template.", ends);
    return body;
  }

  [[noreturn]] void FailUnclosed(const std::string& what, Ends ends) {
    std::string looking;
    for (const char* end : ends) {
      absl::StrAppend(&looking, looking.empty() ? "'" : " or '", end, "'");
    }
    stream_.Fail(looking.empty()
                     ? what
                     : absl::StrCat(what, " Jinja was looking for the following tags: ", looking,
                                    ". The innermost block that needs to be closed is '",
                                    open_.empty() ? "" : open_.back(), "'."));
  }

  // The body of a block statement: behind its header, up to one of `ends`.
  Body BodyUntil(const char* tag, Ends ends) {
    stream_.SkipOperator(":");
    stream_.Expect(TokenKind::kBlockEnd, "end of statement block");
    open_.push_back(tag);
    Body body = Statements(ends);
    open_.pop_back();
    return body;
  }
  Body WholeBody(const char* tag, const char* end) {
    Body body = BodyUntil(tag, {end});
    stream_.Take();
    return body;
  }

  StmtPtr Statement(Ends ends) {
    const std::string name = stream_.Now().text;
    if (name == "for") return For();
    if (name == "if") return If();
    if (name == "set") return Set();
    if (name == "macro") return Macro();
    if (name == "call") return CallBlock();
    if (name == "filter") return FilterBlock();
    if (name == "with") return With();
    if (name == "print") return Print();
    if (name == "generation") return Generation();
    if (name == "break") return Node(StmtKind::kBreak, stream_.Take().line);
    if (name == "continue") return Node(StmtKind::kContinue, stream_.Take().line);
    for (const char* refused : {"block", "extends", "include", "import", "from", "autoescape"}) {
      if (name == refused) {
        throw Error(ErrorKind::kUnsupported,
                    absl::StrCat("the statement '", name, "' is not supported in chat templates"),
                    stream_.Now().line);
      }
    }
    FailUnclosed(absl::StrCat("Encountered unknown tag '", name, "'."), ends);
  }

  StmtPtr For() {
    StmtPtr node = Node(StmtKind::kFor, stream_.Take().line);
    node->targets.push_back(expressions_.Target("in"));
    stream_.ExpectName("in");
    node->exprs.push_back(expressions_.TupleOrOne(false, "recursive"));
    if (stream_.SkipName("if")) node->exprs.push_back(expressions_.Expression());
    node->recursive = stream_.SkipName("recursive");
    node->bodies.push_back(BodyUntil("for", {"endfor", "else"}));
    if (stream_.Take().text == "else") node->bodies.push_back(WholeBody("for", "endfor"));
    return node;
  }

  StmtPtr If() {
    StmtPtr node = Node(StmtKind::kIf, stream_.Now().line);
    do {
      stream_.Take();
      node->exprs.push_back(expressions_.TupleOrOne(false));
      node->bodies.push_back(BodyUntil("if", {"elif", "else", "endif"}));
    } while (stream_.Now().IsName("elif"));
    if (stream_.Take().text == "else") node->bodies.push_back(WholeBody("if", "endif"));
    return node;
  }

  StmtPtr Set() {
    StmtPtr node = Node(StmtKind::kSet, stream_.Take().line);
    node->targets.push_back(expressions_.Target({}, true));
    if (stream_.SkipOperator("=")) {
      node->exprs.push_back(expressions_.TupleOrOne());
      return node;
    }
    node->kind = StmtKind::kSetBlock;
    node->filter = expressions_.Filters(nullptr, false);
    node->bodies.push_back(WholeBody("set", "endset"));
    return node;
  }

  StmtPtr With() {
    StmtPtr node = Node(StmtKind::kWith, stream_.Take().line);
    while (stream_.Now().kind != TokenKind::kBlockEnd) {
      if (!node->targets.empty()) stream_.ExpectOperator(",");
      node->targets.push_back(expressions_.Target());
      stream_.ExpectOperator("=");
      node->exprs.push_back(expressions_.Expression());
    }
    node->bodies.push_back(WholeBody("with", "endwith"));
    return node;
  }

  StmtPtr Print() {
    StmtPtr node = Node(StmtKind::kOutput, stream_.Take().line);
    while (stream_.Now().kind != TokenKind::kBlockEnd) {
      if (!node->exprs.empty()) stream_.ExpectOperator(",");
      node->exprs.push_back(expressions_.Expression());
    }
    return node;
  }

  StmtPtr FilterBlock() {
    StmtPtr node = Node(StmtKind::kFilterBlock, stream_.Take().line);
    node->filter = expressions_.Filters(nullptr, true);
    node->bodies.push_back(WholeBody("filter", "endfilter"));
    return node;
  }

  void Signature(MacroNode* macro) {
    stream_.ExpectOperator("(");
    while (!stream_.Now().IsOperator(")")) {
      if (!macro->parameters.empty()) stream_.ExpectOperator(",");
      const std::string name = expressions_.TargetName();
      if (std::count(macro->parameters.begin(), macro->parameters.end(), name) > 0) {
        stream_.Fail(absl::StrCat("duplicate argument '", name, "' in function definition"));
      }
      macro->parameters.push_back(name);
      if (stream_.SkipOperator("=")) {
        macro->defaults.push_back(expressions_.Expression());
      } else if (!macro->defaults.empty()) {
        stream_.Fail("non-default argument follows default argument");
      }
    }
    stream_.ExpectOperator(")");
  }

  StmtPtr Macro() {
    StmtPtr node = Node(StmtKind::kMacro, stream_.Take().line);
    node->macro = std::make_unique<MacroNode>();
    node->macro->name = expressions_.TargetName();
    Signature(node->macro.get());
    ExprPtr target = NewExpr(ExprKind::kName, node->line);
    target->name = node->macro->name;
    node->targets.push_back(std::move(target));
    node->macro->body = WholeBody("macro", "endmacro");
    return node;
  }

  StmtPtr CallBlock() {
    StmtPtr node = Node(StmtKind::kCallBlock, stream_.Take().line);
    node->macro = std::make_unique<MacroNode>();
    if (stream_.Now().IsOperator("(")) Signature(node->macro.get());
    node->exprs.push_back(expressions_.Expression());
    if (node->exprs[0]->kind != ExprKind::kCall) stream_.Fail("expected call", node->line);
    node->macro->body = WholeBody("call", "endcall");
    return node;
  }

  StmtPtr Generation() {
    StmtPtr node = Node(StmtKind::kGeneration, stream_.Take().line);
    node->macro = std::make_unique<MacroNode>();
    node->macro->body = WholeBody("generation", "endgeneration");
    return node;
  }

  TokenStream stream_;
  ExpressionParser expressions_;
  std::vector<const char*> open_;
};

}  // namespace

TemplateNode Parse(std::string_view source) {
  TemplateNode root = Parser(source).Parse();
  PlaceVariables(&root);
  return root;
}

}  // namespace fttrain::jinja
