#define PCRE2_CODE_UNIT_WIDTH 8
#include "data/tokenizer/split_regex.h"

#include <pcre2.h>

#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "data/text/unicode.h"
#include "data/text/unicode16.h"
#include "data/tokenizer/ascii_words.h"
#include "data/tokenizer/text_limit.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

constexpr char kSpaceClass[] =
    "\\t-\\r "
    "\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}";
constexpr size_t kJitStackBytes = size_t{64} << 20;

absl::Status Unsupported(std::string_view what, std::string_view pattern) {
  return absl::InvalidArgumentError(absl::StrCat("regular expression uses ", Printable(what),
                                                 ", which is not supported, in ",
                                                 Printable(pattern)));
}

// Walks the pattern once and writes its PCRE2 form.
class Rewriter {
 public:
  explicit Rewriter(std::string_view pattern) : in_(pattern) {}

  absl::StatusOr<std::string> Run() {
    while (at_ < in_.size()) FT_RETURN_IF_ERROR(Step());
    if (in_class_) return Unsupported("an unclosed '['", in_);
    return out_;
  }

 private:
  bool Next(std::string_view text) const { return in_.substr(at_, text.size()) == text; }
  void Copy(size_t count) {
    out_.append(in_.substr(at_, count));
    at_ += count;
  }

  absl::Status Step() {
    const char c = in_[at_];
    if (c == '\\') return Escape();
    if (in_class_) return InClass(c);
    if (c == '[') {
      in_class_ = true;
      Copy(Next("[^") ? 2 : 1);
      if (Next("]")) return Unsupported("an empty character class", in_);
      return absl::OkStatus();
    }
    if (c == '^' || c == '$') {
      absl::StrAppend(&out_, "(?m:", std::string(1, c), ")");
      ++at_;
      return absl::OkStatus();
    }
    if (Next("{,")) return Unsupported("'{,'", in_);
    // Ruby reads x{1,3}+ as (?:x{1,3})+, PCRE2 as possessive.
    if (Next("}+")) return Unsupported("'}+'", in_);
    if (Next("(?") || Next("(*")) return Group();
    Copy(1);
    return absl::OkStatus();
  }

  absl::Status InClass(char c) {
    if (c == '[') return Unsupported("a nested character class", in_);
    if (Next("&&")) return Unsupported("'&&' in a character class", in_);
    if (c == ']') in_class_ = false;
    Copy(1);
    return absl::OkStatus();
  }

  absl::Status Group() {
    for (const std::string_view open : {"(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!", "(?>"}) {
      if (Next(open)) {
        Copy(open.size());
        return absl::OkStatus();
      }
    }
    if (at_ == 0 && Next("(?i)")) {
      Copy(4);
      return absl::OkStatus();
    }
    return Unsupported("the group " + std::string(in_.substr(at_, 4)), in_);
  }

  absl::Status Escape() {
    if (at_ + 1 >= in_.size()) return Unsupported("a trailing backslash", in_);
    const char c = in_[at_ + 1];
    if (c == 'p' || c == 'P') return Property();
    if (c == 'u') return HexEscape();
    at_ += 2;
    if (c == 's') {
      absl::StrAppend(&out_, in_class_ ? "" : "[", kSpaceClass, in_class_ ? "" : "]");
    } else if (c == 'S' && !in_class_) {
      absl::StrAppend(&out_, "[^", kSpaceClass, "]");
    } else if (c == 'd') {
      return Category("Nd", false);
    } else if (c == 'v') {
      out_ += "\\x0B";  // a character for Ruby, a class for PCRE2
    } else if ((c == 'A' || c == 'z') && !in_class_) {
      absl::StrAppend(&out_, "\\", std::string(1, c));
    } else if (c == 'n' || c == 'r' || c == 't' || c == 'f' ||
               absl::ascii_ispunct(static_cast<unsigned char>(c)) || c == ' ') {
      out_ += '\\';
      out_ += c;
    } else {
      return Unsupported(std::string("\\") + c, in_);
    }
    return absl::OkStatus();
  }

  absl::Status HexEscape() {
    const std::string digits(in_.substr(at_ + 2, 4));
    if (digits.size() != 4 ||
        digits.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos) {
      return Unsupported("\\u without four digits", in_);
    }
    absl::StrAppend(&out_, "\\x{", digits, "}");
    at_ += 6;
    return absl::OkStatus();
  }

  absl::Status Property() {
    const size_t close = in_.find('}', at_);
    if (at_ + 2 >= in_.size() || in_[at_ + 2] != '{' || close == std::string_view::npos) {
      return Unsupported("\\p without braces", in_);
    }
    std::string name(in_.substr(at_ + 3, close - at_ - 3));
    const bool negated = !name.empty() && name[0] == '^';
    if (negated) name.erase(0, 1);
    const std::string escape(in_.substr(at_, 2));
    at_ = close + 1;
    if (name.size() == 1 || name.size() == 2) {
      return Category(name, negated != (escape == "\\P"));
    }
    absl::StrAppend(&out_, escape, negated ? "{^" : "{", "sc:", name, "}");
    return absl::OkStatus();
  }

  // A general category with the characters that PCRE2's tables lack.
  absl::Status Category(const std::string& name, bool negated) {
    const std::string newer = ClassSince14(name);
    if (in_class_ && negated && !newer.empty()) {
      return Unsupported("a negated category in a character class", in_);
    }
    if (in_class_) {
      absl::StrAppend(&out_, negated ? "\\p{^" : "\\p{", name, "}", newer);
    } else {
      absl::StrAppend(&out_, negated ? "[^\\p{" : "[\\p{", name, "}", newer, "]");
    }
    return absl::OkStatus();
  }

  std::string_view in_;
  size_t at_ = 0;
  bool in_class_ = false;
  std::string out_;
};

}  // namespace

struct SplitRegex::Impl {
  std::string literal;  // used when there is no code
  pcre2_code* code = nullptr;
  std::optional<AsciiWords> ascii;  // of patterns that are known: what the engine need not be asked
  ~Impl() { pcre2_code_free(code); }
};

struct RegexScratch::Impl {
  pcre2_match_data* match = pcre2_match_data_create(1, nullptr);  // groups are not asked for
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(size_t{64} << 10, kJitStackBytes, nullptr);
  Impl() { pcre2_jit_stack_assign(context, nullptr, stack); }
  ~Impl() {
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
    pcre2_match_data_free(match);
  }
};

RegexScratch::RegexScratch() = default;
RegexScratch::~RegexScratch() = default;

SplitRegex::SplitRegex(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SplitRegex::~SplitRegex() = default;

std::unique_ptr<SplitRegex> SplitRegex::Literal(std::string_view text) {
  auto impl = std::make_unique<Impl>();
  impl->literal = std::string(text);
  return std::unique_ptr<SplitRegex>(new SplitRegex(std::move(impl)));
}

absl::StatusOr<std::unique_ptr<SplitRegex>> SplitRegex::Compile(std::string_view oniguruma) {
  FT_ASSIGN_OR_RETURN(const std::string pattern, Rewriter(oniguruma).Run());
  auto impl = std::make_unique<Impl>();
  int error = 0;
  PCRE2_SIZE where = 0;
  pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
  pcre2_set_newline(context, PCRE2_NEWLINE_LF);
  impl->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                             PCRE2_UTF | PCRE2_UCP, &error, &where, context);
  pcre2_compile_context_free(context);
  if (impl->code == nullptr) {
    PCRE2_UCHAR text[256];
    pcre2_get_error_message(error, text, sizeof(text));
    return absl::InvalidArgumentError(absl::StrCat("regular expression ", Printable(pattern), ": ",
                                                   reinterpret_cast<const char*>(text),
                                                   " at offset ", where));
  }
  pcre2_jit_compile(impl->code, PCRE2_JIT_COMPLETE);  // without JIT, matching is slower and equal
  impl->ascii = AsciiWords::Of(oniguruma);
  return std::unique_ptr<SplitRegex>(new SplitRegex(std::move(impl)));
}

absl::Status SplitRegex::FindAll(std::string_view text, RegexScratch* scratch,
                                 std::vector<TextRange>* matches) const {
  matches->clear();
  if (impl_->code == nullptr) {
    if (impl_->literal.empty()) return absl::OkStatus();
    for (size_t at = text.find(impl_->literal); at != std::string_view::npos;
         at = text.find(impl_->literal, at + impl_->literal.size())) {
      matches->push_back({at, at + impl_->literal.size()});
    }
    return absl::OkStatus();
  }
  if (scratch->impl_ == nullptr) scratch->impl_ = std::make_unique<RegexScratch::Impl>();
  RegexScratch::Impl& s = *scratch->impl_;
  const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(s.match);
  size_t at = 0;
  while (at <= text.size()) {
    const size_t known = impl_->ascii && at < text.size() ? impl_->ascii->EndOfMatch(text, at) : 0;
    if (known > 0) {
      matches->push_back({at, known});
      at = known;
      continue;
    }
    const int found = pcre2_match(impl_->code, reinterpret_cast<PCRE2_SPTR>(text.data()),
                                  text.size(), at, PCRE2_NO_UTF_CHECK, s.match, s.context);
    if (found == PCRE2_ERROR_NOMATCH) break;
    if (found < 0) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the tokenizer's regular expression gave up (PCRE2 error ", found,
                       ") on a text of ", text.size(), " bytes"));
    }
    matches->push_back({ends[0], ends[1]});
    at = ends[1];
    if (ends[0] == ends[1]) {  // an empty match: go on behind the next character
      at += at < text.size() ? Utf8Length(static_cast<unsigned char>(text[at])) : 1;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> SplitRegex::ReplaceAll(std::string_view text, std::string_view content,
                                                   RegexScratch* scratch) const {
  std::vector<TextRange> matches;
  FT_RETURN_IF_ERROR(FindAll(text, scratch, &matches));
  size_t kept = text.size();
  for (const TextRange& match : matches) kept -= match.end - match.begin;
  FT_RETURN_IF_ERROR(CheckNormalizedBytes(kept, matches.size(), content.size()));
  std::string out;
  size_t at = 0;
  for (const TextRange& match : matches) {
    out.append(text.substr(at, match.begin - at)).append(content);
    at = match.end;
  }
  return std::move(out.append(text.substr(at)));
}

}  // namespace fttrain
