#include "configs/nearest_word.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/ascii.h"

namespace fttrain::config {
namespace {

std::string Folded(std::string word) {
  absl::AsciiStrToLower(&word);
  std::replace(word.begin(), word.end(), '-', '_');
  return word;
}

}  // namespace

int EditDistance(const std::string& a_written, const std::string& b_written) {
  const std::string a = Folded(a_written), b = Folded(b_written);
  // Rows i-2, i-1 and i of the usual table; i-2 serves transpositions.
  std::vector<int> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = static_cast<int>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    before = last;
    last = row;
    row[0] = static_cast<int>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int replaced = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, replaced});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
  }
  return row[b.size()];
}

std::string NearestWord(const std::string& word, const std::vector<std::string>& words) {
  // A key longer than this is no misspelling, and the table above is quadratic.
  constexpr size_t kLongestWord = 64;
  if (word.size() > kLongestWord) return "";
  int best = std::max<int>(1, static_cast<int>(word.size()) / 3) + 1;
  std::string nearest;
  for (const std::string& candidate : words) {
    const int distance = EditDistance(word, candidate);
    if (distance < best && distance < static_cast<int>(word.size())) {
      best = distance;
      nearest = candidate;
    }
  }
  return nearest;
}

}  // namespace fttrain::config
