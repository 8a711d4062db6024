#define PCRE2_CODE_UNIT_WIDTH 8
#include "model/linears/python_regex.h"

#include <pcre2.h>

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

// Walks a pattern and finds what Python's re refuses or reads otherwise than PCRE2 does.
class Syntax {
 public:
  explicit Syntax(std::string_view pattern) : in_(pattern) {}

  // The first piece that is not read alike; empty if there is none.
  std::string Difference() {
    while (at_ < in_.size()) {
      if (const std::string found = Step(); !found.empty()) return found;
    }
    return "";
  }

 private:
  bool Next(std::string_view text) const { return in_.substr(at_, text.size()) == text; }
  std::string Piece(size_t length) const { return std::string(in_.substr(at_, length)); }
  std::string Skip(size_t length) {
    at_ += length;
    return "";
  }

  std::string Step() {
    if (Next("\\")) return Escape();
    if (in_class_) {
      // [[:alpha:]] is a class of PCRE2's, letters in brackets of Python's.
      if (Next("[:") || Next("[.") || Next("[=")) return Piece(2);
      if (Next("]")) in_class_ = false;
      return Skip(1);
    }
    if (Next("[")) {
      in_class_ = true;
      Skip(Next("[^") ? 2 : 1);
      return Skip(Next("]") ? 1 : 0);  // there it is a letter
    }
    if (Next("{,")) return "{,";
    if (Next("(*")) return "(*";
    return Next("(?") ? Group() : Skip(1);
  }

  std::string Group() {
    for (const std::string_view open :
         {"(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?P<", "(?P="}) {
      if (Next(open)) return Skip(open.size());
    }
    if (at_ == 0 && Next("(?i)")) return Skip(4);
    return Piece(4);
  }

  std::string Escape() {
    if (at_ + 1 >= in_.size()) return "a trailing backslash";
    const char c = in_[at_ + 1];
    const std::string_view letters = in_class_ ? "dDwWsSbnrtf" : "dDwWsSbBAZnrtf123456789";
    const bool alike = absl::ascii_ispunct(static_cast<unsigned char>(c)) || c == ' ' ||
                       letters.find(c) != std::string_view::npos;
    return alike ? Skip(2) : Piece(2);
  }

  std::string_view in_;
  size_t at_ = 0;
  bool in_class_ = false;
};

std::string ErrorMessage(int error) {
  PCRE2_UCHAR text[256] = {};
  pcre2_get_error_message(error, text, sizeof(text));
  return reinterpret_cast<const char*>(text);
}

}  // namespace

struct PythonRegex::Code {
  std::string pattern;
  pcre2_code* code = nullptr;
  pcre2_match_data* match = nullptr;
  ~Code() {
    pcre2_match_data_free(match);
    pcre2_code_free(code);
  }

  // Whether there is a match, whose groups `match` then holds.
  absl::StatusOr<bool> Match(std::string_view name, uint32_t options) const {
    const int found = pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(name.data()), name.size(), 0,
                                  options, match, nullptr);
    if (found >= 0 || found == PCRE2_ERROR_NOMATCH) return found >= 0;
    return absl::ResourceExhaustedError(absl::StrCat("the regular expression ", Printable(pattern),
                                                     " on ", std::string(name), ": ",
                                                     ErrorMessage(found)));
  }
};

PythonRegex::PythonRegex(std::unique_ptr<Code> code) : code_(std::move(code)) {}
PythonRegex::PythonRegex(PythonRegex&&) noexcept = default;
PythonRegex::~PythonRegex() = default;

absl::StatusOr<PythonRegex> PythonRegex::Compile(const std::string& pattern) {
  const auto refuse = [&](const std::string& what) {
    return absl::InvalidArgumentError(
        absl::StrCat("the regular expression ", Printable(pattern), " ", what));
  };
  if (const std::string different = Syntax(pattern).Difference(); !different.empty()) {
    return refuse(absl::StrCat("uses ", Printable(different), ", which is not supported"));
  }
  auto code = std::make_unique<Code>();
  code->pattern = pattern;
  int error = 0;
  PCRE2_SIZE where = 0;
  code->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                             /*options=*/0, &error, &where, nullptr);
  if (code->code == nullptr) {
    return refuse(absl::StrCat("does not compile: ", ErrorMessage(error), " at offset ", where));
  }
  code->match = pcre2_match_data_create_from_pattern(code->code, nullptr);
  return PythonRegex(std::move(code));
}

absl::StatusOr<bool> PythonRegex::FullMatch(std::string_view name) const {
  return code_->Match(name, PCRE2_ANCHORED | PCRE2_ENDANCHORED);
}

absl::StatusOr<std::optional<std::string>> PythonRegex::GroupOfMatch(std::string_view name,
                                                                     const char* group) const {
  FT_ASSIGN_OR_RETURN(const bool found, code_->Match(name, PCRE2_ANCHORED));
  const int number =
      pcre2_substring_number_from_name(code_->code, reinterpret_cast<PCRE2_SPTR>(group));
  if (!found || number < 0) return std::nullopt;
  const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(code_->match) + 2 * number;
  if (ends[0] == PCRE2_UNSET) return std::nullopt;
  return std::string(name.substr(ends[0], ends[1] - ends[0]));
}

}  // namespace fttrain
