// "did you mean": the word of a list that a misspelt one most likely meant.
#pragma once

#include <string>
#include <vector>

namespace fttrain::config {

// Levenshtein distance with transpositions of neighbours counted as one; letter case and the
// difference between '-' and '_' cost nothing.
int EditDistance(const std::string& a, const std::string& b);

// The closest of `words`, or "" when none is within a third of the letters (at least 1,
// but fewer than all of them). The first wins a tie.
std::string NearestWord(const std::string& word, const std::vector<std::string>& words);

}  // namespace fttrain::config
