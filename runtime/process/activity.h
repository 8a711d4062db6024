// What this rank does between ranks, for the day it stands still: written by the thread that calls
// the communicators, a few stores an operation, and read by a watchdog's (watchdog.h).
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace fttrain {

class Activity {
 public:
  Activity() = default;
  Activity(const Activity&) = delete;
  Activity& operator=(const Activity&) = delete;

  // Operations that a device carries out after the host has issued them. Look is for any thread.
  class Source {
   public:
    struct State {
      int64_t finished = 0;  // so far
      std::string open;      // the oldest that is not, in words; empty if there is none
      std::string error;     // what the transport reports by itself
    };
    virtual ~Source() = default;
    virtual State Look() = 0;
  };
  void Add(Source* source);
  void Remove(Source* source);  // once this returns nobody looks

  // `text` where it stays as long as this does: operations name with it what they go over.
  const std::string* Intern(std::string text);

  // An operation that the host is in, from here to the end of its life; within another one it is
  // that one. `name`: a literal; `over`: Intern's, or null of all ranks; rank: of the job, -1 where
  // it is several; call: its number among those over the same, from 1; 0: not told.
  class Waiting {
   public:
    Waiting(Activity* activity, const char* name, const std::string* over, int64_t bytes, int rank,
            int64_t call = 0);
    ~Waiting();
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;

   private:
    Activity* activity_;  // null: within another, or nobody's
  };

  // Something that is no operation between ranks has ended here. Of the thread that waits.
  void Moved() {
    moves_.store(moves_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }

  struct State {
    int64_t moves = 0;  // grows with whatever begins or ends here
    // The operations that host and devices are in, in words.
    std::vector<std::string> waits_for;
    std::string error;  // of a source
  };
  State Look();  // from any thread

 private:
  std::atomic<int64_t> moves_{0};
  std::atomic<const char*> name_{nullptr};  // null: the host is in no operation
  std::atomic<const std::string*> over_{nullptr};
  std::atomic<int64_t> bytes_{0}, call_{0};
  std::atomic<int> rank_{-1};

  std::mutex mutex_;  // of what follows
  std::set<std::string> kept_;
  std::vector<Source*> sources_;
};

// "recv[tp of ranks 0, 1] with rank 1, call 12, 4096 bytes"; a rank below 0, no call and no bytes
// are left out.
std::string OperationText(const char* name, const std::string& over, int64_t bytes, int rank,
                          int64_t call);

}  // namespace fttrain
