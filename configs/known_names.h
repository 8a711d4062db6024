// What other tools call things, as tables; hints.h answers with them.
#pragma once

#include "absl/types/span.h"

namespace fttrain::config {

// `names`, separated by spaces, mean `key` elsewhere.
struct Names {
  const char* key;
  const char* names;
  const char* note;
};

// Names of our keys, anywhere in a file.
absl::Span<const Names> NamesElsewhere();
// Names that correspond to no key (`key` is ""), and why.
absl::Span<const Names> NamesWithoutKey();
// What may stand beside data.train[].path.
absl::Span<const Names> NamesOfSources();

// A word that means `ours` for a key, in lower case.
struct KnownWord {
  const char* key;
  const char* word;
  const char* ours;
};
absl::Span<const KnownWord> KnownWords();

}  // namespace fttrain::config
