// One text on its way through a tokenizer. For tokenizer.cc.
#pragma once

#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "data/tokenizer/tokenizer_impl.h"

namespace fttrain {

// Where a segment ends inside a text that changes as it is normalized, in bytes. What lies from
// `low` to `high`, if anything, was made of characters of both sides. Both rise from mark to mark.
struct Mark {
  size_t low, high;
  size_t segment;
};

class Encoder {
 public:
  Encoder(const Tokenizer::Impl& tokenizer, EncodeScratch* scratch, SegmentedIds* out)
      : t_(tokenizer), scratch_(scratch), out_(out) {}

  // Appends the ids of `text`, which is UTF-8, without the post-processor's, sets out.ends of the
  // marks, which lie between characters, and appends to out.shared.
  absl::Status Text(std::string_view text, const std::vector<Mark>& marks);

 private:
  // Each appends ids, and does so with ends and shared. The first: added tokens as they are,
  // what is between by `between`(part, whether it begins the text, marks inside).
  template <typename Between>
  absl::Status Sections(std::string_view text, bool normalized, const std::vector<Mark>& marks,
                        const Between& between);
  absl::Status Raw(std::string_view raw, bool at_start, const std::vector<Mark>& marks);
  absl::Status Mapped(std::string_view text, bool at_start, const std::vector<Mark>& marks);
  absl::Status Words(std::string_view mapped, const std::vector<Mark>& marks);
  absl::StatusOr<std::string> Normalized(std::string_view raw, bool at_start);

  const Tokenizer::Impl& t_;
  EncodeScratch* scratch_;
  SegmentedIds* out_;
};

}  // namespace fttrain
