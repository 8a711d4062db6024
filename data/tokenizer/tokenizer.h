// Text <-> token ids, as the library that a folder's file belongs to does it on every valid UTF-8
// string: tokenizer.json as Hugging Face `tokenizers` (BPE, byte level or with byte fallback, and
// Unigram), tokenizer.model as `sentencepiece` (BPE, Unigram), tekken.json as `mistral-common`.
// Every key of such a file is honoured or refused at load, by JSON path and type. `truncation` and
// `padding` in the file are not applied (as in transformers).
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

// A token that covers characters of several parts of a text: of `first`, in which it begins, to
// `last`; empty parts may be between.
struct SharedToken {
  int64_t index;  // into ids
  int64_t first, last;
};

// Ids of a text given in parts. Part i ends after token ends[i] - 1, so that a token counts to the
// part in which it begins. Who wants to learn some parts alone must also look into `shared`: the
// end of one to be learnt may be a token that covers what follows it.
struct SegmentedIds {
  std::vector<int32_t> ids;
  std::vector<int64_t> ends;
  std::vector<SharedToken> shared;  // their index rises
};

// Const functions may be called from several threads at once.
class Tokenizer {
 public:
  // Reads tokenizer.json, else tekken.json, else tokenizer.model, and what tokenizer_config.json
  // and, where that has no added_tokens_decoder, special_tokens_map.json and added_tokens.json add
  // to its tokens, as transformers 5 does. NotFound without any;
  // InvalidArgument, naming file and JSON path, for what is malformed or not understood.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const std::string& folder);
  // The same from texts; `config` may be empty. `name` stands for the file in messages.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromJson(std::string_view tokenizer,
                                                             std::string_view config,
                                                             const std::string& name);
  // These two find the model's control or special tokens in a text, which their libraries do not,
  // and put BOS in front unless `config` has add_bos_token: false (EOS behind with add_eos_token).
  // A sentencepiece model's space in front of a text stands at its start alone, or, with `legacy`
  // in `config`, behind every such token too; between the tokens ids are sentencepiece's.
  // transformers 5 differs: without add_bos_token it puts no BOS there; its Llama and Gemma classes
  // put no space in front of a text that begins with one; and for a class it has no code for
  // (model_type mistral) the space stands behind every token whatever `legacy` says.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromSentencePiece(std::string_view model,
                                                                      std::string_view config,
                                                                      const std::string& name);
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromTekken(std::string_view tekken,
                                                               std::string_view config,
                                                               const std::string& name);
  ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // Added tokens inside `text` become their ids. `add_special_tokens` runs the post-processor (BOS
  // and the like), but what it would add in front or behind is not added where the text has it
  // already. InvalidArgument if `text` is not valid UTF-8.
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, bool add_special_tokens) const;

  // Encode(all segments joined), and where each segment ends. What the post-processor adds in front
  // belongs to the first segment, behind to the last. A character that normalization makes of
  // several (e and an accent) begins where the first of them stands. Ids that spell one character
  // together count to one segment. InvalidArgument if a segment ends inside a character.
  absl::StatusOr<SegmentedIds> EncodeSegments(absl::Span<const std::string> segments,
                                              bool add_special_tokens) const;

  // Ids the vocabulary lacks give nothing; bytes that are not UTF-8 give U+FFFD. `skip_special`
  // leaves out special tokens.
  std::string Decode(absl::Span<const int32_t> ids, bool skip_special) const;

  std::optional<int32_t> TokenToId(std::string_view token) const;
  bool IsAddedToken(int32_t id) const;    // found in a text before all else; special or not
  bool IsSpecialToken(int32_t id) const;  // an added one that the files call special
  // The added tokens that `text`, were it the whole, spells as they stand in the files.
  std::vector<int32_t> AddedTokensIn(std::string_view text) const;
  std::string IdToToken(int32_t id) const;  // as the file spells it; empty if there is none
  // The greatest other id that a file of the folder gives the added token `id`; -1 if none does.
  int64_t WrittenId(int32_t id) const;
  int32_t MaxId() const;
  int64_t CountFrom(int64_t id) const;  // tokens that have this id or a greater one

  std::optional<int32_t> EosId() const;
  std::string BosToken() const;  // empty if there is none
  std::string EosToken() const;
  // What a user should know of the folder, as where its files contradict each other.
  const std::vector<std::string>& Notes() const;

  struct Impl;  // tokenizer_impl.h

 private:
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// A note that names the last of the tokens that have no row in an embedding of `embedding_rows`
// rows and says how many they are; empty if each has one. A text may go without them.
std::string NoteTokensBeyond(const Tokenizer& tokenizer, int64_t embedding_rows);

// InvalidArgument, with token, id and rows, if one of `ids`, which the tokenizer made, has no row,
// or would have none by a file of the folder: which row is that token's is not certain then.
absl::Status CheckIdsFit(const Tokenizer& tokenizer, absl::Span<const int32_t> ids,
                         int64_t embedding_rows);

}  // namespace fttrain
