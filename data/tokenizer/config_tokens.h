// What the files beside a tokenizer's own say of its tokens: tokenizer_config.json, and the older
// special_tokens_map.json and added_tokens.json. For load.cc and folder.cc.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "data/tokenizer/tokenizer_impl.h"

namespace fttrain {

class JsonNode;

// The key under which folder.cc hands on the contents of added_tokens.json, {token: id}.
inline constexpr char kAddedTokensFile[] = "added_tokens.json";

// Adds to the tokens of the tokenizer's own file what transformers 5 (TokenizersBackend) adds, in
// its order: added_tokens_decoder or added_tokens.json, the tokens named by keys as eos_token and
// image_token, those of extra_special_tokens or additional_special_tokens. A named token is
// special; one that the vocabulary has is from now on found in a text before all else. Sets bos and
// eos where they are named. Ids, notes: see AddedTokens. `first_free`: see AddedTokens::AddDecoder.
absl::Status AddConfigTokens(const JsonNode& config, int64_t first_free, Tokenizer::Impl* impl);

// Refuses, or notes, keys of `config` by which transformers would give a text other ids.
absl::Status CheckConfigKeys(const JsonNode& config, Tokenizer::Impl* impl);

// Beside a tokenizer.json, which says itself what is put around a text and in front of its first
// word: notes keys of `config` that say another thing.
absl::Status NoteDisagreement(const JsonNode& config, Tokenizer::Impl* impl);

}  // namespace fttrain
