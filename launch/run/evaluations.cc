#include "launch/run/evaluations.h"

#include <cmath>
#include <cstdlib>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"

namespace fttrain {

bool Evaluations::Add(int64_t step, double loss) {
  const bool finite = std::isfinite(loss);
  const bool much_lower =
      finite && (!best_ || (loss < best_->loss && best_->loss - loss > options_.threshold));
  in_a_row_ = much_lower ? 0 : in_a_row_ + 1;
  if (!finite || (best_ && loss >= best_->loss)) return false;
  best_ = {step, loss, ""};
  return true;
}

void Evaluations::BestIsIn(const std::string& folder) {
  if (best_ && best_->folder.empty()) best_->folder = folder;
}

// "3" or "3 40 0x1.8p+0 FOLDER": in a row; the best one's step, its loss, every digit of it, and,
// of another run's, the folder.
std::string Evaluations::State() const {
  std::string text = absl::StrCat(in_a_row_);
  if (best_) absl::StrAppend(&text, " ", best_->step, " ", absl::StrFormat("%a", best_->loss));
  if (best_ && !best_->folder.empty()) absl::StrAppend(&text, " ", best_->folder);
  return text;
}

bool Evaluations::Restore(absl::string_view state) {
  const std::vector<std::string> words = absl::StrSplit(state, absl::MaxSplits(' ', 3));
  int64_t in_a_row = 0;
  if (!absl::SimpleAtoi(words[0], &in_a_row) || in_a_row < 0) return false;
  std::optional<Best> best;
  if (words.size() >= 3) {
    best.emplace();
    if (words.size() == 4 && words[3][0] != '/') return false;
    if (words.size() == 4) best->folder = words[3];
    char* end = nullptr;
    best->loss = std::strtod(words[2].c_str(), &end);
    if (!absl::SimpleAtoi(words[1], &best->step) || words[2].empty() || *end != 0) return false;
  } else if (words.size() != 1) {
    return false;
  }
  in_a_row_ = in_a_row;
  best_ = best;
  return true;
}

}  // namespace fttrain
