// tokenizer.json and, behind the first part, tokenizer_config.json; then texts through what it is.
#include "data/tokenizer/tokenizer.h"

#include "data/text/unicode.h"
#include "runtime/process/check.h"
#include "tests/fuzz/target.h"

namespace fttrain::fuzz {
namespace {

constexpr const char* kTexts[] = {"", "a", "ab abc\n  cba", "<s>a</s> é ß 漢字 👋 '12345",
                                  "\u2581a\ufffd"};

void CheckText(const Tokenizer& tokenizer, const std::string& text) {
  for (const bool special : {false, true}) {
    const auto ids = tokenizer.Encode(text, special);
    if (!ids.ok()) continue;  // no unk token, and such
    for (const int32_t id : *ids) {
      FT_CHECK(0 <= id, id);  // a post-processor may name one beyond the vocabulary: CheckIdsFit
      tokenizer.IsAddedToken(id);
      tokenizer.WrittenId(id);
    }
    FT_CHECK(FindInvalidUtf8(tokenizer.Decode(*ids, special)) == std::string::npos, text);
    const std::vector<std::string> halves = {"", text, "ab", ""};
    const auto parts = tokenizer.EncodeSegments(halves, special);
    const auto whole = tokenizer.Encode(text + "ab", special);
    FT_CHECK(parts.ok() == whole.ok(), text);
    if (!parts.ok()) continue;
    FT_CHECK(parts->ids == *whole && parts->ends.size() == halves.size(), text);
    int64_t before = 0;
    for (const int64_t end : parts->ends) {
      FT_CHECK(before <= end, before, " ", end);
      before = end;
    }
    FT_CHECK(before == static_cast<int64_t>(parts->ids.size()), before);
    for (const SharedToken& token : parts->shared) {
      FT_CHECK(0 <= token.index && token.index < before, token.index);
      FT_CHECK(0 <= token.first && token.first < token.last && token.last < 4, token.first);
    }
  }
}

}  // namespace

std::vector<std::string> Seeds() {
  const std::string added =
      R"("added_tokens":[{"id":6,"content":"<s>","special":true,"normalized":false,"lstrip":false,"rstrip":false,"single_word":false},)"
      R"({"id":7,"content":"</s>","special":true,"normalized":false,"lstrip":false,"rstrip":false,"single_word":false}],)";
  const std::string bpe =
      R"("model":{"type":"BPE","vocab":{"a":0,"b":1,"c":2,"ab":3,"abc":4,"<unk>":5},"merges":["a b","ab c"],"unk_token":"<unk>"})";
  const std::string unigram =
      R"("model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0.0],["a",-1.0],["b",-1.5],["ab",-1.2],["▁",-2.0],["c",-3.0]]})";
  const std::string level =
      R"("pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},"decoder":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true},)";
  const std::string split =
      R"("normalizer":{"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"Replace","pattern":{"String":" "},"content":"▁"},{"type":"Prepend","prepend":"▁"}]},)"
      R"("pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"\\s+|\\p{L}+"},"behavior":"Isolated","invert":false},{"type":"Digits","individual_digits":true}]},)"
      R"("decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]},)";
  const std::string post =
      R"("post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":1}}],"special_tokens":{"<s>":{"id":"<s>","ids":[6],"tokens":["<s>"]}}},)";
  const std::string next = std::string(1, kNextPart);
  return {
      "{" + added + bpe + "}",
      "{" + added + level + bpe + "}" + next +
          R"({"bos_token":"<s>","eos_token":{"content":"</s>"}})",
      "{" + added + split + post + bpe + "}", "{" + split + unigram + "}",
      "{" + added + post + unigram + "}" + next +
          R"({"eos_token":"</s>","added_tokens_decoder":{"7":{"content":"</s>","special":true}}})"};
}

std::vector<std::string> Words() {
  return {"\"type\"",
          "\"BPE\"",
          "\"Unigram\"",
          "\"byte_fallback\":true,",
          "\"fuse_unk\":true,",
          "\"ignore_merges\":true,",
          "\"dropout\":0.1,",
          "\"end_of_word_suffix\":\"</w>\",",
          "\"Metaspace\"",
          "\"replacement\":\"▁\"",
          "\"prepend_scheme\":\"first\"",
          "\"Split\"",
          "\"Removed\"",
          "\"MergedWithPrevious\"",
          "\"MergedWithNext\"",
          "\"Contiguous\"",
          "\"invert\":true",
          "\"Regex\"",
          "\"String\"",
          "(?i)",
          "(?!",
          "\\\\p{N}",
          "(a*)*",
          "[^",
          "{1,99999}",
          "\"NFKC\"",
          "\"NFD\"",
          "\"Strip\"",
          "\"lstrip\":true",
          "\"normalized\":true",
          "\"single_word\":true",
          "\"special\":false",
          "\"ab c\"",
          "[\"a\",\"b\"]",
          "\"<0x41>\":8,",
          "\"▁\"",
          "null",
          "[]",
          "{}",
          "\"Bert\"",
          "\"Precompiled\"",
          "\\ud83d",
          "\\u0000",
          std::string(1, kNextPart)};
}

}  // namespace fttrain::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fttrain;
  using namespace fttrain::fuzz;
  std::vector<std::string> parts = Parts(data, size);
  parts.resize(2);
  const auto tokenizer = Tokenizer::FromJson(parts[0], parts[1], "tokenizer.json");
  if (!tokenizer.ok()) return Refused(tokenizer.status());
  ++accepted;
  const Tokenizer& it = **tokenizer;
  for (int32_t id = -1; id <= std::min(it.MaxId(), 100); ++id) it.IdToToken(id);
  if (it.EosId()) FT_CHECK(*it.EosId() >= 0 && *it.EosId() <= it.MaxId(), *it.EosId());
  for (const char* text : kTexts) CheckText(it, text);
  NoteTokensBeyond(it, 4);
  it.Decode(std::vector<int32_t>{-1, 0, 1, 2147483647}, false);
  return 0;
}
