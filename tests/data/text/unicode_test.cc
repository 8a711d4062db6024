#include "data/text/unicode.h"

#include <gtest/gtest.h>
#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uniset.h>

#include <chrono>
#include <random>
#include <vector>

namespace fttrain {
namespace {

constexpr UnicodeForm kForms[] = {UnicodeForm::kNfc, UnicodeForm::kNfd, UnicodeForm::kNfkc,
                                  UnicodeForm::kNfkd};

// ICU alone, on the characters of Unicode 9.
std::string IcusOwn(UnicodeForm form, const std::string& text) {
  UErrorCode error = U_ZERO_ERROR;
  const bool compatible = form == UnicodeForm::kNfkc || form == UnicodeForm::kNfkd;
  const bool composed = form == UnicodeForm::kNfc || form == UnicodeForm::kNfkc;
  const icu::UnicodeSet known(UNICODE_STRING_SIMPLE("[:Age=9.0:]"), error);
  const icu::FilteredNormalizer2 normalizer(
      *icu::Normalizer2::getInstance(nullptr, compatible ? "nfkc" : "nfc",
                                     composed ? UNORM2_COMPOSE : UNORM2_DECOMPOSE, error),
      known);
  std::string out;
  icu::StringByteSink<std::string> sink(&out);
  normalizer.normalizeUTF8(0, text, sink, nullptr, error);
  EXPECT_TRUE(U_SUCCESS(error)) << u_errorName(error);
  return out;
}

void ExpectIcus(const std::string& text, const std::string& what) {
  for (const UnicodeForm form : kForms) {
    const auto got = NormalizeUnicode(form, text);
    ASSERT_TRUE(got.ok()) << got.status();
    ASSERT_EQ(*got, IcusOwn(form, text)) << what << ", form " << static_cast<int>(form);
  }
}

std::string Repeated(std::vector<uint32_t> characters, size_t bytes) {
  std::string out;
  for (size_t i = 0; out.size() < bytes; ++i) AppendUtf8(characters[i % characters.size()], &out);
  return out;
}

// Characters that no boundary comes before: marks of all classes, those that become several, and
// vowels and jamo that join what stands in front.
const std::vector<uint32_t>& Joiners() {
  static const std::vector<uint32_t> all = [] {
    UErrorCode error = U_ZERO_ERROR;
    const icu::Normalizer2* nfkc = icu::Normalizer2::getNFKCInstance(error);
    std::vector<uint32_t> out;
    for (uint32_t c = 0x80; c < 0x20000; ++c) {
      if (!nfkc->hasBoundaryBefore(static_cast<UChar32>(c))) out.push_back(c);
    }
    return out;
  }();
  return all;
}

TEST(Normalization, OfLongRunsOfMarksIsIcus) {
  std::mt19937 random(7);
  const auto any_of = [&](const std::vector<uint32_t>& list) {
    return list[random() % list.size()];
  };
  // Starters with and without marks of their own, Tibetan vowels, jamo, what later versions of
  // Unicode brought, one byte and four.
  const std::vector<uint32_t> others = {'a',    'e',    0xE9,   0x1EC7, 0xA8,   0x1100,  0x1161,
                                        0xAC00, 0x09C7, 0x0F40, 0xFB2C, 0x1DCF, 0x10D24, 0x1F600,
                                        0x0E33, 0xFDFA, 0x4E2D, 0x08D3, 0x1DF6, 0x32FF};
  for (int trial = 0; trial < 300; ++trial) {
    std::vector<uint32_t> few;
    for (int i = 0; i < 1 + trial % 7; ++i) few.push_back(any_of(Joiners()));
    std::string text;
    for (int run = 0; run < 6; ++run) {
      for (int i = random() % 4; i > 0; --i) AppendUtf8(any_of(others), &text);
      const unsigned length = random() % (run % 2 == 0 ? 12 : 700);
      for (unsigned i = 0; i < length; ++i) {
        AppendUtf8(any_of(trial % 2 == 0 ? few : Joiners()), &text);
      }
    }
    ExpectIcus(text, "trial " + std::to_string(trial));
  }
}

TEST(Normalization, OfEachMarkInALongRunIsIcus) {
  for (const uint32_t c : Joiners()) {
    ExpectIcus("o" + Repeated({c, 0x301, 0x327}, 400) + "x", std::to_string(c));
  }
}

TEST(Normalization, OfMegabytesOfMarksTakesNoSquareOfTheirNumber) {
  // Two classes in the wrong order; one that becomes two; Tibetan vowels, of which each does and
  // that are no marks themselves; all there are.
  const std::vector<std::vector<uint32_t>> runs = {
      {0x301, 0x327}, {0x344, 0x323}, {0xF73, 0xF75, 0xF81}, Joiners()};
  for (const auto& characters : runs) {
    const std::string text = "e" + Repeated(characters, 2 << 20) + "\n";
    for (const UnicodeForm form : kForms) {
      const auto before = std::chrono::steady_clock::now();
      ASSERT_TRUE(NormalizeUnicode(form, text).ok());
      const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - before;
      EXPECT_LT(taken.count(), 2.0) << characters.size() << " characters";
    }
  }
}

}  // namespace
}  // namespace fttrain
