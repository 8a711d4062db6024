// tokenizer.json, the format of Hugging Face `tokenizers`: text <-> token ids, equal to that
// library on every valid UTF-8 string. Covers BPE as GPT-2, Llama 3, Qwen, SmolLM, DeepSeek (byte
// level) and Llama 2, Mistral, Gemma (byte fallback) use it; whatever else a file asks for is
// refused at load, naming its JSON path and type. `truncation` and `padding` in the file are not
// applied (as in transformers).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace fttrain {

// Ids of a text given in parts. Part i ends after token ends[i] - 1.
struct SegmentedIds {
  std::vector<int32_t> ids;
  std::vector<int64_t> ends;
};

// One thread at a time: a cache of words is inside.
class Tokenizer {
 public:
  // Reads tokenizer.json and, for the special tokens, tokenizer_config.json and
  // special_tokens_map.json where present. NotFound without tokenizer.json; InvalidArgument, naming
  // file and JSON path, for what is malformed or not understood.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const std::string& folder);
  // The same from texts; `config` may be empty. `name` stands for the file in messages.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromJson(std::string_view tokenizer,
                                                             std::string_view config,
                                                             const std::string& name);
  ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // Added tokens inside `text` become their ids. `add_special_tokens` runs the post-processor (BOS
  // and the like). InvalidArgument if `text` is not valid UTF-8.
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, bool add_special_tokens) const;

  // Encode(all segments joined), and where each segment ends. What the post-processor adds in front
  // belongs to the first segment, behind to the last. InvalidArgument if one token covers
  // characters of two segments.
  absl::StatusOr<SegmentedIds> EncodeSegments(absl::Span<const std::string> segments,
                                              bool add_special_tokens) const;

  // Ids the vocabulary lacks give nothing; bytes that are not UTF-8 give U+FFFD. `skip_special`
  // leaves out special tokens.
  std::string Decode(absl::Span<const int32_t> ids, bool skip_special) const;

  std::optional<int32_t> TokenToId(std::string_view token) const;
  std::string IdToToken(int32_t id) const;  // as the file spells it; empty if there is none
  int32_t MaxId() const;

  std::optional<int32_t> EosId() const;
  std::string BosToken() const;  // empty if there is none
  std::string EosToken() const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// InvalidArgument if an id of the tokenizer has no row in an embedding of `embedding_rows` rows.
absl::Status CheckTokenizerFits(const Tokenizer& tokenizer, int64_t embedding_rows);

}  // namespace fttrain
