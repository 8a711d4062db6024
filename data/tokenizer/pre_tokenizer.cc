#include "data/tokenizer/pre_tokenizer.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_replace.h"
#include "data/text/unicode.h"
#include "data/tokenizer/normalizer.h"
#include "runtime/files/json.h"

namespace fttrain {
namespace {

// The pattern of GPT-2, which ByteLevel brings along.
constexpr char kByteLevelPattern[] =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

constexpr std::string_view kBehaviors[] = {"Removed", "Isolated", "Contiguous",
                                           "MergedWithPrevious", "MergedWithNext"};  // by Behavior

struct Part {
  size_t begin, end;
  bool match;
};

// The matches and what lies between them, in order and without gaps.
std::vector<Part> WithGaps(const std::vector<TextRange>& matches, size_t size, bool invert) {
  std::vector<Part> parts;
  size_t at = 0;
  for (const TextRange& m : matches) {
    if (at != m.begin) parts.push_back({at, m.begin, invert});
    parts.push_back({m.begin, m.end, !invert});
    at = m.end;
  }
  if (at != size) parts.push_back({at, size, invert});
  return parts;
}

void FindDigits(std::string_view text, std::vector<TextRange>* matches) {
  matches->clear();
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    if (lead < 0x80) {  // most are: without asking for their properties
      if (lead >= '0' && lead <= '9') matches->push_back({i, i + 1});
      ++i;
      continue;
    }
    const size_t length = Utf8Length(lead);
    if (IsUnicodeNumeric(Utf8CodePoint(text, i))) matches->push_back({i, i + length});
    i += length;
  }
}

// A match joins the part before it, unless that ended in a match too. `next` mirrors this.
std::vector<Part> MergeMatches(std::vector<Part> parts, bool next) {
  if (next) std::reverse(parts.begin(), parts.end());
  std::vector<Part> out;
  bool previous_match = false;
  for (const Part& part : parts) {
    if (part.match && !previous_match && !out.empty()) {
      (next ? out.back().begin : out.back().end) = next ? part.begin : part.end;
    } else {
      out.push_back(part);
    }
    previous_match = part.match;
  }
  if (next) std::reverse(out.begin(), out.end());
  return out;
}

std::vector<Part> JoinEqualNeighbours(const std::vector<Part>& parts) {
  std::vector<Part> out;
  for (const Part& part : parts) {
    if (!out.empty() && out.back().match == part.match) {
      out.back().end = part.end;
    } else {
      out.push_back(part);
    }
  }
  return out;
}

}  // namespace

absl::StatusOr<PreTokenizer> PreTokenizer::Create(const JsonNode& node) {
  PreTokenizer pre;
  if (node.present()) FT_RETURN_IF_ERROR(pre.Add(node));
  return pre;
}

absl::StatusOr<PreTokenizer> PreTokenizer::Matches(std::string_view pattern) {
  PreTokenizer pre;
  FT_ASSIGN_OR_RETURN(auto compiled, SplitRegex::Compile(pattern));
  pre.steps_.push_back({Kind::kPattern, Behavior::kRemoved, true, std::move(compiled)});
  pre.byte_level_ = true;
  return pre;
}

bool PreTokenizer::puts_space() const {
  const bool space = std::any_of(steps_.begin(), steps_.end(),
                                 [](const Step& s) { return s.kind == Kind::kPrefixSpace; });
  return space || prepend_ != kNever;
}

absl::Status PreTokenizer::Add(const JsonNode& node) {
  // Not moved out of its StatusOr: g++ 12 then warns of a string that may be uninitialized.
  const absl::StatusOr<std::string> type = node["type"].String();
  FT_RETURN_IF_ERROR(type.status());
  if (*type == "Sequence") {
    FT_RETURN_IF_ERROR(node.OnlyKeys({"type", "pretokenizers"}));
    const JsonNode list = node["pretokenizers"];
    FT_RETURN_IF_ERROR(list.IsArray());
    for (size_t i = 0; i < list.size(); ++i) FT_RETURN_IF_ERROR(Add(list[i]));
    return absl::OkStatus();
  }
  if (byte_level_) return node["type"].Error(*type + " behind ByteLevel is not supported");
  if (*type == "Split") return AddSplit(node);
  if (*type == "ByteLevel") return AddByteLevel(node);
  if (*type == "Metaspace") return AddMetaspace(node);
  if (*type != "Digits") return node["type"].Unsupported();
  FT_RETURN_IF_ERROR(node.OnlyKeys({"type", "individual_digits"}));
  FT_ASSIGN_OR_RETURN(const bool individual, node["individual_digits"].Bool(false));
  steps_.push_back({Kind::kDigits, individual ? Behavior::kIsolated : Behavior::kContiguous});
  return absl::OkStatus();
}

absl::Status PreTokenizer::AddSplit(const JsonNode& node) {
  FT_RETURN_IF_ERROR(node.OnlyKeys({"type", "pattern", "behavior", "invert"}));
  Step step{Kind::kPattern};
  FT_ASSIGN_OR_RETURN(step.pattern, ReadPattern(node["pattern"]));
  FT_ASSIGN_OR_RETURN(step.invert, node["invert"].Bool(false));
  FT_ASSIGN_OR_RETURN(const std::string behavior, node["behavior"].String());
  const auto* found = std::find(std::begin(kBehaviors), std::end(kBehaviors), behavior);
  if (found == std::end(kBehaviors)) return node["behavior"].Unsupported();
  step.behavior = static_cast<Behavior>(found - kBehaviors);
  steps_.push_back(std::move(step));
  return absl::OkStatus();
}

absl::Status PreTokenizer::AddByteLevel(const JsonNode& node) {
  FT_RETURN_IF_ERROR(node.OnlyKeys({"type", "add_prefix_space", "trim_offsets", "use_regex"}));
  FT_ASSIGN_OR_RETURN(const bool prefix_space, node["add_prefix_space"].Bool(true));
  FT_ASSIGN_OR_RETURN(const bool use_regex, node["use_regex"].Bool(true));
  if (prefix_space) steps_.push_back({Kind::kPrefixSpace});
  if (use_regex) {
    FT_ASSIGN_OR_RETURN(auto pattern, SplitRegex::Compile(kByteLevelPattern));
    steps_.push_back({Kind::kPattern, Behavior::kIsolated, false, std::move(pattern)});
  }
  byte_level_ = true;
  return absl::OkStatus();
}

absl::Status PreTokenizer::AddMetaspace(const JsonNode& node) {
  if (!metaspace_.empty() || !steps_.empty())
    return node["type"].Error("Metaspace must come first");
  FT_RETURN_IF_ERROR(node.OnlyKeys(
      {"type", "replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep"}));
  FT_ASSIGN_OR_RETURN(metaspace_, node["replacement"].String("\xE2\x96\x81"));
  if (!IsOneCharacter(metaspace_)) return node["replacement"].Error("one character is needed");
  FT_ASSIGN_OR_RETURN(const bool legacy, node["add_prefix_space"].Bool(true));
  FT_ASSIGN_OR_RETURN(const std::string scheme,
                      node["prepend_scheme"].String(legacy ? "always" : "never"));
  if (scheme != "always" && scheme != "first" && scheme != "never") {
    return node["prepend_scheme"].Unsupported();
  }
  prepend_ = scheme == "always" ? kAlways : scheme == "first" ? kFirst : kNever;
  FT_ASSIGN_OR_RETURN(const bool split, node["split"].Bool(true));
  if (split) {
    steps_.push_back(
        {Kind::kPattern, Behavior::kMergedWithNext, false, SplitRegex::Literal(metaspace_)});
  }
  return absl::OkStatus();
}

std::string PreTokenizer::Map(std::string_view text, bool at_start) const {
  if (metaspace_.empty()) return std::string(text);
  std::string out = absl::StrReplaceAll(std::string(text), {{" ", metaspace_}});
  const bool prepend = prepend_ == kAlways || (prepend_ == kFirst && at_start);
  if (prepend && out.compare(0, metaspace_.size(), metaspace_) != 0) out.insert(0, metaspace_);
  return out;
}

absl::Status PreTokenizer::CutWord(const Step& step, const Word& word, Words* out) {
  if (step.kind == Kind::kDigits) {
    FindDigits(word.text, &out->ranges);
  } else {
    FT_RETURN_IF_ERROR(step.pattern->FindAll(word.text, &out->regex, &out->ranges));
  }
  const auto add = [&](size_t from, size_t to) {
    if (from == to) return;
    const size_t inserted = word.inserted > from ? word.inserted - from : 0;
    const size_t begin = word.begin + from - (word.inserted - inserted);
    out->next.push_back({word.text.substr(from, to - from), begin, inserted});
  };
  if (step.behavior == Behavior::kIsolated) {
    size_t at = 0;
    for (const TextRange& match : out->ranges) {
      add(at, match.begin);
      add(match.begin, match.end);
      at = match.end;
    }
    add(at, word.text.size());
    return absl::OkStatus();
  }
  std::vector<Part> parts = WithGaps(out->ranges, word.text.size(), step.invert);
  if (step.behavior == Behavior::kContiguous) parts = JoinEqualNeighbours(parts);
  if (step.behavior == Behavior::kMergedWithPrevious) parts = MergeMatches(std::move(parts), false);
  if (step.behavior == Behavior::kMergedWithNext) parts = MergeMatches(std::move(parts), true);
  for (const Part& part : parts) {
    if (step.behavior == Behavior::kRemoved && part.match) continue;
    add(part.begin, part.end);
  }
  return absl::OkStatus();
}

absl::Status PreTokenizer::Cut(std::string_view mapped, Words* out) const {
  out->words.clear();
  out->made.clear();
  if (mapped.empty()) return absl::OkStatus();
  out->words.push_back({mapped, 0, 0});
  for (const Step& step : steps_) {
    out->next.clear();
    for (const Word& word : out->words) {
      if (step.kind != Kind::kPrefixSpace) {
        FT_RETURN_IF_ERROR(CutWord(step, word, out));
      } else if (word.text[0] == ' ') {
        out->next.push_back(word);
      } else {
        out->made.push_back(" " + std::string(word.text));
        out->next.push_back({out->made.back(), word.begin, word.inserted + 1});
      }
    }
    out->words.swap(out->next);
  }
  return absl::OkStatus();
}

}  // namespace fttrain
