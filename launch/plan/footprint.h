// The bytes of a layout by sums that are made once a task: near enough, and quick enough for a
// search over thousands of layouts, to leave out those that cannot fit. What fits is told by a
// rehearsal (launch/run/rehearsal.h) alone. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <tuple>
#include <vector>

#include "launch/plan/layout.h"

namespace fttrain {

// What a rank needs: of its GPU with what no ledger sees, and of its host.
struct RankBytes {
  int64_t device = 0, host = 0;
};

class Footprint {
 public:
  // `task` must outlive this; its moments do not count.
  explicit Footprint(const Task& task);

  // Of a rank of each stage of a layout on GPUs, about; the untracked ones left out.
  std::vector<RankBytes> ByStage(const Layout& layout, MomentStorage moments);

 private:
  // Of one parameter group (a layer, an end), over all tensor ranks and replicas.
  struct Group {
    int64_t frozen = 0, trained = 0;         // bytes of values
    int64_t gradients = 0;                   // of one replica
    int64_t fp32_state = 0, int8_state = 0;  // with masters where values are bfloat16
    int64_t masters_on_host = 0;             // what optimizer.device host has beside those
  };
  // Of one layer and microbatch, on one of tp ranks.
  struct LayerWork {
    int64_t kept[3] = {};  // by Recompute
    int64_t copies = 0, working = 0, head = 0;
  };
  // What the ranks of one stage hold together, whatever a microbatch has.
  struct Stage;

  std::vector<Stage> Held(const Layout& layout, MomentStorage moments) const;
  const LayerWork& WorkOf(const Layout& layout);
  // The most (run, microbatch) pairs in flight on each stage.
  const std::vector<int64_t>& InFlight(const Layout& layout);

  const Task& task_;
  std::vector<Group> layers_, experts_;  // a layer's experts and the rest of it
  Group embedding_, head_;
  int64_t largest_packed_ = 0;  // elements of the largest matrix that is stored in 4 bits
  std::map<std::tuple<int, int, bool, int64_t>, LayerWork> work_;
  std::map<std::tuple<int, int, int, int64_t>, std::vector<int64_t>> in_flight_;
};

}  // namespace fttrain
