// An operation of a communicator (communicator.h) that is under way.
#pragma once

namespace fttrain {

// An operation in flight. Wait() returns once operations issued on the current stream (CPU: the
// calling thread) are ordered after the result; later calls do nothing. Dropping a Work without
// Wait() waits in the destructor, except while an exception unwinds: then the peers may never come.
// A Work keeps its tensors, and must not outlive its communicator. Wait throws CommError.
class Work {
 public:
  virtual ~Work() = default;
  virtual void Wait() = 0;
};

}  // namespace fttrain
