// A CUDA grid on the host. Each thread of a block is a fiber of one OS thread; it runs undisturbed
// until it meets others (a barrier, a warp intrinsic) or ends, and who runs next is drawn at
// random, so that lanes of a warp are in step only where the kernel makes them meet. In half of the
// blocks one warp goes as far as it can before the next does. Blocks follow one another, in random
// order, and find shared memory full of NaN. The seed is 1 or FTTRAIN_GRID_SEED, and is printed.
// C++17: the .cu files include it through include/cuda_runtime.h. It can not show a missing
// __syncwarp beside a shuffle: here that orders memory, too, on a device it does not. Blocks have
// one dimension where warp intrinsics are used.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  dim3(unsigned vx = 1, unsigned vy = 1, unsigned vz = 1) : x(vx), y(vy), z(vz) {}  // NOLINT
  unsigned x, y, z;
};
inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;

namespace fttrain::cuda_on_host {

// Runs `thread` once for each thread of the grid. Returns what went wrong, or "".
std::string RunGrid(dim3 grid, dim3 block, const std::function<void()>& thread);

// Called by threads of the running block.
struct Site {
  const char* what;
  const char* file;
  int line;
};
// Waits for all threads of the block. It is an error if one of them ended or waits elsewhere.
void MeetBlock(const Site& site);
// Waits for the lanes of the mask, and returns the words that they brought. It is an error if the
// caller is none of them, or one of them ended, waits elsewhere, or comes with another mask.
using WarpWords = std::array<uint64_t, 32>;
WarpWords MeetWarp(const Site& site, unsigned mask, uint64_t word);
// Ends the grid with an error; outside of one throws std::runtime_error. A signal's handler may.
[[noreturn]] void Fail(const std::string& text);
bool InGrid();

// Overwrites the __shared__ variables of all kernels with NaN.
void FillSharedMemory();

// Overwrites the __shared__ variables of all kernels with NaN.
void FillSharedMemory();

}  // namespace fttrain::cuda_on_host
