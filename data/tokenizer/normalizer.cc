#include "data/tokenizer/normalizer.h"

#include "absl/algorithm/container.h"
#include "data/tokenizer/text_limit.h"
#include "runtime/files/json.h"

namespace fttrain {
namespace {

constexpr std::pair<std::string_view, UnicodeForm> kForms[] = {{"NFC", UnicodeForm::kNfc},
                                                               {"NFD", UnicodeForm::kNfd},
                                                               {"NFKC", UnicodeForm::kNfkc},
                                                               {"NFKD", UnicodeForm::kNfkd}};

}  // namespace

absl::StatusOr<std::shared_ptr<const SplitRegex>> ReadPattern(const JsonNode& node) {
  FT_RETURN_IF_ERROR(node.OnlyKeys({"String", "Regex"}));
  if (node["String"].present()) {
    FT_ASSIGN_OR_RETURN(const std::string text, node["String"].String());
    if (text.empty()) return node["String"].Error("an empty pattern");
    return std::shared_ptr<const SplitRegex>(SplitRegex::Literal(text));
  }
  FT_ASSIGN_OR_RETURN(const std::string regex, node["Regex"].String());
  auto compiled = SplitRegex::Compile(regex);
  if (!compiled.ok()) return node["Regex"].Error(compiled.status().message());
  return std::shared_ptr<const SplitRegex>(*std::move(compiled));
}

absl::StatusOr<Normalizer> Normalizer::Create(const JsonNode& node) {
  Normalizer normalizer;
  if (node.present()) FT_RETURN_IF_ERROR(normalizer.Add(node));
  return normalizer;
}

bool Normalizer::prepends() const {
  return absl::c_any_of(steps_, [](const Step& step) { return step.kind == Step::kPrepend; });
}

absl::Status Normalizer::Add(const JsonNode& node) {
  FT_ASSIGN_OR_RETURN(const std::string type, node["type"].String());
  for (const auto& [name, form] : kForms) {
    if (type != name) continue;
    FT_RETURN_IF_ERROR(node.OnlyKeys({"type"}));
    steps_.push_back({Step::kUnicode, form, ""});
    return absl::OkStatus();
  }
  if (type == "Sequence") {
    FT_RETURN_IF_ERROR(node.OnlyKeys({"type", "normalizers"}));
    const JsonNode list = node["normalizers"];
    FT_RETURN_IF_ERROR(list.IsArray());
    for (size_t i = 0; i < list.size(); ++i) FT_RETURN_IF_ERROR(Add(list[i]));
  } else if (type == "Prepend") {
    FT_RETURN_IF_ERROR(node.OnlyKeys({"type", "prepend"}));
    FT_ASSIGN_OR_RETURN(std::string text, node["prepend"].String());
    steps_.push_back({Step::kPrepend, UnicodeForm::kNfc, std::move(text)});
  } else if (type == "Replace") {
    FT_RETURN_IF_ERROR(node.OnlyKeys({"type", "pattern", "content"}));
    FT_ASSIGN_OR_RETURN(std::string text, node["content"].String());
    FT_ASSIGN_OR_RETURN(auto pattern, ReadPattern(node["pattern"]));
    steps_.push_back({Step::kReplace, UnicodeForm::kNfc, std::move(text), std::move(pattern)});
  } else {
    return node["type"].Unsupported();
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Normalizer::Apply(std::string_view text, RegexScratch* scratch) const {
  std::string out(text);
  for (const Step& step : steps_) {
    if (step.kind == Step::kUnicode) {
      FT_ASSIGN_OR_RETURN(out, NormalizeUnicode(step.form, out));
    } else if (step.kind == Step::kPrepend) {
      FT_RETURN_IF_ERROR(CheckNormalizedBytes(out.size(), 1, step.content.size()));
      if (!out.empty()) out.insert(0, step.content);
    } else {
      FT_ASSIGN_OR_RETURN(out, step.pattern->ReplaceAll(out, step.content, scratch));
    }
  }
  return out;
}

}  // namespace fttrain
