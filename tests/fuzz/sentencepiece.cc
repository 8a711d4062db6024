// tokenizer.model; the first byte: its bits are tokenizer_config.json. Then texts through what it
// is.
#include "tests/data/tokenizer/spm_file.h"
#include "tests/fuzz/tokenizer_texts.h"

namespace fttrain::fuzz {

std::vector<std::string> Seeds() {
  const std::string results("b\0\xC3\xA9\0", 5);
  SpmFile unigram = Small();
  unigram.trainer = Integer(3, 1);
  SpmFile kept = Small();
  kept.Add("c", 0, kUserDefined).Add("b\xE2\x96\x81", -1);
  kept.normalizer = Integer(3, 1) + Integer(4, 1) + Integer(5, 1);
  kept.trainer += Integer(41, 1) + Integer(42, 2);
  return {"\x07" + Small().text(), "\x03" + kept.text(), "\x01" + unigram.text(),
          "\x01" + WithRule(1, results, 0), "\x01" + WithRule(2, results, 2)};
}

std::vector<std::string> Words() {
  std::vector<std::string> words = {Bytes(1, Bytes(1, "ba") + Float(2, -3) + Integer(3, kNormal)),
                                    Bytes(1, Bytes(1, "b") + Float(2, 0) + Integer(3, kUnused)),
                                    Bytes(1, Bytes(1, kSpace) + Integer(3, kUserDefined)),
                                    Bytes(2, Integer(3, 1)),
                                    Bytes(3, Integer(3, 0)),
                                    Bytes(5, Bytes(2, "x")),
                                    Integer(3, 1),
                                    Integer(24, 1),
                                    Integer(35, 1),
                                    Integer(41, -1),
                                    Float(2, 1e38f),
                                    Varint(~uint64_t{0}),
                                    "<0x41>",
                                    "\xE2\x96\x81",
                                    "<s>",
                                    " "};
  return words;
}

}  // namespace fttrain::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fttrain;
  using namespace fttrain::fuzz;
  if (size == 0) return 0;
  const auto word = [&](int bit) { return (data[0] >> bit & 1) != 0 ? "true" : "false"; };
  const std::string config = absl::StrFormat(
      R"({"add_bos_token": %s, "add_eos_token": %s, "legacy": %s, "eos_token": "</s>"})", word(0),
      word(1), word(2));
  const std::string_view model(reinterpret_cast<const char*>(data) + 1, size - 1);
  return Judge(Tokenizer::FromSentencePiece(model, config, "tokenizer.model"));
}
