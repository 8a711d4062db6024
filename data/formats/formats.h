// The formats of rows: their words, what they need, and which of them a row's keys are of.
#pragma once

#include <string>
#include <vector>

#include "data/formats/dataset.h"
#include "data/formats/row.h"

namespace fttrain {

// The formats whose keys a row has something under.
std::vector<FoundFormat> GuessFormats(const RowObject& row);

// Whether it has such a key at all.
bool HasTellingKey(const RowObject& row);

// Keys by which a row of any format is known, and those that `fields` has for them.
std::vector<std::string> TellingKeys(const DatasetSpec& spec);

}  // namespace fttrain
