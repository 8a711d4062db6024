// What the ranks of one host do, where each can read it: memory that they share (host_board.h in
// comm/), with a place for each, written by its watchdog and gone with the last of them.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/process/activity.h"
#include "runtime/process/verdict.h"

namespace fttrain {

struct BoardPlace;  // a rank's
struct BoardHead;

class Board {
 public:
  struct Options {
    int places = 1, own = 0;  // ranks of this host, and which of them this is
    int rank = 0, world_size = 1;
    std::string host;
  };
  static int64_t BytesFor(int places);

  // `memory`: BytesFor(places) bytes, zeros before the first rank writes, aligned to 64.
  Board(std::shared_ptr<char> memory, const Options& options);
  Board(const Board&) = delete;
  Board& operator=(const Board&) = delete;

  // What follows is for one watchdog at a time. Between Join and Leave the end of this process is
  // an accident, unless it says last words (last_words.h).
  void Join();
  void Leave();

  using Clock = std::chrono::steady_clock;  // the same for all processes of a host
  // Several times a second: it is alive. Before anything that may wait for a driver.
  void Beat(Clock::time_point now);
  // What it does.
  void Write(const Activity::State& state, RankSeen::Phase phase, int64_t step,
             Clock::time_point now);

  // All ranks that have joined once.
  std::vector<RankSeen> Look(Clock::time_point now) const;
  // The ranks of this host that are gone and did not say why, in words; empty: none.
  std::string Gone(Clock::time_point now) const;
  // Who is to blame: what the first rank that asked found. Waits up to a second for a rank that is
  // about to find it.
  std::string Judge(Clock::time_point now);
  // Whether a rank has asked.
  bool IsJudged() const;

 private:
  BoardHead& head() const;
  BoardPlace& place(int i) const;

  const std::shared_ptr<char> memory_;
  const Options options_;
  int64_t moves_ = -1;
  std::string operations_, last_;  // as they are on the board
};

}  // namespace fttrain
