// For the test of the abort path: the last rank fails while the others wait for it in a collective.
#include "runtime/process/log.h"
#include "runtime/process/process.h"

int main(int argc, char** argv) {
  auto process = fttrain::Process::Create(&argc, &argv);
  if (!process.ok()) return 1;
  if ((*process)->rank() == (*process)->world_size() - 1) {
    fttrain::LogError("the disk is full");
    (*process)->AbortJob(42);
  }
  (*process)->Barrier();
  return 0;
}
