// A job's training state in canonical pieces: (name, slice, range, kind), the same words in every
// layout.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "launch/checkpoint/manifest.h"
#include "launch/run/build.h"
#include "launch/saving/disk.h"

namespace fttrain {

struct SavedPiece {
  ManifestTensor what;  // but where in which file
  at::Tensor values;    // a view of the state, which stays where it is as long as the job lives
};

// The pieces of this rank that no rank below it on its disk has too: those of a disk's ranks are
// all that these ranks need, and on one disk the whole state. Collective over the world of
// `process`.
std::vector<SavedPiece> PiecesToSave(Job& job, const Disk& disk, const Process& process);

// Copies in host memory, which nothing that trains touches. The device has finished when this
// returns. Throws c10::Error without enough memory.
std::vector<SavedPiece> CopiesOnHost(const std::vector<SavedPiece>& pieces);

}  // namespace fttrain
