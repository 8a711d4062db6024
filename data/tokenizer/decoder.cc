#include "data/tokenizer/decoder.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "data/text/unicode.h"
#include "data/tokenizer/normalizer.h"
#include "runtime/files/json.h"

namespace fttrain {
namespace {

constexpr size_t kMaxReplacedBytes = size_t{1} << 26;  // of all tokens of a text

// The value of "<0xE2>", or -1.
int FallbackByte(const std::string& token) {
  const bool is_byte = token.size() == 6 && token.starts_with("<0x") && token[5] == '>' &&
                       absl::ascii_isxdigit(token[3]) && absl::ascii_isxdigit(token[4]);
  return is_byte ? std::stoi(token.substr(3, 2), nullptr, 16) : -1;
}

// Runs of byte tokens become the text they spell, or one U+FFFD for each byte.
std::vector<std::string> JoinFallbackBytes(const std::vector<std::string>& tokens) {
  std::vector<std::string> out;
  std::string bytes;
  const auto flush = [&] {
    if (bytes.empty()) return;
    if (FindInvalidUtf8(bytes) == std::string_view::npos) {
      out.push_back(bytes);
    } else {
      for (size_t i = 0; i < bytes.size(); ++i) out.push_back("\xEF\xBF\xBD");
    }
    bytes.clear();
  };
  for (const std::string& token : tokens) {
    const int byte = FallbackByte(token);
    if (byte >= 0) {
      bytes.push_back(static_cast<char>(byte));
    } else {
      flush();
      out.push_back(token);
    }
  }
  flush();
  return out;
}

std::string JoinByteLevel(const std::vector<std::string>& tokens) {
  std::string out, bytes;
  for (const std::string& token : tokens)
    out += BytesOfByteLevelToken(token, &bytes) ? bytes : token;
  return ReplaceInvalidUtf8(out);
}

std::string StripEnds(std::string text, const std::string& content, int64_t start, int64_t stop) {
  for (int64_t i = 0; i < start && text.starts_with(content); ++i) text.erase(0, content.size());
  for (int64_t i = 0; i < stop && text.ends_with(content); ++i) {
    text.erase(text.size() - content.size());
  }
  return text;
}

}  // namespace

absl::StatusOr<TokenDecoder> TokenDecoder::Create(const JsonNode& node) {
  TokenDecoder decoder;
  decoder.present_ = node.present();
  if (node.present()) FT_RETURN_IF_ERROR(decoder.Add(node));
  return decoder;
}

TokenDecoder TokenDecoder::SentencePiece(bool prefix) {
  TokenDecoder decoder;
  decoder.present_ = true;
  decoder.steps_.push_back({Kind::kReplace, " ", SplitRegex::Literal("\xE2\x96\x81")});
  decoder.steps_.push_back({Kind::kByteFallback, ""});
  decoder.steps_.push_back({Kind::kFuse, ""});
  if (prefix) decoder.steps_.push_back({Kind::kStrip, " ", nullptr, 1, 0});
  return decoder;
}

TokenDecoder TokenDecoder::ByteLevel() {
  TokenDecoder decoder;
  decoder.present_ = true;
  decoder.steps_.push_back({Kind::kByteLevel, ""});
  return decoder;
}

absl::Status TokenDecoder::Add(const JsonNode& node) {
  FT_ASSIGN_OR_RETURN(const std::string type, node["type"].String());
  if (type == "Sequence") {
    FT_RETURN_IF_ERROR(node.OnlyKeys({"type", "decoders"}));
    const JsonNode list = node["decoders"];
    FT_RETURN_IF_ERROR(list.IsArray());
    for (size_t i = 0; i < list.size(); ++i) FT_RETURN_IF_ERROR(Add(list[i]));
  } else if (type == "ByteLevel") {
    FT_RETURN_IF_ERROR(node.OnlyKeys({"type", "add_prefix_space", "trim_offsets", "use_regex"}));
    steps_.push_back({Kind::kByteLevel, ""});
  } else if (type == "ByteFallback") {
    FT_RETURN_IF_ERROR(node.OnlyKeys({"type"}));
    steps_.push_back({Kind::kByteFallback, ""});
  } else if (type == "Fuse") {
    FT_RETURN_IF_ERROR(node.OnlyKeys({"type"}));
    steps_.push_back({Kind::kFuse, ""});
  } else if (type == "Replace") {
    FT_RETURN_IF_ERROR(node.OnlyKeys({"type", "pattern", "content"}));
    FT_ASSIGN_OR_RETURN(std::string content, node["content"].String());
    FT_ASSIGN_OR_RETURN(auto pattern, ReadPattern(node["pattern"]));
    steps_.push_back({Kind::kReplace, std::move(content), std::move(pattern)});
  } else if (type == "Strip") {
    FT_RETURN_IF_ERROR(node.OnlyKeys({"type", "content", "start", "stop"}));
    FT_ASSIGN_OR_RETURN(std::string content, node["content"].String());
    FT_ASSIGN_OR_RETURN(const int64_t start, node["start"].Int(0, INT32_MAX));
    FT_ASSIGN_OR_RETURN(const int64_t stop, node["stop"].Int(0, INT32_MAX));
    if (!IsOneCharacter(content)) return node["content"].Error("one character is needed");
    steps_.push_back({Kind::kStrip, std::move(content), nullptr, start, stop});
  } else if (type == "Metaspace") {
    FT_RETURN_IF_ERROR(node.OnlyKeys(
        {"type", "replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep"}));
    FT_ASSIGN_OR_RETURN(std::string marker, node["replacement"].String("\xE2\x96\x81"));
    FT_ASSIGN_OR_RETURN(const bool legacy, node["add_prefix_space"].Bool(true));
    FT_ASSIGN_OR_RETURN(const std::string scheme,
                        node["prepend_scheme"].String(legacy ? "always" : "never"));
    if (!IsOneCharacter(marker)) return node["replacement"].Error("one character is needed");
    steps_.push_back({Kind::kMetaspace, std::move(marker), nullptr, 0, 0, scheme != "never"});
  } else {
    return node["type"].Unsupported();
  }
  return absl::OkStatus();
}

std::vector<std::string> TokenDecoder::Run(const Step& step, std::vector<std::string> tokens) {
  switch (step.kind) {
    case Kind::kByteLevel:
      return {JoinByteLevel(tokens)};
    case Kind::kByteFallback:
      return JoinFallbackBytes(tokens);
    case Kind::kFuse:
      return {absl::StrJoin(tokens, "")};
    case Kind::kReplace: {
      RegexScratch scratch;
      size_t bytes = 0;
      for (std::string& token : tokens) {
        // What would be too much, or gives up, stays as it is: this is for people to read.
        auto replaced = step.pattern->ReplaceAll(token, step.content, &scratch);
        if (!replaced.ok() || replaced->size() > kMaxReplacedBytes - bytes) continue;
        bytes += replaced->size();
        token = *std::move(replaced);
      }
      return tokens;
    }
    case Kind::kStrip:
      for (std::string& token : tokens)
        token = StripEnds(token, step.content, step.start, step.stop);
      return tokens;
    case Kind::kMetaspace:
      for (size_t i = 0; i < tokens.size(); ++i) {
        const char* space = i == 0 && step.drop_first ? "" : " ";
        tokens[i] = absl::StrReplaceAll(tokens[i], {{step.content, space}});
      }
      return tokens;
  }
  return tokens;
}

std::string TokenDecoder::Decode(std::vector<std::string> tokens) const {
  if (!present_) return absl::StrJoin(tokens, " ");
  for (const Step& step : steps_) tokens = Run(step, std::move(tokens));
  return absl::StrJoin(tokens, "");
}

}  // namespace fttrain
