// The variable `loop`, and the frames in which a template's variables live.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "data/chat/jinja/run.h"
#include "data/chat/jinja/value.h"

namespace fttrain::jinja {

// The variables of one call of a macro, of a recursive loop, or of the template itself; nullopt is
// a variable that was not set.
struct Activation {
  std::vector<std::optional<Value>> slots;
  std::shared_ptr<Activation> outer;
};

// One running loop. It reads one item ahead only where the template asks for what comes next, for
// items may be made as they are read.
struct LoopObject : Object {
  Value iterable;
  std::shared_ptr<IteratorObject> items;
  std::function<Value(Run&, const Value& iterable, int depth0)> recurse;  // if `recursive`
  int64_t index0 = -1;
  int depth0 = 0;
  std::optional<Value> after, current, before;
  std::optional<Value> last_changed;

  bool Next(Run& run, Value* item);
  bool Peek(Run& run);  // whether an item follows; it is then in `after`
  int64_t Length(Run& run);

 private:
  std::optional<int64_t> length_;
};

// loop.index and the others; nullopt for a name it does not have.
std::optional<Value> LoopAttribute(Run& run, const Value& loop, const std::string& name);

}  // namespace fttrain::jinja
