// What a layout sends over which link of a rig. Pure.
#pragma once

#include "launch/plan/layout.h"
#include "launch/plan/rig.h"

namespace fttrain {

// Bytes a second of each rank, while all ranks do the same: of rings along tp and dp, of an
// all_to_all along ep, from stage to stage, from its host's memory and disk, which that many ranks
// share. 0 where nothing is sent. Of an all_to_all a rank's bytes go to all others alike: those to
// ranks elsewhere pass its host's network, which all its ranks share.
struct Links {
  double tp = 0, dp = 0, pp = 0, ep = 0;
  double host = 0, disk = 0;
  int ranks_per_host = 1;
};
// Ranks are on the rig's hosts in order.
Links LinksOf(const Layout& layout, const Rig& rig);

// Bytes of a rank's part of a layer, or of an end, before ZeRO divides it. An expert's are taken to
// be summed over as many replicas as all else.
struct GroupBytes {
  double frozen = 0;   // values
  double trained = 0;  // values
  double gradients = 0;
  double partial = 0;  // of these: parts, which are summed over tp
  double kept = 0;     // for one microbatch's backward
  double values() const { return frozen + trained; }
};
// `layer`: the rank's part of it (FirstPartOfExperts).
GroupBytes BytesOfLayer(const LayerSpec& layer, const Task& task, const Layout& layout);
GroupBytes BytesOfEmbedding(const Task& task, const Layout& layout);
GroupBytes BytesOfHead(const Task& task, const Layout& layout);

}  // namespace fttrain
