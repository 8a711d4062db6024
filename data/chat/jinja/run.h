// What one rendering has spent and holds: every loop of the interpreter asks it first.
#pragma once

#include <cstdint>
#include <ctime>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "data/chat/jinja/error.h"
#include "data/chat/jinja/objects.h"

namespace fttrain::jinja {

struct Activation;  // loop.h

class Run {
 public:
  Run(const Limits& limits, const std::tm& today) : now(today), limits_(limits) {}
  ~Run();
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  // Errors: kLimit where a bound is passed.
  void Step(int64_t steps = 1) {
    if ((steps_ += steps) > limits_.steps) TooMany("steps");
  }
  // Before text or a list of this size is made.
  void Make(int64_t bytes) {
    if (bytes < 0 || bytes > limits_.output) TooMany("bytes in one value");
    if ((bytes_ += bytes) > limits_.bytes) TooMany("bytes");
  }
  int64_t max_output() const { return limits_.output; }

  // Held for as long as one node is inside another.
  class Deeper {
   public:
    explicit Deeper(Run& run) : run_(run) {
      if (++run_.depth_ > run_.limits_.depth) run_.TooDeep();
    }
    ~Deeper() { --run_.depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;

   private:
    Run& run_;
  };

  // Namespaces and frames that a macro closes over can form circles: they are kept to be emptied.
  void Keep(std::shared_ptr<NamespaceObject> space) { namespaces_.push_back(std::move(space)); }
  void Keep(std::shared_ptr<Activation> frame) { frames_.push_back(std::move(frame)); }

  const std::tm now;  // what strftime_now formats
  // Of each {% generation %}: see Rendered. `captured`: not written to the result directly.
  struct Span {
    size_t begin, end;
    bool captured;
  };
  std::vector<Span> generation;
  bool asked_date = false;  // strftime_now was called

 private:
  [[noreturn]] void TooMany(const char* what);
  [[noreturn]] void TooDeep();

  const Limits limits_;
  int64_t steps_ = 0, bytes_ = 0;
  int depth_ = 0;
  std::vector<std::shared_ptr<NamespaceObject>> namespaces_;
  std::vector<std::shared_ptr<Activation>> frames_;
};

}  // namespace fttrain::jinja
