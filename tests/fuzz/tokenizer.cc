// tokenizer.json and, behind the first part, tokenizer_config.json; then texts through what it is.
#include "tests/fuzz/tokenizer_texts.h"

namespace fttrain::fuzz {

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
  return Judge(Tokenizer::FromJson(parts[0], parts[1], "tokenizer.json"));
}
