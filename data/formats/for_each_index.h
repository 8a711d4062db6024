// A loop over several threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <system_error>
#include <thread>
#include <vector>

namespace fttrain {

// f(0), ..., f(count - 1), each once, on `threads` threads, or on those that start. Throws what the
// first of them threw.
template <typename F>
void ForEachIndex(size_t count, int threads, const F& f) {
  std::atomic<size_t> next = 0;
  std::vector<std::exception_ptr> thrown(static_cast<size_t>(std::max(threads, 1)));
  const auto work = [&](std::exception_ptr* caught) {
    try {
      for (size_t i = next++; i < count; i = next++) f(i);
    } catch (...) {
      *caught = std::current_exception();
    }
  };
  std::vector<std::thread> others;
  others.reserve(thrown.size());
  try {
    for (size_t t = 1; t < std::min(thrown.size(), count); ++t) {
      others.emplace_back(work, &thrown[t]);
    }
  } catch (const std::system_error&) {
    // A limit of the machine or the container: those there are do the work.
  }
  work(&thrown[0]);
  for (std::thread& thread : others) thread.join();
  for (const std::exception_ptr& caught : thrown) {
    if (caught) std::rethrow_exception(caught);
  }
}

}  // namespace fttrain
