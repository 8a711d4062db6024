// Held while a block is captured or a function of the template runs; for the evaluator.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "data/chat/jinja/evaluator.h"

namespace fttrain::jinja {

// Text goes to a buffer of its own.
class Evaluator::Capture {
 public:
  explicit Capture(std::string** out) : out_(out), before_(*out) { *out = &text_; }
  ~Capture() { *out_ = before_; }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  std::string Text() { return std::move(text_); }

 private:
  std::string** out_;
  std::string* before_;
  std::string text_;
};

// A frame that outlives its function, because a macro was defined in it, is kept by the run.
class Evaluator::Holder {
 public:
  Holder(Run& run, FramePtr frame) : run_(run), frame_(std::move(frame)) {}
  ~Holder() {
    if (frame_.use_count() > 1) run_.Keep(frame_);
  }
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;

  const FramePtr& frame() const { return frame_; }

 private:
  Run& run_;
  FramePtr frame_;
};

}  // namespace fttrain::jinja
