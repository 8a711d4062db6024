// tekken.json and, behind the first part, tokenizer_config.json; then texts through what it is.
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "tests/fuzz/tokenizer_texts.h"

namespace fttrain::fuzz {

std::vector<std::string> Seeds() {
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  tokens.insert(tokens.end(), {"ab", "abc", "\xC3\xA9", " a"});
  std::string vocab;
  for (size_t rank = 0; rank < tokens.size(); ++rank) {
    absl::StrAppend(&vocab, rank == 0 ? "" : ",", R"({"rank":)", rank, R"(,"token_bytes":")",
                    absl::Base64Escape(tokens[rank]), R"("})");
  }
  const auto file = [&](const std::string& version, const std::string& more) {
    return absl::StrCat(R"({"config":{"pattern":"[a-z]+| ?\\p{N}|\\s+|[^a-z\\s]","version":")",
                        version, R"(","default_vocab_size":280,"default_num_special_tokens":20},)",
                        more, R"("vocab":[)", vocab, "]}");
  };
  const std::string specials =
      R"("special_tokens":[{"rank":0,"token_str":"<unk>","is_control":true},{"rank":1,"token_str":"<s>"},{"rank":2,"token_str":"</s>"}],)";
  return {file("v3", ""), file("v11", specials) + kNextPart + R"({"add_eos_token":true})"};
}

std::vector<std::string> Words() {
  return {"\"rank\":",
          "\"token_bytes\"",
          "\"token_str\"",
          "\"YWI=\"",
          "\"AA==\"",
          "\"special_tokens\":[],",
          "\"is_control\":false",
          "\"image\":{},",
          "\"v7\"",
          "\"v1\"",
          "(?!",
          "\\\\p{L}",
          "[^",
          "\"default_vocab_size\":",
          "null",
          "[]",
          "{}",
          "\\u0000",
          std::string(1, kNextPart)};
}

}  // namespace fttrain::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fttrain;
  using namespace fttrain::fuzz;
  std::vector<std::string> parts = Parts(data, size);
  parts.resize(2);
  return Judge(Tokenizer::FromTekken(parts[0], parts[1], "tekken.json"));
}
