// The ways between ranks, tried as a run uses them: messages of each pair and sums of all, every
// byte compared with what was sent.
#pragma once

#include <c10/core/Device.h>

#include <utility>
#include <vector>

#include "launch/doctor/facts.h"
#include "runtime/comm/communicator.h"
#include "runtime/process/process.h"

namespace fttrain {

// Every pair of up to 16 ranks; of more, each rank with those 1, 2, 4, ... after it, round the end.
// (a, b) with a < b. Pure.
std::vector<std::pair<int, int>> PairsToTry(int ranks);

// What can be told of how long a test takes.
struct LinkTrial {
  double seconds = 0.05;                    // a transfer is to take
  int64_t least_bytes = int64_t{64} << 10;  // of one
  int64_t most_bytes = int64_t{8} << 20;    // on the CPU
  int64_t most_gpu_bytes = int64_t{64} << 20;
};

// Bytes of a transfer at the speed of one of `bytes` in `seconds`: a multiple of 8 within the
// trial's bounds. Pure.
int64_t TransferBytes(const LinkTrial& trial, c10::Device device, int64_t bytes, double seconds);

// `all`: of the world's ranks, in their order. Collective over the world; the others wait. The same
// result on every rank. Throws CommError.
PairFacts TryPair(Communicator& all, const Process& process, c10::Device device, int a, int b,
                  const LinkTrial& trial = {});

// Collective over the world, the same result on every rank. Throws CommError.
SumFacts TryAllReduce(Communicator& all, const Process& process, c10::Device device, int64_t bytes);

// Bytes [bytes] that only this sender, receiver and round have, on the CPU. `bytes`: a multiple of
// 8. Pure.
at::Tensor Pattern(int64_t bytes, int sender, int receiver, int round);

}  // namespace fttrain
