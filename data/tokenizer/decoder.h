// `decoder` of tokenizer.json: token spellings -> text. ByteLevel, ByteFallback, Fuse, Replace,
// Strip, Metaspace, Sequence.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/tokenizer/split_regex.h"

namespace fttrain {

class JsonNode;

class TokenDecoder {
 public:
  // Other types are refused by name. An absent node joins the tokens with spaces.
  static absl::StatusOr<TokenDecoder> Create(const JsonNode& node);
  // Of tokenizer.model; `prefix`: the text had a space put in front. Of tekken.json.
  static TokenDecoder SentencePiece(bool prefix);
  static TokenDecoder ByteLevel();
  std::string Decode(std::vector<std::string> tokens) const;

 private:
  enum class Kind { kByteLevel, kByteFallback, kFuse, kReplace, kStrip, kMetaspace };
  struct Step {
    Kind kind;
    std::string content;                          // kReplace, kStrip, kMetaspace
    std::shared_ptr<const SplitRegex> pattern{};  // kReplace
    int64_t start = 0, stop = 0;  // kStrip: at most so many characters at either end
    bool drop_first = false;      // kMetaspace: in the first token, spaces vanish
  };
  absl::Status Add(const JsonNode& node);
  static std::vector<std::string> Run(const Step& step, std::vector<std::string> tokens);

  std::vector<Step> steps_;
  bool present_ = false;
};

}  // namespace fttrain
