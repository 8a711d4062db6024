#include "tests/cuda_on_host/grid.h"

#undef _FORTIFY_SOURCE  // it takes a jump between stacks for an error
#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <numeric>
#include <queue>
#include <random>
#include <stdexcept>
#include <utility>
#include <vector>

namespace fttrain::cuda_on_host {
namespace {

constexpr size_t kStackBytes = 64 << 10;
constexpr unsigned kMaxThreads = 1024;

enum class State { kRuns, kInBlockMeeting, kInWarpMeeting, kEnded };

// Contexts only start fibers: switching by them asks the kernel each time.
struct Fiber {
  ucontext_t context;
  jmp_buf place;
  bool started = false;  // and then at `place`, unless it runs
  uint3 index;
  unsigned id;  // in the block
  State state;
  Site site;  // of the meeting
  unsigned mask;
  uint64_t word;
  WarpWords met;
};

struct Grid {
  std::vector<Fiber> fibers = std::vector<Fiber>(kMaxThreads);
  char* stacks = static_cast<char*>(mmap(nullptr, kMaxThreads* kStackBytes, PROT_READ | PROT_WRITE,
                                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  unsigned seed = 1;
  std::mt19937 random;
  // Per block.
  unsigned threads = 0, waiting = 0;  // in its barrier
  std::vector<uint64_t> warp_priority = std::vector<uint64_t>(kMaxThreads / 32);
  std::priority_queue<std::pair<uint64_t, unsigned>> ready;  // by priority
  Fiber* running = nullptr;
  jmp_buf scheduler;
  const std::function<void()>* thread = nullptr;
  std::string error;
};

Grid& TheGrid() {
  static Grid& grid = *[] {
    auto made = std::make_unique<Grid>();
    if (const char* seed = std::getenv("FTTRAIN_GRID_SEED")) {
      made->seed = static_cast<unsigned>(std::strtoul(seed, nullptr, 10));
    }
    std::printf("FTTRAIN_GRID_SEED=%u\n", made->seed);
    made->random.seed(made->seed);
    return made.release();
  }();
  return grid;
}

std::string Text(const uint3& i) {
  return "(" + std::to_string(i.x) + ", " + std::to_string(i.y) + ", " + std::to_string(i.z) + ")";
}
std::string Text(const Site& site) {
  const char* slash = std::strrchr(site.file, '/');
  return std::string(site.what) + " at " + (slash == nullptr ? site.file : slash + 1) + ":" +
         std::to_string(site.line);
}
bool Same(const Site& a, const Site& b) {
  const auto equal = [](const char* x, const char* y) { return x == y || std::strcmp(x, y) == 0; };
  return a.line == b.line && equal(a.file, b.file) && equal(a.what, b.what);
}

void MakeReady(Fiber& fiber) {
  Grid& grid = TheGrid();
  fiber.state = State::kRuns;
  grid.ready.push({grid.warp_priority[fiber.id / 32] << 32 | grid.random(), fiber.id});
}

// To the scheduler and, if the fiber becomes ready, back.
void Yield() {
  Grid& grid = TheGrid();
  if (_setjmp(grid.running->place) == 0) _longjmp(grid.scheduler, 1);
}
void Resume(Fiber& fiber) {
  Grid& grid = TheGrid();
  grid.running = &fiber;
  threadIdx = fiber.index;
  if (_setjmp(grid.scheduler) != 0) return;
  if (fiber.started) _longjmp(fiber.place, 1);
  fiber.started = true;
  setcontext(&fiber.context);
}

// One thread of each block.
void RunThreads() {
  Grid& grid = TheGrid();
  while (true) {
    (*grid.thread)();
    grid.running->state = State::kEnded;
    Yield();
  }
}

void StartFibers(dim3 block) {
  Grid& grid = TheGrid();
  const bool warp_by_warp = grid.random() % 2 == 0;
  for (uint64_t& priority : grid.warp_priority) priority = warp_by_warp ? grid.random() : 0;
  grid.threads = block.x * block.y * block.z;
  grid.waiting = 0;
  for (unsigned id = 0; id < grid.threads; ++id) {
    Fiber& fiber = grid.fibers[id];
    fiber.id = id;
    fiber.index = {id % block.x, id / block.x % block.y, id / block.x / block.y};
    MakeReady(fiber);
    if (fiber.started) continue;
    getcontext(&fiber.context);
    fiber.context.uc_link = nullptr;
    fiber.context.uc_stack.ss_sp = grid.stacks + id * kStackBytes;
    fiber.context.uc_stack.ss_size = kStackBytes;
    makecontext(&fiber.context, RunThreads, 0);
  }
}

// Where the threads are that can not go on.
std::string Stuck() {
  const Grid& grid = TheGrid();
  std::map<std::string, unsigned> places;
  for (unsigned id = 0; id < grid.threads; ++id) {
    const Fiber& fiber = grid.fibers[id];
    std::string place = "ended";
    if (fiber.state != State::kEnded) place = "wait in " + Text(fiber.site);
    if (fiber.state == State::kInWarpMeeting) place += ", mask " + std::to_string(fiber.mask);
    ++places[place];
  }
  std::string text = "threads wait for others that do not come:";
  for (const auto& [place, count] : places) text += " " + std::to_string(count) + " " + place + ";";
  return text;
}

void RunBlock(dim3 block) {
  Grid& grid = TheGrid();
  FillSharedMemory();
  grid.ready = {};
  StartFibers(block);
  while (!grid.ready.empty() && grid.error.empty()) {
    Fiber& next = grid.fibers[grid.ready.top().second];
    grid.ready.pop();
    Resume(next);
  }
  grid.running = nullptr;
  const auto end = grid.fibers.begin() + grid.threads;
  const bool all_ended = std::all_of(grid.fibers.begin(), end,
                                     [](const Fiber& f) { return f.state == State::kEnded; });
  if (grid.error.empty() && !all_ended) {
    grid.error = "block " + Text(blockIdx) + ", seed " + std::to_string(grid.seed) + ": " + Stuck();
  }
  if (grid.error.empty()) return;
  for (Fiber& fiber : grid.fibers) fiber.started = false;  // no thread of a failed block goes on
}

}  // namespace

bool InGrid() { return TheGrid().running != nullptr; }

void Fail(const std::string& text) {
  Grid& grid = TheGrid();
  if (!InGrid()) throw std::runtime_error(text);
  grid.error = "block " + Text(blockIdx) + ", thread " + Text(grid.running->index) + ", seed " +
               std::to_string(grid.seed) + ": " + text;
  _longjmp(grid.scheduler, 1);
}

std::string RunGrid(dim3 grid_size, dim3 block, const std::function<void()>& thread) {
  Grid& grid = TheGrid();
  grid.thread = &thread;
  grid.error.clear();
  gridDim = grid_size;
  blockDim = block;
  std::vector<unsigned> order(size_t{grid_size.x} * grid_size.y * grid_size.z);
  std::iota(order.begin(), order.end(), 0U);
  std::shuffle(order.begin(), order.end(), grid.random);
  for (const unsigned id : order) {
    blockIdx = {id % grid_size.x, id / grid_size.x % grid_size.y, id / grid_size.x / grid_size.y};
    RunBlock(block);
    if (!grid.error.empty()) break;
  }
  return std::exchange(grid.error, "");
}

void MeetBlock(const Site& site) {
  Grid& grid = TheGrid();
  Fiber& self = *grid.running;
  self.state = State::kInBlockMeeting;
  self.site = site;
  if (++grid.waiting == grid.threads) {
    for (unsigned id = 0; id < grid.threads; ++id) {
      if (!Same(grid.fibers[id].site, site)) {
        Fail("diverged: some threads wait in " + Text(grid.fibers[id].site) + ", others in " +
             Text(site));
      }
    }
    grid.waiting = 0;
    for (unsigned id = 0; id < grid.threads; ++id) MakeReady(grid.fibers[id]);
  }
  Yield();
}

WarpWords MeetWarp(const Site& site, unsigned mask, uint64_t word) {
  Grid& grid = TheGrid();
  Fiber& self = *grid.running;
  const unsigned lane = self.id % 32;
  Fiber* const warp = &self - lane;
  if ((mask >> lane & 1) == 0) Fail(Text(site) + ": the mask does not name the caller's lane");
  self.state = State::kInWarpMeeting;
  self.site = site;
  self.mask = mask;
  self.word = word;
  bool complete = true;
  for (unsigned rest = mask; rest != 0; rest &= rest - 1) {
    const Fiber& other = warp[__builtin_ctz(rest)];
    const auto fail = [&](const std::string& why) {
      Fail(Text(site) + ": the mask names lane " + std::to_string(__builtin_ctz(rest)) + ", " +
           why);
    };
    if (&other - grid.fibers.data() >= grid.threads) fail("which the block does not have");
    if (other.state == State::kEnded) fail("which ended");
    const bool waits = other.state == State::kInWarpMeeting && (other.mask >> lane & 1) != 0;
    if (waits && (other.mask != mask || !Same(other.site, site))) {
      fail("which waits for this one in " + Text(other.site) + ", mask " +
           std::to_string(other.mask));
    }
    complete = complete && waits;
  }
  if (complete) {
    WarpWords words{};
    for (unsigned rest = mask; rest != 0; rest &= rest - 1) {
      words[__builtin_ctz(rest)] = warp[__builtin_ctz(rest)].word;
    }
    for (unsigned rest = mask; rest != 0; rest &= rest - 1) {
      warp[__builtin_ctz(rest)].met = words;
      MakeReady(warp[__builtin_ctz(rest)]);
    }
  }
  Yield();
  return self.met;
}

}  // namespace fttrain::cuda_on_host
