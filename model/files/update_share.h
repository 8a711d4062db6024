// How much of an adapter's update is left of it where the merged matrix is stored in few bits: an
// element that moves by less than half a step of what can be stored stays where it was.
#pragma once

#include <ATen/core/Tensor.h>

#include "model/nf4/nf4.h"

namespace fttrain {

// The update as it arrives, projected on the update as it was meant: <stored with it - stored
// without it, update> / |update|^2. What quantising does to a matrix with or without an update is
// no part of it: errors that do not depend on the update cancel or are as often for as against it.
struct UpdateShare {
  double along = 0, squared = 0;

  double value() const { return squared > 0 ? along / squared : 1.0; }  // 1: nothing to lose
  UpdateShare& operator+=(const UpdateShare& other);
};

// Of a piece of a matrix: its values, with the update in float32 or float64, and as it will be
// stored if that is as a number. All [rows, columns] of finite values, on the CPU. `nf4`: stored
// so; the piece is of whole blocks. The scales are taken in float32: their 8 bits, which depend on
// the whole matrix, err alike with and without the update.
UpdateShare ShareOfUpdate(const at::Tensor& values, const at::Tensor& updated,
                          const at::Tensor& stored, const Nf4Options* nf4);

}  // namespace fttrain
