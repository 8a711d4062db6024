// A row as JSON. Include in .cc files only (JSON is slow to compile).
#pragma once

#include "absl/status/statusor.h"
#include "data/formats/row.h"
#include "data/formats/row_source.h"

namespace fttrain {

// The row, parsed; its fault if it has one. In a row of a table what a format knows as a list of
// messages or tokens (under the name that `names` give it) may be the JSON text of one; so may a
// prompt or an answer whose text is a list of messages. InvalidArgument "ROW.WHERE: ...".
absl::StatusOr<RowJson> JsonOf(const SourceRow& row, const KeyNames& names);

}  // namespace fttrain
