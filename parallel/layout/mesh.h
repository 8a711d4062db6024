// The grid of ranks: rank = (dp_rank * pp_size + pp_rank) * tp_size + tp_rank. Where the experts of
// a model are divided, dp_rank = copy * ep_size + ep_rank. Passed in, never global.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/comm/backends.h"

namespace fttrain {

// Directions of the grid, from the one along which ranks are next to each other outwards. A new one
// has its size in MeshShape, its place in MeshPosition and in Placement (param.h), its name and
// lines in mesh.cc, and if its ranks train on rows of their own it is one of kDataAxes.
// The data-parallel ranks are two axes: those along kEp divide the experts, those along kDp, dp /
// ep of them, have the same ones.
enum class Axis { kTp, kPp, kEp, kDp };

class AxisSet {
 public:
  constexpr AxisSet(std::initializer_list<Axis> axes) {
    for (const Axis axis : axes) bits_ |= 1u << static_cast<uint32_t>(axis);
  }
  constexpr bool Has(Axis axis) const { return (bits_ >> static_cast<uint32_t>(axis) & 1u) != 0; }
  constexpr AxisSet operator|(AxisSet other) const {
    other.bits_ |= bits_;
    return other;
  }
  constexpr auto operator<=>(const AxisSet&) const = default;

 private:
  uint32_t bits_ = 0;
};

constexpr Axis kEveryAxis[] = {Axis::kTp, Axis::kPp, Axis::kEp, Axis::kDp};
constexpr AxisSet kAllAxes = {Axis::kTp, Axis::kPp, Axis::kEp, Axis::kDp};
// Whose ranks train on rows of their own.
constexpr AxisSet kDataAxes = {Axis::kEp, Axis::kDp};

constexpr AxisSet Others(AxisSet axes) {
  AxisSet others = {};
  for (const Axis axis : kEveryAxis) {
    if (!axes.Has(axis)) others = others | AxisSet{axis};
  }
  return others;
}

struct MeshShape {
  int tp = 1;
  int pp = 1;
  int dp = 1;  // of both data axes
  int ep = 1;  // divides dp
  int size(Axis axis) const;
  int size(AxisSet axes) const;  // the product
  int world_size() const { return size(kAllAxes); }
};

// Where one rank stands.
struct MeshPosition {
  int tp = 0;
  int pp = 0;
  int dp = 0;  // among all data-parallel ranks
};

// Pure. InvalidArgument, with the arithmetic and an mpirun line that works, unless tp * pp divides
// world_size and ep divides dp = world_size / (tp * pp).
absl::StatusOr<MeshShape> MakeMeshShape(int world_size, int tp, int pp, int ep = 1);
MeshPosition PositionOfRank(const MeshShape& shape, int rank);
// The number of a position among those that differ in `axes` alone, in the order of ranks; with all
// axes that is the rank, with one the coordinate. The number in the other axes is that of the line
// along `axes` it is on.
int IndexIn(const MeshShape& shape, const MeshPosition& position, AxisSet axes);

class Mesh {
 public:
  // Collective over the world: splits one communicator per line, in the order of mesh.cc (a line of
  // one rank needs none). Errors are agreed on by all ranks. `process` must outlive the mesh.
  static absl::StatusOr<std::unique_ptr<Mesh>> Create(CommBackend backend, const Process& process,
                                                      const MeshShape& shape);
  // One rank, for tests and single-process commands.
  static std::unique_ptr<Mesh> Single();

  const MeshShape& shape() const { return shape_; }
  const MeshPosition& position() const { return position_; }
  // The ranks that differ from this one in `axes` alone, itself too. Aborts unless
  // mesh.cc lists such lines.
  Communicator& Line(AxisSet axes) const;
  Communicator& tp() const { return Line({Axis::kTp}); }
  Communicator& pp() const { return Line({Axis::kPp}); }
  Communicator& dp() const { return Line(kDataAxes); }
  Communicator& ep() const { return Line({Axis::kEp}); }
  // Reduces over all ranks that differ in `axes` alone, one axis after the other, both data axes at
  // once. Collective over them.
  void AllReduce(const at::Tensor& tensor, AxisSet axes, ReduceOp op = ReduceOp::kSum) const;

 private:
  Mesh() = default;
  MeshShape shape_;
  MeshPosition position_;
  std::vector<std::unique_ptr<Communicator>> lines_;  // as mesh.cc lists them
};

}  // namespace fttrain
