#include "tests/fuzz/mutations.h"

#include <utility>

namespace fttrain::fuzz {
namespace {

constexpr size_t kMostKept = 256;

// Where arithmetic goes wrong.
constexpr const char* kNumbers[] = {"0",
                                    "1",
                                    "-1",
                                    "2",
                                    "7",
                                    "255",
                                    "256",
                                    "65536",
                                    "2147483647",
                                    "2147483648",
                                    "4294967295",
                                    "4294967296",
                                    "1e3",
                                    "0.5",
                                    "-0.0",
                                    "1e308",
                                    "1e-308",
                                    "9007199254740993",
                                    "4611686018427387904",
                                    "9223372036854775807",
                                    "9223372036854775808",
                                    "18446744073709551615",
                                    "18446744073709551616",
                                    "-9223372036854775808",
                                    "1e999",
                                    "NaN",
                                    "null",
                                    "99999999999999999999999999"};
// Bytes that parsers treat otherwise than letters.
constexpr char kBytes[] =
    "\0\n\r\t \"\\{}[]:,'#&*!|>%-+.0aZ\x7f\x80\xbf\xc3\xe2\xed\xef\xf0\xff\x1b";

bool IsOfNumber(char c) { return (c >= '0' && c <= '9') || c == '-' || c == '.'; }

}  // namespace

Mutations::Mutations(std::vector<std::string> seeds, std::vector<std::string> words, uint64_t seed)
    : pool_(std::move(seeds)), words_(std::move(words)), seeds_(pool_.size()), random_(seed) {
  words_.insert(words_.end(), std::begin(kNumbers), std::end(kNumbers));
}

void Mutations::Keep(const std::string& input) {
  if (pool_.size() < seeds_ + kMostKept) {
    pool_.push_back(input);
  } else {
    pool_[seeds_ + Below(kMostKept)] = input;
  }
}

std::string Mutations::Next() {
  std::string input = Any();
  const size_t changes = size_t{1} << Below(4);
  for (size_t i = 0; i < changes; ++i) Change(&input);
  if (input.size() > kMostBytes) input.resize(kMostBytes);
  return input;
}

// A number that stands there becomes another.
void Mutations::ChangeNumber(std::string* input) {
  size_t begin = Below(input->size());
  while (begin < input->size() && !IsOfNumber((*input)[begin])) ++begin;
  size_t end = begin;
  while (end < input->size() && IsOfNumber((*input)[end])) ++end;
  if (begin < end) input->replace(begin, end - begin, kNumbers[Below(std::size(kNumbers))]);
}

void Mutations::Change(std::string* input) {
  if (input->empty()) *input = words_[Below(words_.size())];
  const size_t at = Below(input->size());
  const size_t length = 1 + Below(Below(8) == 0 ? input->size() : 8);
  switch (Below(10)) {
    case 0:
      (*input)[at] = static_cast<char>((*input)[at] ^ (1 << Below(8)));
      break;
    case 1:
      (*input)[at] = kBytes[Below(sizeof(kBytes))];
      break;
    case 2:
      input->insert(at, 1, kBytes[Below(sizeof(kBytes))]);
      break;
    case 3:
      input->erase(at, length);
      break;
    case 4:  // again, elsewhere
      input->insert(Below(input->size() + 1), input->substr(at, length));
      break;
    case 5:
      input->insert(at, words_[Below(words_.size())]);
      break;
    case 6:
      input->replace(at, length, words_[Below(words_.size())]);
      break;
    case 7:
      ChangeNumber(input);
      break;
    case 8: {  // a piece of another one
      const std::string& other = Any();
      if (other.empty()) break;
      input->replace(at, length, other.substr(Below(other.size()), 1 + Below(64)));
      break;
    }
    default:  // a row of the same: depth, length
      if (Below(8) == 0) input->insert(at, 1 + Below(512), (*input)[at]);
      break;
  }
}

}  // namespace fttrain::fuzz
