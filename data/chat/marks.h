// Marks around the texts of a conversation, to see where a template writes them. A mark is a number
// that stands nowhere else: it survives JSON, changes of case and stripping.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "data/chat/conversation.h"
#include "data/chat/dialog.h"

namespace fttrain {

// A text, or a piece of one, that has a mark on both its sides. White space and tags, <...>, at its
// ends are outside: templates look at these.
struct Probe {
  size_t message;  // kNoMessage: tools and documents
  TextKind kind;   // kReasoning also of what stands between <think> and </think> in a content
  std::string key;
  size_t item;
  bool blank = false;  // a content that says nothing
  std::string text;    // between the marks
  std::string trail;   // behind them
};

class Marker {
 public:
  // `text` is what the template makes of the conversation, which must outlive *this.
  Marker(const Conversation& conversation, std::string_view text);

  const std::vector<Probe>& probes() const { return probes_; }
  // The conversation with marks around the probes that `wanted` says.
  absl::StatusOr<Dialog> Marked(const std::function<bool(size_t probe)>& wanted) const;
  // One mark more, which is of no probe: it is found as number probes().size().
  std::string Spare() const { return MarkOf(probes_.size(), false); }

  struct Found {
    size_t probe;
    bool behind;  // the mark behind the text
    size_t at;    // in the text without marks
  };
  struct Scanned {
    std::string text;  // without marks
    std::vector<Found> found;
  };
  Scanned Scan(std::string_view text) const;

 private:
  size_t Length() const;  // of a mark
  std::string MarkOf(size_t probe, bool behind) const;

  const Conversation& conversation_;
  std::string salt_;
  std::vector<Probe> probes_;
};

}  // namespace fttrain
