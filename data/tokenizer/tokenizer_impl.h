// What a Tokenizer holds. For tokenizer.cc, load.cc and encoder.cc.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "data/tokenizer/added_tokens.h"
#include "data/tokenizer/decoder.h"
#include "data/tokenizer/normalizer.h"
#include "data/tokenizer/post_processor.h"
#include "data/tokenizer/pre_tokenizer.h"
#include "data/tokenizer/sentencepiece_normalizer.h"
#include "data/tokenizer/token_model.h"
#include "data/tokenizer/tokenizer.h"

namespace fttrain {

// What one thread needs to encode: caches and buffers.
struct EncodeScratch {
  ModelScratch model;
  RegexScratch regex;
  PreTokenizer::Words words;
  std::vector<Piece> pieces;
};

// Scratches that no thread uses at the moment.
class ScratchPool {
 public:
  // One for the caller until it goes.
  class Lease {
   public:
    explicit Lease(ScratchPool* pool) : pool_(pool), scratch_(pool->Take()) {}
    ~Lease() { pool_->Give(std::move(scratch_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    EncodeScratch* get() { return scratch_.get(); }

   private:
    ScratchPool* pool_;
    std::unique_ptr<EncodeScratch> scratch_;
  };

 private:
  std::unique_ptr<EncodeScratch> Take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (free_.empty()) return std::make_unique<EncodeScratch>();
    std::unique_ptr<EncodeScratch> scratch = std::move(free_.back());
    free_.pop_back();
    return scratch;
  }
  void Give(std::unique_ptr<EncodeScratch> scratch) {
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(std::move(scratch));
  }

  std::mutex mutex_;
  std::vector<std::unique_ptr<EncodeScratch>> free_;
};

// The end of a note that names the first of `tokens`.
inline std::string SoItIsWith(int64_t tokens) {
  return tokens > 1 ? absl::StrCat("; so it is with ", tokens, " tokens") : "";
}

struct Tokenizer::Impl {
  std::unique_ptr<TokenModel> model;
  Normalizer normalizer;
  std::optional<SentencePieceNormalizer> spaces;  // of tokenizer.model, in place of `normalizer`
  bool prefix_everywhere = false;  // `spaces`: also behind added tokens, not at the start alone
  PreTokenizer pre;
  AddedTokens added;
  TokenDecoder decoder;
  PostProcessor post;
  std::string bos, eos;
  std::vector<std::string> notes;
  ScratchPool pool;

  std::optional<int32_t> Id(std::string_view token) const {
    if (const AddedToken* found = added.FindContent(token)) return found->id;
    const int32_t id = model->vocabulary().Find(token);
    return id < 0 ? std::nullopt : std::optional<int32_t>(id);
  }
  std::string Spelling(int32_t id) const {
    if (const AddedToken* token = added.FindId(id)) return token->spelling;
    const std::string* token = model->vocabulary().Token(id);
    return token == nullptr ? "" : *token;
  }
};

}  // namespace fttrain
