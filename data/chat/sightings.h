// Where in a rendered conversation its texts stand.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "data/chat/conversation.h"
#include "data/chat/marks.h"
#include "data/chat/renderer.h"

namespace fttrain {

// The conversation is rendered again with marks in it. What is the same but for the marks shows
// where they are; where it is not, since a template looks at some text, fewer are put in: those of
// names left out, then half of them and so on, down to one.
class Sightings {
 public:
  enum class State : uint8_t {
    kUnknown,  // not to be told: the template writes something else when it is marked
    kAbsent,   // not in the text
    kPlaced,   // in `found`
    kSomewhere
  };

  // All arguments must outlive the result.
  static absl::StatusOr<Sightings> Find(const Renderer& renderer, const Conversation& conversation,
                                        const Rendering& whole);

  const Marker& marker() const { return marker_; }
  State state(size_t probe) const { return states_[probe]; }
  // In the order of the text.
  const std::vector<Marker::Found>& found() const { return found_; }
  // The conversation with marks that change nothing: all, or of two neighbours only, `message` and
  // the one before it.
  absl::StatusOr<Dialog> DialogFor(size_t message) const;

 private:
  Sightings(const Renderer& renderer, const Conversation& conversation, const Rendering& whole);
  // Renders with marks around those of `probes`; whether nothing but marks changed.
  bool Try(const std::vector<size_t>& probes);
  void TryOne(size_t probe);
  void TryHalves(absl::Span<const std::vector<size_t>> messages);
  void TryUnknown();

  const Renderer* renderer_;
  const Rendering* whole_;
  Marker marker_;
  std::vector<State> states_;
  std::vector<Marker::Found> found_;
  bool together_ = false;  // one rendering showed all
  Dialog dialog_;          // that one's
};

}  // namespace fttrain
