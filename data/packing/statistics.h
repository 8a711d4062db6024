// A dataset in the numbers that people look at before they train on it. They are those of the run:
// of the same examples, cut, dropped and packed by the same RowStream.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "data/packing/packer.h"

namespace fttrain {

// How many examples something was found in, and the first of them.
struct FoundIn {
  int64_t examples = 0;
  int64_t first = -1;  // index into RowStream::examples()
};

// Examples of `from` to `to` tokens before cutting, both included.
struct LengthBin {
  int64_t from, to;
  int64_t examples = 0;
};

// Token ids that mean something at an example's ends.
struct EndTokens {
  std::optional<int32_t> bos;
  std::vector<int32_t> ends;  // EOS and what ends a turn; none: what is learnt may end anyhow
};

struct DatasetStatistics {
  DatasetSummary summary;
  int64_t shortest = 0, median = 0;  // tokens of an example before cutting
  std::vector<LengthBin> lengths;    // powers of two, from the shortest to the longest
  FoundIn without_target;            // nothing to learn, even before cutting
  FoundIn duplicates;                // ids and labels of an earlier example
  FoundIn cut_targets;               // tokens to learn behind sequence_len
  FoundIn double_bos;                // BOS twice in front
  // Stretches of tokens to learn that end in none of EndTokens::ends, within sequence_len. Examples
  // in which all is learnt, such as texts, are not looked at.
  FoundIn open_ends;
  FoundIn empty_answers;  // stretches of one of EndTokens::ends alone, likewise

  int64_t rows_per_step = 0;
  int64_t steps_per_epoch = 0;  // of the first
  int64_t next_epoch_rows = 0;  // that fill the last of these steps
};

// Pure. O(tokens).
DatasetStatistics StatisticsOf(RowStream& rows, int64_t rows_per_step, const EndTokens& tokens);

// Upper ends 16, 32, 64, ...; empty bins between others are there, none at either end.
std::vector<LengthBin> LengthBins(const std::vector<int32_t>& lengths);

}  // namespace fttrain
