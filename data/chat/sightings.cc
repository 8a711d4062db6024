#include "data/chat/sightings.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>
#include <utility>

#include "runtime/process/check.h"

namespace fttrain {

Sightings::Sightings(const Renderer& renderer, const Conversation& conversation,
                     const Rendering& whole)
    : renderer_(&renderer),
      whole_(&whole),
      marker_(conversation, whole.text),
      states_(marker_.probes().size(), State::kUnknown) {}

bool Sightings::Try(const std::vector<size_t>& probes) {
  std::vector<char> wanted(states_.size(), 0);
  for (const size_t probe : probes) wanted[probe] = 1;
  auto dialog = marker_.Marked([&](size_t probe) { return wanted[probe] != 0; });
  const auto rendered = renderer_->Render(dialog, false);
  if (!rendered.ok()) return false;
  Marker::Scanned scanned = marker_.Scan(rendered->text);
  if (scanned.text != whole_->text) return false;
  for (const size_t probe : probes) states_[probe] = State::kAbsent;
  for (const Marker::Found& found : scanned.found) states_[found.probe] = State::kPlaced;
  found_.insert(found_.end(), scanned.found.begin(), scanned.found.end());
  dialog_ = *std::move(dialog);
  return true;
}

// Its mark seen in another text, and it itself in this one: it is there, who knows where.
void Sightings::TryOne(size_t probe) {
  if (Try({probe})) return;
  const Probe& lonely = marker_.probes()[probe];
  const auto rendered =
      renderer_->Render(marker_.Marked([&](size_t one) { return one == probe; }), false);
  constexpr size_t kTelling = 16;  // shorter text may stand in a template's own words by chance
  const size_t at = lonely.text.empty() ? std::string::npos : whole_->text.find(lonely.text);
  if (at == std::string::npos) return;
  const bool telling = lonely.text.size() >= kTelling || lonely.kind == TextKind::kCallName;
  if (rendered.ok() ? marker_.Scan(rendered->text).found.empty() : !telling) return;
  const bool once = whole_->text.find(lonely.text, at + 1) == std::string::npos;
  states_[probe] = once && lonely.text.size() >= kTelling ? State::kPlaced : State::kSomewhere;
  if (states_[probe] != State::kPlaced) return;
  found_.push_back({probe, false, at});
  found_.push_back({probe, true, at + lonely.text.size()});
}

// Halves, so that few renderings find the one message whose marks change the text.
void Sightings::TryHalves(absl::Span<const std::vector<size_t>> messages) {
  if (messages.empty()) return;
  std::vector<size_t> all;
  for (const std::vector<size_t>& probes : messages)
    all.insert(all.end(), probes.begin(), probes.end());
  if (Try(all)) return;
  if (messages.size() == 1) {
    for (const size_t probe : all) TryOne(probe);
    return;
  }
  TryHalves(messages.subspan(0, messages.size() / 2));
  TryHalves(messages.subspan(messages.size() / 2));
}

void Sightings::TryUnknown() {
  std::map<size_t, std::vector<size_t>> by_message;
  for (size_t i = 0; i < states_.size(); ++i) {
    if (states_[i] == State::kUnknown) by_message[marker_.probes()[i].message].push_back(i);
  }
  std::vector<std::vector<size_t>> messages;
  for (auto& [message, probes] : by_message) messages.push_back(std::move(probes));
  TryHalves(messages);
}

absl::StatusOr<Sightings> Sightings::Find(const Renderer& renderer,
                                          const Conversation& conversation,
                                          const Rendering& whole) {
  Sightings out(renderer, conversation, whole);
  const std::vector<Probe>& probes = out.marker_.probes();
  std::vector<size_t> all, plain;
  for (size_t i = 0; i < probes.size(); ++i) {
    const TextKind kind = probes[i].kind;
    if (kind == TextKind::kOther) continue;
    all.push_back(i);
    const bool named = kind == TextKind::kCallName || kind == TextKind::kTools;
    if (!named && !probes[i].blank) plain.push_back(i);
  }
  out.together_ = out.Try(all) || out.Try(plain);
  Dialog dialog = out.dialog_;
  out.TryUnknown();
  out.dialog_ = std::move(dialog);
  std::stable_sort(out.found_.begin(), out.found_.end(),
                   [](const Marker::Found& a, const Marker::Found& b) { return a.at < b.at; });
  return out;
}

absl::StatusOr<Dialog> Sightings::DialogFor(size_t message) const {
  if (together_) return dialog_;
  return marker_.Marked([&](size_t i) {
    const Probe& probe = marker_.probes()[i];
    const bool near = probe.message == message || probe.message + 1 == message;
    return near && states_[i] == State::kPlaced;
  });
}

}  // namespace fttrain
