// An operation of a Communicator in flight.
#pragma once

#include "runtime/process/check.h"  // CommError

namespace fttrain {

// Wait() returns once operations issued on the current stream (CPU: the calling thread) are ordered
// after the result; later calls do nothing. Dropping a Work without Wait() waits in the destructor,
// except while an exception unwinds: then the peers may never come. The tensors of the call are
// kept alive by the Work. A Work must not outlive its communicator. Wait throws CommError.
class Work {
 public:
  virtual ~Work() = default;
  virtual void Wait() = 0;
};

}  // namespace fttrain
