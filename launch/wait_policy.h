// How long threads that wait for each other keep their core.
#pragma once

namespace fttrain {

// Threads of a parallel loop that have nothing to do spin: by libgomp's own choice for
// milliseconds, in which another program on the same cores gets next to nothing done, and the
// loop's other threads, which wait for it, neither. Here they spin as long as it takes to the next
// loop, then sleep. libgomp reads the choice when it is loaded, before main: so this starts the
// program again, in the same process, with it. Returns where there is nothing to choose: the
// environment has it (OMP_WAIT_POLICY, GOMP_SPINCOUNT), as the second time, or there is one thread
// (OMP_NUM_THREADS=1).
//
// For .preinit_array, whose functions run before those of libraries do: what LibTorch's take is the
// half of a second. So nothing but the C library may be used here, and of that no state.
void ChooseWaitPolicy(int argc, char** argv, char** environment);

}  // namespace fttrain
